"""DMARC policy records (RFC 9989 §4.7, RFC 7489 §6.3): `parse_record` takes TXT data, `select_record` an answer.

Tolerant as the RFCs say: unknown tags are ignored, a bad value of an optional tag means its default, and a record whose
policy tags are bad still asks for reports (`p=none`) when it names a place to send them.
"""

import enum
from collections.abc import Iterable
from typing import Final

import msgspec

MAX_RECORD_OCTETS: Final = 8192
MAX_REPORT_URIS: Final = 10


class Policy(enum.StrEnum):
    """What the domain owner asks for when a message fails."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    def relax(self) -> "Policy":
        """The next milder policy, for tests (`t=y`) and messages left out of a sample (`pct`)."""
        return Policy.QUARANTINE if self is Policy.REJECT else Policy.NONE


class Psd(enum.StrEnum):
    """Whether the domain is a public suffix (RFC 9989 §4.7)."""

    YES = "y"
    NO = "n"
    UNKNOWN = "u"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A policy record with its defaults filled in."""

    policy: Policy | None
    """None: its policy tags are bad and it asks for no reports: nothing to apply (RFC 7489 §6.6.3 step 6)."""
    subdomain_policy: Policy | None = None
    nonexistent_policy: Policy | None = None
    dkim_strict: bool = False
    spf_strict: bool = False
    psd: Psd = Psd.UNKNOWN
    testing: bool = False
    percent: int = 100
    """RFC 7489's sampling; RFC 9989 knows it no more."""
    aggregate_uris: tuple[str, ...] = ()
    failure_uris: tuple[str, ...] = ()
    failure_options: str = "0"

    def policy_for(self, *, subdomain: bool, exists: bool) -> Policy:
        """The policy for the domain itself, for one below it, or for one below that does not exist (`np`)."""
        own = self.policy or Policy.NONE
        if not subdomain:
            return own
        below = self.subdomain_policy or own
        return below if exists else self.nonexistent_policy or below


def parse_record(text: bytes) -> Record | None:
    """The record, or None when the text is not one: `v=DMARC1` must come first, in this case (RFC 9989 §4.8)."""
    if len(text) > MAX_RECORD_OCTETS:
        return None
    tags = _parse_tags(text.decode("utf-8", "replace"))
    if tags is None:
        return None
    uris = _parse_uris(tags.get("rua", ""))
    return Record(
        policy=_own_policy(tags, asks_for_reports=bool(uris)),
        subdomain_policy=_parse_policy(tags.get("sp")),
        nonexistent_policy=_parse_policy(tags.get("np")),
        dkim_strict=tags.get("adkim", "r").lower() == "s",
        spf_strict=tags.get("aspf", "r").lower() == "s",
        psd=_parse_psd(tags.get("psd", "u")),
        testing=tags.get("t", "n").lower() == "y",
        percent=_parse_percent(tags.get("pct", "")),
        aggregate_uris=uris,
        failure_uris=_parse_uris(tags.get("ruf", "")),
        failure_options=tags.get("fo", "0"),
    )


def select_record(texts: Iterable[bytes]) -> Record | None:
    """The one record of an answer; other TXT records don't count, several records cancel out (RFC 9989 §4.10)."""
    records = [record for text in texts if (record := parse_record(text)) is not None]
    return records[0] if len(records) == 1 else None


def _parse_tags(text: str) -> dict[str, str] | None:
    specs = text.split(";")
    name, equals, value = specs[0].partition("=")
    if name.strip(" \t") != "v" or not equals or value.strip(" \t") != "DMARC1":
        return None
    tags: dict[str, str] = {}
    for spec in specs[1:]:
        name, equals, value = spec.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    return tags


def _parse_policy(value: str | None) -> Policy | None:
    try:
        return Policy(value.lower()) if value is not None else None
    except ValueError:
        return None


def _own_policy(tags: dict[str, str], *, asks_for_reports: bool) -> Policy | None:
    """`p`: absent means none (RFC 9989 §4.7); a bad `p`, `sp` or `np` leaves at most reports (RFC 7489 §6.6.3)."""
    if all(name not in tags or _parse_policy(tags[name]) is not None for name in ("p", "sp", "np")):
        return _parse_policy(tags.get("p")) or Policy.NONE
    return Policy.NONE if asks_for_reports else None


def _parse_psd(value: str) -> Psd:
    try:
        return Psd(value.lower())
    except ValueError:
        return Psd.UNKNOWN


def _parse_percent(value: str) -> int:
    plain = len(value) <= 3 and value.isascii() and value.isdecimal()
    return min(int(value), 100) if plain else 100


def _parse_uris(value: str) -> tuple[str, ...]:
    """`mailto:` URIs; the size limit `!10m` of RFC 7489 is dropped (RFC 9989 ignores it)."""
    found = (uri.strip().partition("!")[0] for uri in value.split(",", MAX_REPORT_URIS)[:MAX_REPORT_URIS])
    return tuple(uri for uri in found if uri.lower().startswith("mailto:") and "@" in uri)
