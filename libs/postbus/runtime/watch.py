"""What follows directory: asks it again soon after a change, after a bus that was away, and once in a while.

Wake-ups may be lost (architecture §3.6); a directory that is away is asked until it answers.
"""

import asyncio

from postbus.bus.ports import Bus
from postbus.bus.subjects import SUBJECT_DIRECTORY_CHANGED
from postbus.contracts.events import DirectoryChanged

RECHECK_SECONDS = 60.0
GATHER_SECONDS = 0.5
"""Between two rounds: a hundred changes in a row are asked about together."""
RETRY_SECONDS = 5.0


class DirectoryWatch:
    """Subclasses ask in `check`."""

    def __init__(self) -> None:
        self._due = asyncio.Event()
        self._revision = 0
        """The highest that is known."""

    async def listen(self, bus: Bus) -> None:
        """Hears of changes, for the life of the service."""
        await bus.listen(SUBJECT_DIRECTORY_CHANGED, DirectoryChanged, self.on_changed)
        bus.on_reconnect(self.on_reconnect)

    async def on_changed(self, change: DirectoryChanged) -> None:
        """directory.changed."""
        self._revision = max(self._revision, change.revision)
        self._due.set()

    async def on_reconnect(self) -> None:
        """Changes may have been missed."""
        self._due.set()

    async def run(self) -> None:
        """Asks, for ever."""
        while True:
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            answered = await self.check()
            if not answered:
                self._due.set()
            await asyncio.sleep(GATHER_SECONDS if answered else RETRY_SECONDS)

    async def check(self) -> bool:
        """Asks once; whether directory answered."""
        raise NotImplementedError
