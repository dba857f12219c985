"""The policy: what holds for all mail of the installation."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from postbus.contracts import Empty
from postbus.contracts.policy import GetPolicyRequest, Policy, PolicyReply, PutPolicyRequest
from postbusd.directory.administration.desk import Desk
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.scope import require_superadmin

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

_PATTERN = re.compile(r"[^\s@<>\"\\(),;:]+(@[^\s@<>\"\\(),;:]+)?\Z")


class Policies(Desk):
    """The PolicyFinder and the PolicyAdmin."""

    async def find_policy(self, request: Empty) -> PolicyReply:
        """What holds now."""
        policy, revision = await self._repository.load_policy()
        return PolicyReply(policy=policy, revision=revision)

    async def get_policy(self, request: GetPolicyRequest) -> PolicyReply:
        """What holds now."""
        standing = await self._standing(request.actor)
        require_superadmin(standing)
        return await self.find_policy(Empty())

    async def put_policy(self, request: PutPolicyRequest) -> PolicyReply:
        """Replaces it."""
        standing = await self._standing(request.actor)
        require_superadmin(standing)
        policy = check_policy(request.policy)
        before, _ = await self._repository.load_policy()
        act = self._act(standing, request.condition, "policy set", _changes(before, policy))
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
        blocked_networks=_check_networks("blocked_networks", policy.blocked_networks),
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


def _check_networks(field: str, networks: Sequence[str]) -> tuple[str, ...]:
    if len(networks) > MAX_NETWORKS:
        raise invalid(field, f"at most {MAX_NETWORKS} networks")
    found = set()
    for text in networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            raise invalid(field, f"a network as 192.0.2.0/24 or 2001:db8::/32; not {text[:60]!r}") from None
        if network.prefixlen < network.max_prefixlen // 16:
            raise invalid(field, f"{text} is too large")
        found.add(network)
    return tuple(map(str, sorted(found, key=lambda each: (each.version, each.network_address, each.prefixlen))))


def _changes(before: Policy, after: Policy) -> list[str]:
    """For the event: what is another than it was; of lists what came and went, the first of it."""
    told = []
    for field in after.__struct_fields__:
        old, new = getattr(before, field), getattr(after, field)
        if old == new:
            continue
        if isinstance(new, tuple):
            came = [f"+{each}" for each in new if each not in old]
            went = [f"-{each}" for each in old if each not in new]
            told.append(f"{field}: {' '.join([*came, *went][:20])}")
        else:
            told.append(f"{field}={new}")
    return told
