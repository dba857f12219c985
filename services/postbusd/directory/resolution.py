"""Resolve as a service: a cache in front of a query or two a batch (architecture §3.2).

An entry lives CACHE_SECONDS at most; a newer revision, seen in a wake-up or in any query, drops them all. An answer
read before a change can't enter the cache after it: it carries the older revision.
"""

import logging
from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter

from postbus.contracts.directory import Outcome, Resolution, ResolveReply, ResolveRequest
from postbus.core.address import Address
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.ports import Accounts
from postbusd.directory.names import read_forward_path
from postbusd.directory.ports import DirectoryReader
from postbusd.directory.resolver import MAX_LIST_DEPTH, decide, unread_lists, wanted_keys
from postbusd.directory.values import Facts, Found, ListFacts, MailboxFacts

CACHE_SECONDS = 60.0
MAX_CACHED = 50_000  # answers; a made-up address costs one
MAX_FORWARD_PATHS = 10_000  # of one request
MAX_KEYS = 100_000  # names read for one request, members of lists included
MAX_ATTEMPTS = 5

log = logging.getLogger(__name__)


class ResolutionCache:
    """Answers by forward_path as received, all of one revision."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[float, Resolution]] = {}
        self.revision = 0

    def get(self, forward_path: str, now: float) -> Resolution | None:
        """A fresh answer; `now` is the clock's monotonic time."""
        entry = self._entries.get(forward_path)
        return entry[1] if entry is not None and entry[0] > now else None

    def put(self, resolutions: Sequence[Resolution], revision: int) -> None:
        """Keeps answers, unless they are older than a change we know of."""
        self.advance(revision)
        if revision < self.revision:
            return
        expires = self._clock.monotonic() + CACHE_SECONDS
        for resolution in resolutions:
            self._entries.pop(resolution.forward_path, None)
            self._entries[resolution.forward_path] = (expires, resolution)
        while len(self._entries) > MAX_CACHED:
            del self._entries[next(iter(self._entries))]

    def advance(self, revision: int) -> None:
        """A change is known: older answers are stale."""
        if revision > self.revision:
            self._entries.clear()
            self.revision = revision

    def clear(self) -> None:
        """Changes may have been missed."""
        self._entries.clear()


class CachedResolver:
    """The AddressResolver of directory."""

    def __init__(self, reader: DirectoryReader, accounts: Accounts, clock: Clock, registry: CollectorRegistry) -> None:
        self.cache = ResolutionCache(clock)
        self._reader = reader
        self._accounts = accounts
        self._clock = clock
        asked = Counter(
            "postbus_directory_resolved_addresses",
            "Addresses resolved, by where the answer came from (cache, database, away).",
            ["source"],
            registry=registry,
        )
        self._skipped = Counter(
            "postbus_directory_skipped_list_members",
            "Members of lists that lead nowhere, by each uncached resolving.",
            registry=registry,
        )
        self._hits, self._misses, self._away = (asked.labels(source) for source in ("cache", "database", "away"))

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        """What becomes of mail for these addresses; LATER for what can't be told now."""
        if len(request.forward_paths) > MAX_FORWARD_PATHS:
            raise MailError(ErrorKind.LIMIT, f"forward_paths: at most {MAX_FORWARD_PATHS}")
        known: dict[str, Resolution] = {}
        if not request.bypass_cache:
            now = self._clock.monotonic()
            for path in request.forward_paths:
                answer = self.cache.get(path, now)
                if answer is not None:
                    known[path] = answer
        revision = self.cache.revision
        missing = [path for path in dict.fromkeys(request.forward_paths) if path not in known]
        self._hits.inc(len(known))
        if missing:
            revision = await self._resolve_missing(missing, known, revision)
        return ResolveReply(resolutions=tuple(known[path] for path in request.forward_paths), revision=revision)

    async def _resolve_missing(self, missing: list[str], known: dict[str, Resolution], revision: int) -> int:
        """Adds the answers of the database to `known`; the revision that they belong to."""
        try:
            read = await self._read(missing)
        except MailError as error:
            if error.kind is not ErrorKind.UNAVAILABLE:
                raise
            self._away.inc(len(missing))
            for path in missing:
                known[path] = Resolution(
                    forward_path=path, outcome=Outcome.LATER, kind=error.kind, reason="directory is not available"
                )
            return revision
        self._misses.inc(len(missing))
        self.cache.put(read.resolutions, read.revision)
        known.update((resolution.forward_path, resolution) for resolution in read.resolutions)
        return read.revision

    async def _read(self, forward_paths: list[str]) -> ResolveReply:
        addresses = {path: read_forward_path(path) for path in forward_paths}
        facts = await self._gather_unchanged([address for address in addresses.values() if address is not None])
        decisions = [decide(path, address, facts) for path, address in addresses.items()]
        for decision in decisions:
            if decision.skipped:
                self._skipped.inc(len(decision.skipped))
                log.debug(
                    "directory.list.members_skipped",
                    extra={"list": decision.resolution.forward_path, "members": decision.skipped},
                )
        return ResolveReply(resolutions=tuple(each.resolution for each in decisions), revision=facts.revision)

    async def _gather_unchanged(self, addresses: Sequence[Address]) -> Facts:
        """What was read of lists in several queries is of one revision, or is read again."""
        for _ in range(MAX_ATTEMPTS):
            facts = await self._gather(addresses)
            if facts is not None:
                return facts
        raise MailError(ErrorKind.UNAVAILABLE, "the directory changes faster than lists can be read")

    async def _gather(self, addresses: Sequence[Address]) -> Facts | None:
        """One query, one more for each level of lists, and one for the usage of mailboxes with a quota.

        None: the directory has changed meanwhile.
        """
        facts = await self._find_more(addresses, None)
        level = [address for address in addresses if _receives(address, facts)]
        for _ in range(MAX_LIST_DEPTH):
            members = _members(unread_lists(level, facts))
            level = [address for address in members if wanted_keys(address)[0] not in facts.found]
            if not level:
                break
            more = await self._find_more(level, facts)
            if more.revision != facts.revision:
                return None
            facts = more
        limited = {mailbox.mailbox_id for found in facts.found.values() for mailbox in _limited(found)}
        used = await self._accounts.usage(sorted(limited)) if limited else {}
        return msgspec.structs.replace(facts, used_octets=used)

    async def _find_more(self, addresses: Sequence[Address], known: Facts | None) -> Facts:
        """What is known, and what these addresses need."""
        facts = known or Facts(revision=self.cache.revision, found={}, used_octets={})
        keys = {key: None for address in addresses for key in wanted_keys(address)}
        if not keys:
            return facts
        if len(keys) + len(facts.found) > MAX_KEYS:
            raise MailError(ErrorKind.LIMIT, "forward_paths: these lists have too many members to be read at once")
        revision, found = await self._reader.find(list(keys))
        return Facts(revision=revision, found={**facts.found, **found}, used_octets={})


def _receives(address: Address, facts: Facts) -> bool:
    domain = facts.found[wanted_keys(address)[0]].domain
    return domain is not None and domain.incoming


def _members(lists: Sequence[ListFacts]) -> list[Address]:
    """Those at domains of ours."""
    return [
        Address(local_part=member.local_part, domain=member.domain)
        for each in lists
        for member in each.members
        if member.ours
    ]


def _limited(found: Found) -> list[MailboxFacts]:
    """Mailboxes with a quota."""
    single = (found.mailbox, found.alias, found.wildcard)
    mailboxes = (*(each for each in single if each is not None), *(found.group or ()), *found.catch_all)
    mailboxes += found.list.mailboxes if found.list is not None else ()
    return [each for each in mailboxes if each.quota_octets is not None]
