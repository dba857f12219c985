"""filter's word on a client's network, kept for a while, and how many sessions a network holds."""

import functools
import ipaddress
import logging
from collections import Counter

import msgspec

from postbus.contracts.filter import CheckConnectionRequest, ConnectionFilter, Verdict
from postbus.contracts.policy import Policy
from postbus.core.clock import Clock
from postbus.core.errors import MailError

log = logging.getLogger(__name__)

MAX_CACHED = 50_000
REJECT_CACHE_SECONDS = 60.0
"""A refusal is asked for again soon."""


class ConnectionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a connection."""

    verdict: Verdict = Verdict.ACCEPT
    reply_text: str = ""
    client_name: str = ""
    """Forward-confirmed; empty: none, or known for a neighbour only."""


class _Entry(msgspec.Struct, frozen=True):
    expires: float
    address: str
    verdict: ConnectionVerdict


@functools.lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The address, or the /64 of an IPv6 one: what one customer has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address


class ConnectionChecks:
    """Asks filter once a network."""

    def __init__(self, connection_filter: ConnectionFilter, clock: Clock, cache_seconds: float) -> None:
        self._filter = connection_filter
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._cache: dict[str, _Entry] = {}
        self._filter_is_away = False
        """An outage is told once, not at every connection."""

    def cached(self, address: str) -> ConnectionVerdict | None:
        """What is known already: no call (architecture §7)."""
        entry = self._cache.get(network_of(address))
        if entry is None or entry.expires <= self._clock.monotonic():
            return None
        if entry.address == address:
            return entry.verdict
        return msgspec.structs.replace(entry.verdict, client_name="")

    async def check(self, address: str) -> ConnectionVerdict:
        """Asks; filter being away refuses nobody (it will be asked again at end of DATA)."""
        try:
            reply = await self._filter.check_connection(CheckConnectionRequest(client_address=address))
        except MailError as error:
            level = logging.DEBUG if self._filter_is_away else logging.WARNING
            self._filter_is_away = True
            log.log(level, "smtp.connection.unchecked", extra={"client_address": address, "reason": str(error)})
            return ConnectionVerdict()
        self._filter_is_away = False
        verdict = ConnectionVerdict(verdict=reply.verdict, reply_text=reply.reply_text, client_name=reply.client_name)
        good = reply.verdict is Verdict.ACCEPT
        seconds = self._cache_seconds if good else min(self._cache_seconds, REJECT_CACHE_SECONDS)
        self._cache.pop(network_of(address), None)
        self._cache[network_of(address)] = _Entry(self._clock.monotonic() + seconds, address, verdict)
        while len(self._cache) > MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        return verdict


class BlockedNetworks:
    """The policy's block list, as quick for a thousand networks as for one."""

    def __init__(self) -> None:
        self._masked: dict[tuple[int, int], set[int]] = {}
        """By version and number of the bits that are not compared."""

    def set(self, policy: Policy) -> None:
        """Takes the list of another policy."""
        masked: dict[tuple[int, int], set[int]] = {}
        for text in policy.blocked_networks:
            network = ipaddress.ip_network(text)
            rest = network.max_prefixlen - network.prefixlen
            masked.setdefault((network.version, rest), set()).add(int(network.network_address) >> rest)
        self._masked = masked

    def has(self, address: str) -> bool:
        """Whether the address lies in one of the networks."""
        if not self._masked:
            return False
        try:
            given = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        given = getattr(given, "ipv4_mapped", None) or given
        return any(
            version == given.version and int(given) >> rest in networks
            for (version, rest), networks in self._masked.items()
        )


class SessionLimits:
    """Counts sessions, overall and per network."""

    def __init__(self, max_sessions: int, max_per_network: int) -> None:
        self.open = 0
        self._max_sessions = max_sessions
        self._max_per_network = max_per_network
        self._networks: Counter[str] = Counter()

    def enter(self, address: str, *, may_log_in: bool = True) -> str:
        """Takes a place: empty, or which limit (`total`, `address`) leaves none.

        A quarter of all places is kept for the doors of those who `may_log_in`: a flood of port 25 locks nobody out.
        """
        network = network_of(address)
        if self.open >= self._max_sessions - (0 if may_log_in else self._max_sessions // 4):
            return "total"
        if self._networks[network] >= self._max_per_network:
            return "address"
        self.open += 1
        self._networks[network] += 1
        return ""

    def leave(self, address: str) -> None:
        """Gives the place back."""
        network = network_of(address)
        self.open -= 1
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]
