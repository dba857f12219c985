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
from postbusd.delivery.adapters.postgres_queue_rows import (
    COPY_COLUMNS,
    OPEN_STATES,
    SELECT_WANTED,
    put_report,
    read_entry,
    settle,
)
from postbusd.delivery.outbound.queue import Counts, PublishMail

MAX_PAGE = 1000
MAX_COPIES_SHOWN = 1000
"""Of one message in its trace; the list shows them all."""

_LIST = f"""
SELECT {COPY_COLUMNS} FROM delivery.outgoing_copy c JOIN delivery.outgoing m USING (queue_id)
WHERE (c.queue_id, c.recipient) > ($1, $2) AND ($3 = '' OR c.domain = $3)
"""  # noqa: S608  # constants of this package
_PAGE = "ORDER BY c.queue_id, c.recipient LIMIT $4"
# Literal conditions: the planner must see that the index of open copies will do, however many finished ones there are.
_LIST_OPEN = f"{_LIST} AND c.state IN ('waiting', 'held') {_PAGE}"
_LIST_ALL = f"{_LIST} {_PAGE}"
_LIST_MESSAGE = f"{_LIST} AND c.queue_id = $5 {_PAGE}"
_COUNT = """
SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'held') AS held,
    coalesce((
        SELECT o.accepted_ms FROM delivery.outgoing o WHERE o.queue_id = (
            SELECT c.queue_id FROM delivery.outgoing_copy c
            WHERE c.state IN ('waiting', 'held') AND c.state = 'waiting' ORDER BY c.queue_id LIMIT 1)
    ), 0) AS oldest_ms
FROM delivery.outgoing_copy WHERE state IN ('waiting', 'held')
"""
_FROM_STATES = {
    QueueAction.RETRY: ["waiting"],
    QueueAction.HOLD: ["waiting"],
    QueueAction.RELEASE: ["held"],
    QueueAction.CANCEL: OPEN_STATES,
    QueueAction.BOUNCE: OPEN_STATES,
}
_COUNT_WANTED = f"""
SELECT count(*), count(*) FILTER (WHERE lease_until_ms <= $5)
FROM ({SELECT_WANTED}) w JOIN delivery.outgoing_copy USING (queue_id, recipient)
"""  # noqa: S608  # constants of this package
_CHANGE = f"""
WITH chosen AS ({SELECT_WANTED} AND c.lease_until_ms <= $6 FOR UPDATE OF c SKIP LOCKED)
UPDATE delivery.outgoing_copy c
SET state = $5, due_ms = CASE WHEN $5 = 'held' THEN c.due_ms ELSE $6 END, lease_owner = '', lease_until_ms = 0
FROM chosen WHERE c.queue_id = chosen.queue_id AND c.recipient = chosen.recipient
RETURNING c.queue_id
"""  # noqa: S608  # constants of this package
_TO_STATE = {
    QueueAction.RETRY: "waiting",
    QueueAction.HOLD: "held",
    QueueAction.RELEASE: "waiting",
    QueueAction.CANCEL: "cancelled",
}
_TRIM = """
DELETE FROM delivery.outgoing m USING (
    SELECT c.queue_id FROM delivery.outgoing_copy c
    WHERE c.state IN ('sent', 'failed', 'cancelled') AND c.due_ms < $1 AND NOT EXISTS (
        SELECT FROM delivery.outgoing_copy o
        WHERE o.queue_id = c.queue_id AND (o.state IN ('waiting', 'held') OR o.due_ms >= $1))
    ORDER BY c.due_ms LIMIT $2
) old
WHERE m.queue_id = old.queue_id
"""
_CLAIM_EVENTS = "SELECT outbox_id, event FROM delivery.outbox ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED"
_REPORTS = "SELECT queue_id, accepted FROM delivery.report_outbox ORDER BY queue_id LIMIT $1"
_DROP_REPORT = "DELETE FROM delivery.report_outbox WHERE queue_id = $1"


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
        filters: list[object] = [after_id, after_recipient, request.domain, request.limit + 1]
        statement = _LIST_ALL if request.finished else _LIST_OPEN
        if request.queue_id:
            statement = _LIST_MESSAGE
            filters.append(request.queue_id)
        async with connection(self._pool) as session:
            rows = await session.fetch(statement, *filters)
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
            rows = await session.fetch(_LIST_MESSAGE, "", "", "", MAX_COPIES_SHOWN, queue_id)
        return tuple(read_entry(row) for row in rows)

    async def change(self, request: ChangeQueueRequest, now_ms: int) -> ChangeQueueReply:
        """See `QueueBooks.change`."""
        wanted = (_FROM_STATES[request.action], request.queue_id, request.recipient, request.domain)
        async with connection(self._pool) as session, session.transaction():
            total, free = await session.fetchrow(_COUNT_WANTED, *wanted, now_ms) or (0, 0)
            if request.dry_run:
                return ChangeQueueReply(changed=free, busy=total - free)
            changed = await session.fetch(_CHANGE, *wanted, _TO_STATE[request.action], now_ms)
            if request.action is QueueAction.CANCEL and changed:
                await settle(session, {row["queue_id"] for row in changed})
        return ChangeQueueReply(changed=len(changed), busy=total - len(changed))

    async def counts(self) -> Counts:
        """See `QueueBooks.counts`."""
        async with connection(self._pool) as session:
            row = await session.fetchrow(_COUNT)
        return Counts(waiting=row["waiting"], held=row["held"], oldest_ms=row["oldest_ms"]) if row else Counts()

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

    async def add_report(self, accepted: MailAccepted) -> None:
        """See `QueueUpkeep.add_report`."""
        async with connection(self._pool) as session:
            await put_report(session, accepted)

    async def relay_reports(self, limit: int, publish: PublishMail) -> int:
        """See `QueueBooks.relay_reports`. No connection is kept while the bus makes us wait."""
        async with connection(self._pool) as session:
            rows = await session.fetch(_REPORTS, limit)
        for row in rows:
            await publish(msgspec.msgpack.decode(row["accepted"], type=MailAccepted))
            async with connection(self._pool) as session:
                await session.execute(_DROP_REPORT, row["queue_id"])
        return len(rows)
