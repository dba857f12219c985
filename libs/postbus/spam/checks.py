"""The tests: functions over a message view that name what they find. `CHECKS` is their sequence; `judge` adds up.

More sources of findings (rules, Bayes) are more functions of the same kind; a finding without a weight in the score
table is a bug of its check. No test sees the network: what was looked up stands in the view.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from postbus.contracts.filter import TestHit
from postbus.spam.scores import DEFAULT_REQUIRED, SCORES
from postbus.spam.view import MessageView

DAY_MS: Final = 86_400_000
PAST_DAYS: Final = 14
FUTURE_DAYS: Final = 2

WELCOME: Final = "USER_IN_WELCOMELIST"

GTUBE: Final = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

SINGLE_FIELDS: Final = frozenset(
    {"date", "from", "sender", "reply-to", "to", "cc", "message-id", "in-reply-to", "references", "subject"}
)
"""RFC 5322 §3.6: at most one each."""

_ADDRESS_IN_NAME = re.compile(r"(?<=[^\s\"'<>(),;:@])@([a-z0-9-]+(?:\.[a-z0-9-]+)+)", re.IGNORECASE)


class Finding(msgspec.Struct, frozen=True):
    """A test that matched."""

    name: str
    detail: str = ""
    score: float | None = None
    """None: what the table says; else the administrator's weight."""


SpamCheck = Callable[[MessageView], Iterable[Finding]]


class SpamScore(msgspec.Struct, frozen=True, kw_only=True):
    """The sum, rounded to one decimal, and what it is made of."""

    score: float
    required: float
    tests: tuple[TestHit, ...]

    @property
    def is_spam(self) -> bool:
        """The score reaches what is required."""
        return self.score >= self.required


def judge(
    view: MessageView,
    *,
    required: float = DEFAULT_REQUIRED,
    checks: Sequence[SpamCheck] | None = None,
    scores: Mapping[str, float] = SCORES,
    found: Iterable[Finding] = (),
) -> SpamScore:
    """Runs the checks (all of ours, unless others are named) and adds up the weights; each name counts once.

    `found`: what the administrator's rules have found.
    """
    hits: dict[str, TestHit] = {}
    findings = (finding for check in (CHECKS if checks is None else checks) for finding in check(view))
    for finding in itertools.chain(findings, found):
        if finding.name not in hits:
            score = scores[finding.name] if finding.score is None else finding.score
            hits[finding.name] = TestHit(name=finding.name, score=score, detail=finding.detail)
    total = round(sum(hit.score for hit in hits.values()), 1)
    return SpamScore(score=total, required=required, tests=tuple(hits.values()))


def check_authentication(view: MessageView) -> Iterator[Finding]:
    """SPF, DKIM and DMARC results as tests; a check that could not be finished weighs nothing (promise 4)."""
    if view.submitted:
        yield Finding("ALL_TRUSTED")
        return
    found = view.authentication
    if found.spf is not None:
        yield Finding("SPF_UNAVAILABLE" if found.spf == "temperror" else f"SPF_{found.spf.upper()}")
    yield from _find_dkim(view)
    if found.dmarc == "fail":
        yield Finding(f"DMARC_FAIL_{found.dmarc_policy.upper()}")
    elif found.dmarc == "temperror":
        yield Finding("DMARC_UNAVAILABLE")
    elif found.dmarc in {"pass", "permerror"}:
        yield Finding(f"DMARC_{found.dmarc.upper()}")


def _find_dkim(view: MessageView) -> Iterator[Finding]:
    found = view.authentication
    if found.dkim == "pass":
        yield Finding("DKIM_VALID")
        if found.dkim_author:
            yield Finding("DKIM_VALID_AU")
    elif found.dkim == "temperror":
        yield Finding("DKIM_UNAVAILABLE")
    elif found.dkim not in {None, "none"}:
        yield Finding("DKIM_INVALID")


def check_senders(view: MessageView) -> Iterator[Finding]:
    """The administrator's lists; who stands on both is judged by the rest."""
    if view.submitted:
        return
    if view.senders.blocked:
        yield Finding("USER_IN_BLACKLIST", view.senders.blocked)
    if view.senders.welcome:
        yield Finding(WELCOME, view.senders.welcome)


def check_client(view: MessageView) -> Iterator[Finding]:
    """What the client says of itself, and what the DNS says of it."""
    if view.submitted:
        return
    if not view.client_confirmed:
        yield Finding("RDNS_UNAVAILABLE" if view.client_confirmed is None else "RDNS_NONE")
    if "." not in view.helo and not view.helo.startswith("["):
        yield Finding("HELO_NO_DOMAIN")
    for hit in view.dnsbl_hits:
        yield Finding(hit.name, hit.detail, hit.score)


def check_forged_results(view: MessageView) -> Iterator[Finding]:
    """Fields that only we may write (RFC 8601 §5)."""
    if view.forged_results:
        yield Finding("FORGED_AUTH_RESULTS")


def check_date(view: MessageView) -> Iterator[Finding]:
    """Date: (RFC 5322 §3.6.1)."""
    if not view.count("date"):
        yield Finding("MISSING_DATE")
    elif view.sent_ms is None:
        yield Finding("INVALID_DATE")
    elif view.sent_ms < view.received_ms - PAST_DAYS * DAY_MS:
        yield Finding("DATE_IN_PAST")
    elif view.sent_ms > view.received_ms + FUTURE_DAYS * DAY_MS:
        yield Finding("DATE_IN_FUTURE")


def check_author(view: MessageView) -> Iterator[Finding]:
    """From: (RFC 5322 §3.6.2): one field, one domain, and no foreign address as a name."""
    if not view.count("from"):
        yield Finding("MISSING_FROM")
        return
    if not view.authors or not all(author.local_part and author.domain for author in view.authors):
        yield Finding("INVALID_FROM")
    domains = {author.domain for author in view.authors}
    if len(domains) > 1:
        yield Finding("MULTIPLE_AUTHOR_DOMAINS")
    for author in view.authors:
        named = _ADDRESS_IN_NAME.search(author.name)
        if named is not None and named[1].lower() not in domains:
            yield Finding("FROM_NAME_ADDRESS", named[1].lower())


def check_header_section(view: MessageView) -> Iterator[Finding]:
    """Fields that mail programs write and spam programs forget, or write twice (RFC 5322 §3.6)."""
    names = [name for name, _ in view.fields]
    twice = sorted(name for name in SINGLE_FIELDS if names.count(name) > 1)
    if twice:
        yield Finding("DUPLICATE_HEADERS", ",".join(twice))
    message_ids = [value for name, value in view.fields if name == "message-id"]
    if not message_ids:
        yield Finding("MISSING_MID")
    elif not _is_message_id(message_ids[0].strip()):
        yield Finding("INVALID_MID")
    if "subject" not in names:
        yield Finding("MISSING_SUBJECT")
    if not {"to", "cc", "bcc"} & set(names):
        yield Finding("MISSING_RECIPIENTS")


def _is_message_id(value: str) -> bool:
    inner = value[1:-1]
    left, at, right = inner.partition("@")
    return f"<{inner}>" == value and bool(left and at and right) and not set(inner) & set("<> \t\r\n")


def check_gtube(view: MessageView) -> Iterator[Finding]:
    """The generic test for unsolicited bulk email: lets anybody see that the filter works."""
    if GTUBE in view.text:
        yield Finding("GTUBE")


CHECKS: Final[tuple[SpamCheck, ...]] = (
    check_gtube,
    check_authentication,
    check_senders,
    check_forged_results,
    check_client,
    check_author,
    check_date,
    check_header_section,
)
