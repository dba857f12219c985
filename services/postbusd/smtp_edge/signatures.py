"""What directory says of the signatures of our domains."""

from typing import Final

from postbus.contracts.domains import FindSignatureRequest, Signature, SignatureFinder
from postbus.contracts.events import DirectoryChanged
from postbus.core.clock import Clock

MAX_CACHED: Final = 1_000
"""Domains of one process."""


class Signatures:
    """The signatures of one process, by domain; none is one too."""

    def __init__(self, directory: SignatureFinder, clock: Clock, cache_seconds: float) -> None:
        self._directory = directory
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._cache: dict[str, tuple[float, Signature | None]] = {}
        self._revision = 0

    async def find(self, domain: str) -> Signature | None:
        """Of a domain of ours. Raises MailError: UNAVAILABLE."""
        cached = self._cache.get(domain)
        if cached is not None and cached[0] > self._clock.monotonic():
            return cached[1]
        reply = await self._directory.find_signature(FindSignatureRequest(domain=domain))
        if reply.revision >= self._revision:
            self._cache.pop(domain, None)
            self._cache[domain] = (self._clock.monotonic() + self._cache_seconds, reply.signature)
            while len(self._cache) > MAX_CACHED:
                del self._cache[next(iter(self._cache))]
        return reply.signature

    async def on_changed(self, change: DirectoryChanged) -> None:
        """directory.changed."""
        self._cache.clear()
        self._revision = max(self._revision, change.revision)

    async def on_reconnect(self) -> None:
        """Changes may have been missed."""
        self._cache.clear()
