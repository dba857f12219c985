"""The outgoing queue in Postgres as administrators, metrics, upkeep and the relays see it."""

import asyncpg
import msgspec

from postbus.contracts.delivery import (
    ChangeQueueReply,
    ChangeQueueRequest,
    ListQueueReply,
    ListQueueRequest,
    QueueAction,
    QueueEntry,
)
from postbus.contracts.events import MailAccepted
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId
from postbus.mailstore.outbox import publish_rows
from postbus.mailstore.ports import Publish
from postbus.runtime.database import connection
from postbusd.delivery.adapters.postgres_queue_rows import COPY_COLUMNS, OPEN_STATES, SELECT_WANTED, read_entry
from postbusd.delivery.outbound.queue import Counts, PublishMail

MAX_PAGE = 1000
MAX_COPIES_SHOWN = 1000
"""Of one message in its trace; the list shows them all."""

_LIST = f"""
SELECT {COPY_COLUMNS} FROM delivery.outgoing_copy c JOIN delivery.outgoing m USING (queue_id)
WHERE (c.queue_id, c.recipient) > ($1, $2) AND ($3 = '' OR c.queue_id = $3) AND ($4 = '' OR c.domain = $4)
    AND c.state = ANY($5::text[])
ORDER BY c.queue_id, c.recipient LIMIT $6
"""  # noqa: S608  # constants of this package
_COUNT = """
SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'held') AS held
FROM delivery.outgoing_copy WHERE state IN ('waiting', 'held')
"""
_ALL_STATES = [*OPEN_STATES, "sent", "failed", "cancelled"]
_FROM_STATES = {
    QueueAction.RETRY: ["waiting"],
    QueueAction.HOLD: ["waiting"],
    QueueAction.RELEASE: ["held"],
    QueueAction.CANCEL: OPEN_STATES,
    QueueAction.BOUNCE: OPEN_STATES,
}
_CHANGE = """
UPDATE delivery.outgoing_copy c
SET state = $3, due_ms = CASE WHEN $3 = 'held' THEN c.due_ms ELSE $4 END, lease_owner = '', lease_until_ms = 0
FROM unnest($1::text[], $2::text[]) AS w(queue_id, recipient)
WHERE c.queue_id = w.queue_id AND c.recipient = w.recipient
"""
_TO_STATE = {
    QueueAction.RETRY: "waiting",
    QueueAction.HOLD: "held",
    QueueAction.RELEASE: "waiting",
    QueueAction.CANCEL: "cancelled",
}
_TRIM = """
DELETE FROM delivery.outgoing m USING (
    SELECT DISTINCT queue_id FROM (
        SELECT queue_id FROM delivery.outgoing_copy
        WHERE state IN ('sent', 'failed', 'cancelled') AND due_ms < $1 ORDER BY due_ms LIMIT $2) oldest
) old
WHERE m.queue_id = old.queue_id AND NOT EXISTS (
    SELECT FROM delivery.outgoing_copy c
    WHERE c.queue_id = m.queue_id AND (c.state IN ('waiting', 'held') OR c.due_ms >= $1))
"""
_CLAIM_EVENTS = "SELECT outbox_id, event FROM delivery.outbox ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED"
_CLAIM_REPORTS = "SELECT queue_id, accepted FROM delivery.report_outbox LIMIT $1 FOR UPDATE SKIP LOCKED"


class PostgresQueueBooks:
    """Implements `QueueBooks`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """On the service's pool."""
        self._pool = pool

    async def page(self, request: ListQueueRequest) -> ListQueueReply:
        """See `QueueBooks.page`."""
        if not 1 <= request.limit <= MAX_PAGE:
            raise MailError(ErrorKind.INVALID, f"limit: 1 to {MAX_PAGE}")
        after_id, _, after_recipient = request.after.partition("/")
        states = _ALL_STATES if request.finished or request.queue_id else OPEN_STATES
        async with connection(self._pool) as session:
            rows = await session.fetch(
                _LIST, after_id, after_recipient, request.queue_id, request.domain, states, request.limit + 1
            )
            counted = await session.fetchrow(_COUNT)
        page = [read_entry(row) for row in rows[: request.limit]]
        more = len(rows) > request.limit
        return ListQueueReply(
            entries=tuple(page),
            next_after=f"{page[-1].queue_id}/{page[-1].recipient}" if more else "",
            waiting=counted["waiting"] if counted else 0,
            held=counted["held"] if counted else 0,
        )

    async def entries(self, queue_id: QueueId) -> tuple[QueueEntry, ...]:
        """See `QueueBooks.entries`."""
        async with connection(self._pool) as session:
            rows = await session.fetch(_LIST, "", "", queue_id, "", _ALL_STATES, MAX_COPIES_SHOWN)
        return tuple(read_entry(row) for row in rows)

    async def change(self, request: ChangeQueueRequest, now_ms: int) -> ChangeQueueReply:
        """See `QueueBooks.change`."""
        lock = "" if request.dry_run else " FOR UPDATE OF c"
        async with connection(self._pool) as session, session.transaction():
            rows = await session.fetch(
                SELECT_WANTED + lock,
                now_ms,
                _FROM_STATES[request.action],
                request.queue_id,
                request.recipient,
                request.domain,
            )
            free = [(row["queue_id"], row["recipient"]) for row in rows if not row["busy"]]
            if free and not request.dry_run:
                ids, recipients = [key[0] for key in free], [key[1] for key in free]
                await session.execute(_CHANGE, ids, recipients, _TO_STATE[request.action], now_ms)
        return ChangeQueueReply(changed=len(free), busy=len(rows) - len(free))

    async def counts(self) -> Counts:
        """See `QueueBooks.counts`."""
        async with connection(self._pool) as session:
            row = await session.fetchrow(_COUNT)
        return Counts(waiting=row["waiting"], held=row["held"]) if row else Counts()

    async def trim(self, before_ms: int, limit: int) -> int:
        """See `QueueBooks.trim`."""
        async with connection(self._pool) as session:
            done = await session.execute(_TRIM, before_ms, limit)
        return int(done.rpartition(" ")[2])

    async def relay_events(self, limit: int, publish: Publish) -> int:
        """See `QueueBooks.relay_events`."""
        async with connection(self._pool) as session, session.transaction():
            rows = await session.fetch(_CLAIM_EVENTS, limit)
            done = await publish_rows([(row["outbox_id"], row["event"]) for row in rows], publish)
            if done:
                await session.execute("DELETE FROM delivery.outbox WHERE outbox_id = ANY($1)", done)
        return len(done)

    async def relay_reports(self, limit: int, publish: PublishMail) -> int:
        """See `QueueBooks.relay_reports`."""
        async with connection(self._pool) as session, session.transaction():
            rows = await session.fetch(_CLAIM_REPORTS, limit)
            for row in rows:
                await publish(msgspec.msgpack.decode(row["accepted"], type=MailAccepted))
            if rows:
                ids = [row["queue_id"] for row in rows]
                await session.execute("DELETE FROM delivery.report_outbox WHERE queue_id = ANY($1)", ids)
        return len(rows)
