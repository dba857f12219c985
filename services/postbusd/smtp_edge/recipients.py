"""Resolving forward_paths: many at once, with a small cache of good answers (architecture §3.2).

Only answers that let mail in are kept, and only for as long as nothing has changed in directory: a refusal is always
asked for anew, past every cache (promise 4).
"""

from collections.abc import Sequence
from typing import Final

from postbus.contracts.directory import AddressResolver, Outcome, Resolution, ResolveRequest
from postbus.contracts.events import DirectoryChanged
from postbus.core.clock import Clock

MAX_CACHED = 20_000
"""Answers of one process."""
_GOOD = frozenset({Outcome.MAILBOX, Outcome.LIST, Outcome.FORWARD})
_NEARLY_FULL_MESSAGES: Final = 4
"""A mailbox with room for fewer of the largest messages is asked about anew at each RCPT: a cached quota would let in
what a minute brings."""


def needs_fresh_quota(resolution: Resolution, max_message_octets: int) -> bool:
    """Whether what is left of a quota must not come from a cache."""
    if resolution.outcome is not Outcome.MAILBOX:
        return False
    margin = _NEARLY_FULL_MESSAGES * max_message_octets
    return any(target.free_octets is not None and target.free_octets < margin for target in resolution.targets)


def pin(resolution: Resolution) -> Resolution:
    """An accepted recipient's resolution as delivery gets it: a domain that we don't receive for is another host's."""
    if resolution.incoming:
        return resolution
    return Resolution(forward_path=resolution.forward_path, outcome=Outcome.REMOTE)


class Recipients:
    """The resolver of one process."""

    def __init__(self, directory: AddressResolver, clock: Clock, cache_seconds: float) -> None:
        """`cache_seconds` is at most 60 (architecture §3.2)."""
        self._directory = directory
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._cache: dict[str, tuple[float, Resolution]] = {}
        self._generation = 0
        self._revision = 0

    async def resolve(self, addresses: Sequence[str]) -> dict[str, Resolution]:
        """Answers by address, in one call for what is not known. Raises MailError."""
        now = self._clock.monotonic()
        answers: dict[str, Resolution] = {}
        for address in addresses:
            cached = self._cache.get(address)
            if cached is not None and cached[0] > now:
                answers[address] = cached[1]
        missing = tuple(dict.fromkeys(address for address in addresses if address not in answers))
        if missing:
            answers.update(await self._ask(missing, bypass_cache=False))
        return answers

    async def confirm(self, address: str) -> Resolution:
        """The answer past every cache, before a 5xx. Raises MailError."""
        answers = await self._ask((address,), bypass_cache=True)
        return answers[address]

    async def on_changed(self, change: DirectoryChanged) -> None:
        """directory.changed: small enough a cache to drop whole."""
        self.drop()
        self._revision = max(self._revision, change.revision)

    async def on_reconnect(self) -> None:
        """Changes may have been missed."""
        self.drop()

    def drop(self) -> None:
        """Forgets everything; answers that are under way will not be kept."""
        self._cache.clear()
        self._generation += 1

    async def _ask(self, addresses: tuple[str, ...], *, bypass_cache: bool) -> dict[str, Resolution]:
        generation = self._generation
        reply = await self._directory.resolve(ResolveRequest(forward_paths=addresses, bypass_cache=bypass_cache))
        answers = dict(zip(addresses, reply.resolutions, strict=True))
        if reply.revision > self._revision:
            self._cache.clear()
            self._revision = reply.revision
        if generation == self._generation and reply.revision >= self._revision:
            self._keep(answers)
        return answers

    def _keep(self, answers: dict[str, Resolution]) -> None:
        expires = self._clock.monotonic() + self._cache_seconds
        for address, resolution in answers.items():
            self._cache.pop(address, None)
            if resolution.outcome in _GOOD:
                self._cache[address] = (expires, resolution)
        while len(self._cache) > MAX_CACHED:
            del self._cache[next(iter(self._cache))]
