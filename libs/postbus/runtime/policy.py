"""The installation's policy as a service follows it: asked for at the start, after changes, and once in a while.

Until directory has answered once the defaults hold; afterwards the last answer does, however long directory is away
(promise 4).
"""

import asyncio
import logging
from collections.abc import Callable

from postbus.bus.ports import Bus
from postbus.bus.subjects import SUBJECT_DIRECTORY_CHANGED
from postbus.contracts import Empty
from postbus.contracts.events import DirectoryChanged
from postbus.contracts.policy import Policy, PolicyFinder
from postbus.core.errors import MailError

log = logging.getLogger(__name__)

RECHECK_SECONDS = 60.0
GATHER_SECONDS = 0.2
"""Between two questions: a hundred changes in a row are asked about together."""
RETRY_SECONDS = 5.0


class PolicyWatch:
    """`policy` is what holds now; `changed` is called with it when it is another."""

    def __init__(self, finder: PolicyFinder, changed: Callable[[Policy], None] | None = None) -> None:
        self.policy = Policy()
        self._finder = finder
        self._changed = changed
        self._due = asyncio.Event()
        self._due.set()
        self._revision = 0

    async def listen(self, bus: Bus) -> None:
        """Hears of changes, for the life of the service."""
        await bus.listen(SUBJECT_DIRECTORY_CHANGED, DirectoryChanged, self.on_changed)
        bus.on_reconnect(self.on_reconnect)

    async def on_changed(self, change: DirectoryChanged) -> None:
        """directory.changed."""
        if change.revision > self._revision:
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
            answered = await self.refresh()
            if not answered:
                self._due.set()
            await asyncio.sleep(GATHER_SECONDS if answered else RETRY_SECONDS)

    async def refresh(self) -> bool:
        """Asks once; whether directory answered."""
        try:
            reply = await self._finder.find_policy(Empty())
        except MailError as error:
            log.warning("policy.unknown", extra={"reason": str(error)})
            return False
        self._revision = max(self._revision, reply.revision)
        if reply.policy != self.policy:
            self.policy = reply.policy
            log.info("policy.changed", extra={"revision": reply.revision})
            if self._changed is not None:
                self._changed(reply.policy)
        return True
