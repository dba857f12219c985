"""What each test weighs. A test that is not here does not exist; a weight of 0 only tells."""

from collections.abc import Mapping
from typing import Final

DEFAULT_REQUIRED: Final = 5.0

SCORES: Final[Mapping[str, float]] = {
    # Authentication. A pass proves a name, not good will: it weighs little.
    "SPF_PASS": -0.1,
    "SPF_NEUTRAL": 0.2,
    "SPF_SOFTFAIL": 0.8,
    "SPF_FAIL": 1.5,
    "SPF_NONE": 0.0,
    "SPF_PERMERROR": 0.3,
    "SPF_UNAVAILABLE": 0.0,
    "DKIM_VALID": -0.1,
    "DKIM_VALID_AU": -0.1,
    "DKIM_INVALID": 0.1,
    "DKIM_UNAVAILABLE": 0.0,
    "DMARC_PASS": -0.2,
    "DMARC_FAIL_NONE": 0.7,
    "DMARC_FAIL_QUARANTINE": 2.0,
    "DMARC_FAIL_REJECT": 3.5,
    "DMARC_PERMERROR": 0.5,
    "DMARC_UNAVAILABLE": 0.0,
    "FORGED_AUTH_RESULTS": 1.5,
    "ALL_TRUSTED": -1.0,
    # The administrator's lists: more than any score that may be required.
    "USER_IN_BLACKLIST": 200.0,
    "USER_IN_WELCOMELIST": -200.0,
    # The client.
    "RDNS_NONE": 0.8,
    "RDNS_UNAVAILABLE": 0.0,
    "HELO_NO_DOMAIN": 0.6,
    # The header section.
    "MISSING_DATE": 1.2,
    "INVALID_DATE": 0.8,
    "DATE_IN_PAST": 0.6,
    "DATE_IN_FUTURE": 1.5,
    "MISSING_MID": 0.5,
    "INVALID_MID": 0.5,
    "MISSING_FROM": 1.5,
    "INVALID_FROM": 1.2,
    "MULTIPLE_AUTHOR_DOMAINS": 1.0,
    "FROM_NAME_ADDRESS": 1.2,
    "DUPLICATE_HEADERS": 1.0,
    "MISSING_SUBJECT": 0.4,
    "MISSING_RECIPIENTS": 0.4,
    # The body.
    "GTUBE": 1000.0,
}
