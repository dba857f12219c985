"""A bound on octets that many tasks hold in memory together (promise 7): who comes too late waits for its turn.

Small pieces pass without being counted, since many of them are little and none should wait behind a large one.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

SMALL_OCTETS: Final = 1024 * 1024


class OctetBudget:
    """First come, first served; what is larger than the whole budget goes alone."""

    def __init__(self, max_octets: int, small_octets: int = SMALL_OCTETS) -> None:
        self.held = 0
        self._max_octets = max_octets
        self._small_octets = small_octets
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, octets: int) -> int:
        """Waits for room; what is to be given back. Cancelled, it takes nothing."""
        if octets <= self._small_octets:
            return 0
        wanted = min(octets, self._max_octets)
        if not self._waiting and self._fits(wanted):
            self.held += wanted
            return wanted
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(wanted)
            else:
                self._waiting.remove((wanted, turn))
                self._admit()
            raise
        return wanted

    def give_back(self, octets: int) -> None:
        """Ends what `take` began."""
        self.held -= octets
        self._admit()

    @contextlib.asynccontextmanager
    async def hold(self, octets: int) -> AsyncIterator[None]:
        """`take` and `give_back`."""
        taken = await self.take(octets)
        try:
            yield
        finally:
            self.give_back(taken)

    def _fits(self, octets: int) -> bool:
        return not self.held or self.held + octets <= self._max_octets

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            octets, turn = self._waiting.popleft()
            self.held += octets
            turn.set_result(None)
