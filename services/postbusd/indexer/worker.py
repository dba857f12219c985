"""Follows index_pending: a batch of rows, one commit, then the rows are deleted (architecture §3.7).

A row is deleted only after its document is durable, so a process that dies anywhere indexes it again; documents are
replaced by key, so twice is harmless. A row whose message is absent removes the document.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence

from postbus.contracts.events import IndexWanted
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.core.trace import parse_traceparent, use_trace
from postbus.mailstore.ports import IndexQueue
from postbus.mailstore.values import PendingIndex
from postbus.runtime.telemetry import Attribute, child_of, record_span
from postbusd.indexer.extract import Extracted, Extractor, partial_document
from postbusd.indexer.metrics import Metrics
from postbusd.indexer.ports import SearchIndex
from postbusd.indexer.rebuild import Rebuild
from postbusd.indexer.reconcile import FIRST_EPOCH, Reconciler
from postbusd.indexer.settings import IndexerSettings
from postbusd.indexer.values import IndexDocument, format_key

log = logging.getLogger(__name__)

MAX_CATCH_UP_BATCHES = 50
"""Batches that one search indexes before it reads the rest itself."""
AWAY_SECONDS = 5.0
MAX_PAUSE_SECONDS = 1.0
"""A rebuild rests as long as it worked, up to this: the process has other things to do."""


class Worker:
    """The only writer of the index."""

    def __init__(  # noqa: PLR0913  # the composition root's list of ports
        self,
        *,
        queue: IndexQueue,
        index: SearchIndex,
        extractor: Extractor,
        clock: Clock,
        settings: IndexerSettings,
        metrics: Metrics,
        epoch: Callable[[], int] = lambda: FIRST_EPOCH,
    ) -> None:
        """`epoch`: of the mail store, as the last connection found it."""
        self._queue = queue
        self._reconciler = Reconciler(queue, index, epoch)
        self._rebuild = Rebuild(queue=queue, record=index.record, clock=clock, metrics=metrics)
        self._index = index
        self._extractor = extractor
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._full = asyncio.Event()
        """Set once the wake-ups told of a whole batch."""
        self._told = 0
        self._stopping = False
        self._worked = 0.0

    async def wake(self, wanted: IndexWanted | None = None) -> None:
        """There may be rows."""
        self._told += wanted.count if wanted else 0
        if self._told >= self._settings.batch_messages:
            self._full.set()
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled or stopped."""
        away = False
        while not self._stopping:
            self._wanted.clear()
            self._full.clear()
            self._told = 0
            started = self._clock.monotonic()
            try:
                rows = await self.index_due()
                rebuilding = rows < self._settings.batch_messages and self._rebuild.is_running
                if rebuilding:
                    await self._rebuild.step()
                if away:
                    log.info("indexer.queue.back")
                away = False
            except MailError as error:
                if not away:
                    log.warning("indexer.queue.away", extra={"reason": str(error)})
                away = True
                await asyncio.sleep(min(AWAY_SECONDS, self._settings.poll_seconds))
                continue
            if self._rebuild.is_running:
                await asyncio.sleep(min(MAX_PAUSE_SECONDS, self._clock.monotonic() - started))
            elif rows < self._settings.batch_messages and not rebuilding:
                await self._wait()

    async def stop(self) -> None:
        """Finishes the batch in hand."""
        self._stopping = True
        self._wanted.set()
        self._full.set()
        async with self._lock:
            return

    async def index_due(self) -> int:
        """Indexes one batch of due rows; their number. Raises MailError UNAVAILABLE."""
        async with self._lock:
            rows = await self._queue.pending(self._settings.batch_messages)
            self._metrics.lag.set(len(rows))
            oldest = min((row.enqueued_ms for row in rows), default=self._clock.now_ms())
            self._metrics.lag_seconds.set(max(0, self._clock.now_ms() - oldest) / 1000)
            await self._index_rows(rows)
        return len(rows)

    async def catch_up(self, mailbox_ids: Sequence[MailboxId], goal: int) -> list[PendingIndex]:
        """The mailboxes' rows, after indexing as many as it takes to leave at most `goal` (failing ones aside).

        Raises MailError: UNAVAILABLE when there are too many (the next call finds fewer), or when the index is being
        made anew and has not come to these mailboxes.
        """
        await self._rebuild.require(mailbox_ids)
        batch = max(self._settings.batch_messages, goal + 1)
        rows = await self._queue.pending_of(mailbox_ids, batch)
        if self._reconciler.pending(mailbox_ids):
            await self._reconcile(mailbox_ids)
            rows = await self._queue.pending_of(mailbox_ids, batch)
        for _ in range(MAX_CATCH_UP_BATCHES):
            if len(rows) <= goal:
                return rows
            async with self._lock:
                rows = await self._queue.pending_of(mailbox_ids, batch)
                if len(rows) > goal and not await self._index_rows(rows):
                    return rows
            rows = await self._queue.pending_of(mailbox_ids, batch)
        if len(rows) > goal:
            raise MailError(ErrorKind.UNAVAILABLE, "the search index is behind")
        return rows

    async def _reconcile(self, mailbox_ids: Sequence[MailboxId]) -> None:
        async with self._lock:
            for mailbox_id in self._reconciler.pending(mailbox_ids):
                await self._reconciler.compare(mailbox_id)

    async def _wait(self) -> None:
        """Until something is wanted, then a little longer, so that one commit serves many messages."""
        pause = self._settings.poll_seconds
        try:
            async with asyncio.timeout(pause):
                await self._wanted.wait()
        except TimeoutError:
            if self._worked and self._clock.monotonic() - self._worked > self._settings.writer_idle_seconds:
                self._worked = 0.0
                async with self._lock:
                    await self._index.rest()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._gather_seconds()):
                await self._full.wait()

    def _gather_seconds(self) -> float:
        """How long one commit gathers: while mail keeps coming, until `commit_seconds` after the last one.

        A commit costs tens of milliseconds of CPU (files, fsync, merges) whether it has ten documents or a hundred.
        """
        if not self._worked:
            return self._settings.gather_seconds
        rest = self._settings.commit_seconds - (self._clock.monotonic() - self._worked)
        return max(self._settings.gather_seconds, rest)

    async def _index_rows(self, rows: Sequence[PendingIndex]) -> int:
        """Indexes rows; the number done. The lock is held."""
        if not rows:
            return 0
        started_ns = time.time_ns()
        with self._metrics.batch_seconds.time():
            extracted = await self._extractor.extract(rows)
            documents, done = await self._sort_out(extracted)
            gone = [row for row in rows if row.message is None]
            absent = [format_key(row.mailbox_id, uuid.UUID(row.email_id).bytes) for row in gone]
            await self._index.apply(documents, absent)
            await self._queue.indexed([*done, *gone])
        _tell_indexed(done, len(rows), started_ns)
        self._worked = self._clock.monotonic()
        self._metrics.messages.labels("removed").inc(len(gone))
        return len(done) + len(gone)

    async def _sort_out(self, extracted: Sequence[Extracted]) -> tuple[list[IndexDocument], list[PendingIndex]]:
        """Documents with their rows; failures are counted, and after enough attempts indexed as far as known."""
        documents: list[IndexDocument] = []
        done: list[PendingIndex] = []
        for result in extracted:
            row, document = result.row, result.document
            outcome = "indexed"
            if document is None and row.attempt + 1 >= self._settings.max_attempts:
                document = partial_document(row)
                outcome = "partial"
                facts = {"mailbox_id": row.mailbox_id, "email_id": row.email_id, "reason": result.reason}
                with use_trace(parse_traceparent(row.traceparent)):
                    log.warning("indexer.message.partial", extra=facts)
            if document is None:
                outcome = "failed"
                await self._queue.failed(row, result.reason)
            else:
                documents.append(document)
                done.append(row)
            self._metrics.messages.labels(outcome).inc()
        return documents, done


def _tell_indexed(rows: Sequence[PendingIndex], batch: int, started_ns: int) -> None:
    """A span a message though one commit makes a batch durable (promise 8); searches find it from now on."""
    for row in rows:
        parent = parse_traceparent(row.traceparent)
        if parent is not None:
            facts: dict[str, Attribute] = {
                "mailbox_id": row.mailbox_id,
                "email_id": row.email_id,
                "attempt": row.attempt + 1,
                "batch_messages": batch,
            }
            record_span("indexer.index", child_of(parent), parent, started_ns, facts)
