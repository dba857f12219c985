"""FindRoute: the way out for mail of a domain, by the nearest of our domains at or above it.

A relay's password is unsealed here and travels to delivery only. An answer lives CACHE_SECONDS at most; a newer
revision, seen in a wake-up or in a query, drops them all.
"""

import logging

import msgspec

from postbus.contracts.directory import FindRouteRequest, Route
from postbus.contracts.relays import Relay
from postbus.core.address import parse_domain
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer
from postbusd.directory.ports import DirectoryReader
from postbusd.directory.values import StoredRoute

CACHE_SECONDS = 60.0
MAX_CACHED = 1_000  # routes; a foreign name that is asked for costs one

log = logging.getLogger(__name__)


def relay_owner(domain: str) -> str:
    """What a relay's password is sealed for."""
    return f"relay:{domain}"


class CachedRoutes:
    """The RouteFinder of directory."""

    def __init__(self, reader: DirectoryReader, sealer: Sealer, clock: Clock) -> None:
        self._reader = reader
        self._sealer = sealer
        self._clock = clock
        self._entries: dict[str, tuple[float, Route]] = {}
        self._revision = 0

    async def find_route(self, request: FindRouteRequest) -> Route:
        """The way out for mail of a domain, and what it is signed as. Raises MailError: UNAVAILABLE."""
        try:
            name = parse_domain(request.domain)
        except MailError:
            return Route(revision=self._revision)
        entry = self._entries.get(name)
        if entry is not None and entry[0] > self._clock.monotonic():
            return entry[1]
        route = self._open(await self._reader.find_route(_at_or_above(name)))
        self._keep(name, route)
        return route

    def advance(self, revision: int) -> None:
        """A change is known: older answers are stale."""
        if revision > self._revision:
            self._entries.clear()
            self._revision = revision

    def clear(self) -> None:
        """Changes may have been missed."""
        self._entries.clear()

    def _keep(self, name: str, route: Route) -> None:
        self.advance(route.revision)
        if route.revision < self._revision:
            return
        self._entries.pop(name, None)
        self._entries[name] = (self._clock.monotonic() + CACHE_SECONDS, route)
        if len(self._entries) > MAX_CACHED:
            del self._entries[next(iter(self._entries))]

    def _open(self, stored: StoredRoute) -> Route:
        relay = stored.relay
        if relay is not None and stored.password_sealed:
            relay = msgspec.structs.replace(relay, password=self._unseal(stored, relay))
        return Route(relay=relay, signing_domain=stored.domain, revision=stored.revision)

    def _unseal(self, stored: StoredRoute, relay: Relay) -> str:
        try:
            return self._sealer.open(stored.password_sealed, relay_owner(stored.domain)).decode()
        except MailError as error:
            log.exception("directory.relay.sealed", extra={"domain": stored.domain, "host": relay.host})
            raise MailError(ErrorKind.UNAVAILABLE, "the relay's password can't be unsealed") from error


def _at_or_above(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[first:]) for first in range(len(labels))]
