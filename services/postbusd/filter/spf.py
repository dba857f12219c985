"""SPF as the filter sees it (RFC 7208): the question, the result and the port of whatever evaluates records."""

import enum
from typing import Final, Protocol

import msgspec

from postbus.core.errors import MailError
from postbus.runtime.dns import normalize_name


class SpfResult(enum.StrEnum):
    """RFC 7208 §2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class SpfIdentity(enum.StrEnum):
    """Which name was checked (RFC 7208 §2.3, §2.4)."""

    MAIL_FROM = "mailfrom"
    HELO = "helo"


class SpfRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client's address with the name it claims; `domain` is in A-labels and has at least two of them."""

    client_address: str
    helo: str
    identity: SpfIdentity
    local_part: str
    domain: str


class SpfOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result and for whom it holds."""

    result: SpfResult
    identity: SpfIdentity
    domain: str
    """Empty: there was no name to check."""


class SpfEvaluator(Protocol):
    """check_host() of RFC 7208 §4."""

    async def evaluate(self, request: SpfRequest, seconds: float) -> SpfResult:
        """The result; TEMPERROR when a look-up fails or `seconds` have passed in one."""
        ...


NO_LOCAL_PART: Final = "postmaster"  # RFC 7208 §4.3


def make_request(client_address: str, helo: str, reverse_path: str) -> SpfRequest | SpfOutcome:
    """What to check: the reverse_path, or the HELO name for the null path; an outcome where nothing can be.

    Names that are malformed or have a single label give `none` (RFC 7208 §4.3).
    """
    identity = SpfIdentity.MAIL_FROM if reverse_path else SpfIdentity.HELO
    local_part, _, domain = reverse_path.rpartition("@") if reverse_path else ("", "", helo)
    try:
        domain = normalize_name(domain)
    except MailError:
        return SpfOutcome(result=SpfResult.NONE, identity=identity, domain="")
    if "." not in domain or not client_address:
        return SpfOutcome(result=SpfResult.NONE, identity=identity, domain=domain)
    return SpfRequest(
        client_address=client_address,
        helo=helo,
        identity=identity,
        local_part=local_part or NO_LOCAL_PART,
        domain=domain,
    )
