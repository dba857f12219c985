"""The end of the mail of deleted mailboxes: those that an administrator gave up, and those older than the policy says.

Which ones is a mark in the directory's database; their mail goes in small pieces. Broken off anywhere, it goes on where
it was; two processes that do the same are in nobody's way.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from postbus.contracts.events import Event, EventType
from postbus.contracts.mailbox_life import ArchivedMailbox
from postbus.core.clock import Clock
from postbus.core.ids import new_uuid7
from postbus.mailstore.ports import Accounts
from postbusd.directory.administration.ports import ArchiveStore, PolicyStore

ROUND_SECONDS = 60.0
PIECE_ROWS = 500
PAUSE_SECONDS = 0.02
"""Between two pieces: mail goes first."""
MARKED = 100
"""Mailboxes of one look."""
DAY_MS = 86_400_000

log = logging.getLogger(__name__)


class PurgeStore(ArchiveStore, PolicyStore, Protocol):
    """What is asked of the directory's database."""


class Purging:
    """One loop."""

    def __init__(
        self,
        store: PurgeStore,
        accounts: Accounts,
        clock: Clock,
        registry: CollectorRegistry,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._told: Callable[[], None] = lambda: None
        self._sleep = sleep
        self._woken = asyncio.Event()
        self._purged = Counter(
            "postbus_directory_purged_mailboxes", "Deleted mailboxes whose mail went for good.", registry=registry
        )
        self._waiting = Gauge(
            "postbus_directory_purging_mailboxes",
            "Deleted mailboxes whose mail is going, at most 100 are counted.",
            registry=registry,
        )

    def tell(self, told: Callable[[], None]) -> None:
        """`told` is called when there is a new event in the outbox."""
        self._told = told

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    async def run(self) -> None:
        """For ever. Raises MailError: the database is away."""
        while True:
            self._woken.clear()
            await self.purge()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._woken.wait()

    async def purge(self) -> None:
        """Until nothing is marked. Raises MailError."""
        policy = (await self._store.load_policy()).policy
        before_ms = self._clock.now_ms() - policy.archive_days * DAY_MS if policy.archive_days else None
        while due := await self._store.due_purges(before_ms, MARKED):
            for left, archived in enumerate(due):
                self._waiting.set(len(due) - left)
                await self._purge(archived)
            self._waiting.set(0)

    async def _purge(self, archived: ArchivedMailbox) -> None:
        while not await self._accounts.purge(archived.mailbox_id, PIECE_ROWS):
            await self._sleep(PAUSE_SECONDS)
        now_ms = self._clock.now_ms()
        event = Event(
            event_id=new_uuid7(now_ms),
            type=EventType.CONFIGURATION,
            at_ms=now_ms,
            service="directory",
            summary=f"mail of deleted mailbox {archived.address} purged",
            domain=archived.address.rpartition("@")[2],
        )
        if await self._store.end_archived(archived.mailbox_id, event):
            self._purged.inc()
            self._told()
            log.info("directory.mailbox.purged", extra={"mailbox_id": archived.mailbox_id})
