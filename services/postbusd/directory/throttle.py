"""How often a login may be tried (architecture §6). Pure: times are arguments, monotonic seconds.

Two bounds: failures are counted per (account, network) and block that pair for a growing time; password hashing is
bounded per account, so that many networks together can't burn our processor. A network that has logged in to the
account before has a budget of its own there: nobody locks the owner out.
"""

import ipaddress
from collections.abc import Hashable
from typing import Generic, TypeVar

import msgspec

FREE_FAILURES = 5  # per account and network, before the first block
FIRST_BLOCK_SECONDS = 5.0  # doubled by each further failure
MAX_BLOCK_SECONDS = 900.0
FORGET_SECONDS = 3600.0  # after the last failure
BUDGET_HASHES = 20.0  # at once, per account
BUDGET_HASHES_PER_SECOND = 0.5
KNOWN_NETWORK_SECONDS = 86_400.0
MAX_TRACKED = 20_000  # entries of each table; the oldest go first

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def network_of(client_address: str) -> str:
    """The unit that failures are counted by: an IPv4 address, the /64 of an IPv6 address; empty for anything else."""
    try:
        address = ipaddress.ip_address(client_address)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


class BoundedTable(Generic[K, V]):
    """A dict that forgets its oldest entries."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value, None when there is none (any more)."""
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Sets the value as the newest."""
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self._limit:
            del self._entries[next(iter(self._entries))]

    def drop(self, key: K) -> None:
        """Forgets the value."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()


class _Failures(msgspec.Struct, frozen=True, kw_only=True):
    count: int
    last: float
    blocked_until: float


class _Budget(msgspec.Struct, frozen=True, kw_only=True):
    left: float
    at: float


class LoginThrottle:
    """Failures and budgets of one process."""

    def __init__(self) -> None:
        self._failures: BoundedTable[tuple[str, str], _Failures] = BoundedTable(MAX_TRACKED)
        self._budgets: BoundedTable[tuple[str, str], _Budget] = BoundedTable(MAX_TRACKED)
        self._known: BoundedTable[tuple[str, str], float] = BoundedTable(MAX_TRACKED)

    def blocked_seconds(self, account: str, network: str, now: float) -> float:
        """How long this network may not try this account; 0 when it may."""
        failures = self._failures.get((account, network))
        return max(0.0, failures.blocked_until - now) if failures is not None else 0.0

    def note_failure(self, account: str, network: str, now: float) -> None:
        """A wrong password."""
        before = self._failures.get((account, network))
        count = 1 if before is None or now - before.last > FORGET_SECONDS else before.count + 1
        over = min(count - FREE_FAILURES, 30)
        block = min(FIRST_BLOCK_SECONDS * 2 ** (over - 1), MAX_BLOCK_SECONDS) if over > 0 else 0.0
        self._failures.put((account, network), _Failures(count=count, last=now, blocked_until=now + block))

    def note_success(self, account: str, network: str, now: float) -> None:
        """A right password, checked by hashing: the failures are forgiven."""
        self._failures.drop((account, network))
        self._known.put((account, network), now + KNOWN_NETWORK_SECONDS)

    def take_hash(self, account: str, network: str, now: float) -> float:
        """Takes one password check from the budget: 0 when it is granted, else the seconds until the next one."""
        known_until = self._known.get((account, network))
        key = (account, network if known_until is not None and known_until > now else "*")
        before = self._budgets.get(key)
        left = BUDGET_HASHES
        if before is not None:
            left = min(BUDGET_HASHES, before.left + (now - before.at) * BUDGET_HASHES_PER_SECOND)
        if left < 1:
            return (1 - left) / BUDGET_HASHES_PER_SECOND
        self._budgets.put(key, _Budget(left=left - 1, at=now))
        return 0.0
