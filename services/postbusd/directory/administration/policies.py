"""The policy: what holds for all mail of the installation."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from postbus.contracts import Empty
from postbus.contracts.policy import Dnsbl, GetPolicyRequest, Policy, PolicyReply, PutPolicyRequest
from postbus.spam.rules.compiling import compile_rules, first_fault
from postbusd.directory.administration.desk import Desk
from postbusd.directory.administration.locations import check_mail_host, check_networks
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.scope import require_superadmin
from postbusd.directory.names import read_domain

MIN_MESSAGE_OCTETS: Final = 64 * 1024
"""RFC 5321 §4.5.3.1.7 asks every server to take as much."""
MAX_MESSAGE_OCTETS: Final = 1 << 30
MAX_SCORE: Final = 100.0
"""Less than the weight of a block list."""
MAX_RATE: Final = 1_000_000_000
MAX_ARCHIVE_DAYS = 36_500
MAX_PATTERNS: Final = 1_000
MAX_PATTERN_CHARACTERS: Final = 320
MAX_NETWORKS: Final = 1_000
MAX_DNSBLS: Final = 20
"""Each is a query for every new client."""
MAX_ZONE_CHARACTERS: Final = 180
"""With 64 characters of an IPv6 address before it."""
MAX_URL_CHARACTERS: Final = 200
"""Told in one line of a reply."""

_URL = re.compile(r"https?://[^\s\"<>]+\Z")
_PATTERN = re.compile(r"[^\s@<>\"\\(),;:]+(@[^\s@<>\"\\(),;:]+)?\Z")


class Policies(Desk):
    """The PolicyFinder and the PolicyAdmin."""

    async def find_policy(self, request: Empty) -> PolicyReply:
        """What holds now."""
        return await self._repository.load_policy()

    async def get_policy(self, request: GetPolicyRequest) -> PolicyReply:
        """What holds now."""
        standing = await self._standing(request.actor)
        require_superadmin(standing)
        return await self.find_policy(Empty())

    async def put_policy(self, request: PutPolicyRequest) -> PolicyReply:
        """Replaces it."""
        standing = await self._standing(request.actor)
        require_superadmin(standing)
        policy = await asyncio.to_thread(check_policy, request.policy)
        before = await self._repository.load_policy()
        act = self._act(standing, request.condition, "policy set", _changes(before.policy, policy))
        written = await self._repository.put_policy(policy, act)
        await self._announce(written)
        return PolicyReply(policy=written.object, revision=written.revision)


def check_policy(policy: Policy) -> Policy:
    """The policy in its one form: lists in order, each once. Raises MailError: INVALID, naming the field."""
    if not MIN_MESSAGE_OCTETS <= policy.max_message_octets <= MAX_MESSAGE_OCTETS:
        raise invalid("max_message_octets", f"{MIN_MESSAGE_OCTETS} to {MAX_MESSAGE_OCTETS}")
    if not 0 < policy.required_score <= MAX_SCORE:
        raise invalid("required_score", f"more than 0, at most {MAX_SCORE:g}")
    for field in ("messages_per_hour", "recipients_per_day"):
        if not 0 <= getattr(policy, field) <= MAX_RATE:
            raise invalid(field, f"0 (no limit) to {MAX_RATE}")
    if not 0 <= policy.archive_days <= MAX_ARCHIVE_DAYS:
        raise invalid("archive_days", f"0 (for ever) to {MAX_ARCHIVE_DAYS}")
    return msgspec.structs.replace(
        policy,
        blocked_senders=_check_patterns("blocked_senders", policy.blocked_senders),
        welcome_senders=_check_patterns("welcome_senders", policy.welcome_senders),
        blocked_networks=check_networks("blocked_networks", policy.blocked_networks, MAX_NETWORKS),
        mail_host=check_mail_host(policy.mail_host),
        dnsbls=_check_dnsbls(policy.dnsbls),
        spam_rules=_check_rules(policy.spam_rules),
    )


def _check_patterns(field: str, patterns: Sequence[str]) -> tuple[str, ...]:
    if len(patterns) > MAX_PATTERNS:
        raise invalid(field, f"at most {MAX_PATTERNS} patterns")
    for pattern in patterns:
        if len(pattern) > MAX_PATTERN_CHARACTERS or not pattern.isprintable() or not _PATTERN.match(pattern):
            raise invalid(field, f"an address or a domain, * and ? in it; not {pattern[:40]!r}")
        if not pattern.strip("*?@."):
            raise invalid(field, f"{pattern[:40]!r} is everybody")
    return tuple(sorted({pattern.lower() for pattern in patterns}))


def _check_rules(text: str) -> str:
    """Lines end in LF."""
    text = text.replace("\r\n", "\n")
    fault = first_fault(text) if text.strip() else None
    if fault is not None:
        raise invalid("spam_rules", str(fault))
    return text if text.strip() else ""


def _check_dnsbls(dnsbls: Sequence[Dnsbl]) -> tuple[Dnsbl, ...]:
    if len(dnsbls) > MAX_DNSBLS:
        raise invalid("dnsbls", f"at most {MAX_DNSBLS} lists")
    found = [_check_dnsbl(each) for each in dnsbls]
    zones = [each.zone for each in found]
    twice = next((zone for zone in zones if zones.count(zone) > 1), None)
    if twice is not None:
        raise invalid("dnsbls", f"{twice} stands there twice")
    return tuple(sorted(found, key=lambda each: each.zone))


def _check_dnsbl(dnsbl: Dnsbl) -> Dnsbl:
    zone = read_domain("dnsbls.zone", dnsbl.zone)
    if "." not in zone or len(zone) > MAX_ZONE_CHARACTERS:
        raise invalid("dnsbls.zone", f"two labels or more, at most {MAX_ZONE_CHARACTERS} characters")
    if not 0 <= dnsbl.score <= MAX_SCORE:
        raise invalid("dnsbls.score", f"0 to {MAX_SCORE:g}")
    if dnsbl.lookup_url and not (
        dnsbl.lookup_url.isascii() and len(dnsbl.lookup_url) <= MAX_URL_CHARACTERS and _URL.match(dnsbl.lookup_url)
    ):
        raise invalid("dnsbls.lookup_url", f"https://…, at most {MAX_URL_CHARACTERS} characters of ASCII")
    return msgspec.structs.replace(dnsbl, zone=zone)


def _changes(before: Policy, after: Policy) -> list[str]:
    """For the event: what is another than it was; of lists what came and went, the first of it."""
    told = []
    for field in after.__struct_fields__:
        old, new = getattr(before, field), getattr(after, field)
        if old == new:
            continue
        if isinstance(new, tuple):
            came = [f"+{_show(each)}" for each in new if each not in old]
            went = [f"-{_show(each)}" for each in old if each not in new]
            told.append(f"{field}: {' '.join([*came, *went][:20])}")
        elif field == "spam_rules":
            told.append(f"spam_rules: {len(compile_rules(new)[0].rules)}")
        else:
            told.append(f"{field}={new}")
    return told


def _show(entry: object) -> str:
    return f"{entry.zone} ({entry.mode.value})" if isinstance(entry, Dnsbl) else str(entry)
