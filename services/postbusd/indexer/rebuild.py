"""Fills an index that was made anew: all messages are enqueued again, a piece at a time, while mail flows (promise 6).

Mailboxes come in the order of their ids, so those below the place reached are complete and can be searched; the others
have no answer until it is their turn. The place is saved after its piece is committed: a process that dies in between
enqueues the piece again, which changes nothing.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.mailstore.ports import IndexQueue
from postbus.mailstore.values import Enqueued
from postbusd.indexer.metrics import Metrics
from postbusd.indexer.ports import RebuildRecord
from postbusd.indexer.values import IndexState

log = logging.getLogger(__name__)

PIECE_MESSAGES = 400
"""Enqueued at once: what fresh mail may have to wait behind, about a second."""
TOLD_SECONDS = 60.0
"""Between two lines of progress in the log."""


class Rebuild:
    """The one who enqueues; the worker asks for the next piece when it has nothing else to do."""

    def __init__(self, *, queue: IndexQueue, record: RebuildRecord, clock: Clock, metrics: Metrics) -> None:
        self._queue = queue
        self._record = record
        self._clock = clock
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._told: float | None = None
        self._show()

    @property
    def is_running(self) -> bool:
        """Whether messages are still to be enqueued."""
        return self._record.state.incomplete

    async def require(self, mailbox_ids: Sequence[MailboxId]) -> None:
        """Raises MailError: UNAVAILABLE unless every message of these mailboxes is in the index or in the queue.

        The first one to ask does the first piece, which is all there is on a small or a new installation.
        """
        if self.is_running and self._record.state.mailbox_id is None:
            await self.step(first=True)
        state = self._record.state
        if state.incomplete and any(state.mailbox_id is None or each >= state.mailbox_id for each in mailbox_ids):
            raise MailError(ErrorKind.UNAVAILABLE, "the search index is being made anew")

    async def step(self, first: bool = False) -> None:
        """The next piece (`first`: unless one was done meanwhile). Raises MailError: UNAVAILABLE."""
        async with self._lock:
            before = self._record.state
            if not before.incomplete or (first and before.mailbox_id is not None):
                return
            after = None
            if before.mailbox_id is not None and before.email_id is not None:
                after = Enqueued(mailbox_id=before.mailbox_id, email_id=before.email_id, messages=0)
            piece = await self._queue.enqueue_all(after, PIECE_MESSAGES)
            if piece is None or piece.messages < PIECE_MESSAGES:
                await self._finish(before, piece.messages if piece else 0)
            else:
                await self._go_on(before, piece)
            self._show()

    async def _go_on(self, before: IndexState, piece: Enqueued) -> None:
        messages = before.messages + piece.messages
        now = self._clock.monotonic()
        if self._told is None or now - self._told >= TOLD_SECONDS:
            goes_on = self._told is not None or before.messages > 0
            self._told = now
            facts = {"messages": messages, "mailbox_id": piece.mailbox_id}
            log.info("indexer.rebuild.progress" if goes_on else "indexer.rebuild.start", extra=facts)
        await self._record.save(
            msgspec.structs.replace(before, mailbox_id=piece.mailbox_id, email_id=piece.email_id, messages=messages)
        )

    async def _finish(self, before: IndexState, messages: int) -> None:
        await self._record.save(IndexState(schema=before.schema, incomplete=False))
        if before.messages + messages:
            log.info("indexer.rebuild.done", extra={"messages": before.messages + messages})

    def _show(self) -> None:
        self._metrics.incomplete.set(self.is_running)
        self._metrics.rebuilt.set(self._record.state.messages)
