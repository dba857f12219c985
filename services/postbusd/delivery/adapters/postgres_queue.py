"""The outgoing queue in Postgres (schema `delivery`): who enters copies, who holds their leases."""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from postbus.contracts.delivery import ChangeQueueRequest, QueueState
from postbus.core.errors import MailError
from postbus.mailstore.outbox import pack_event
from postbus.runtime.database import connection
from postbusd.delivery.adapters.postgres import RECORD, ledger_columns
from postbusd.delivery.adapters.postgres_queue_books import PostgresQueueBooks
from postbusd.delivery.adapters.postgres_queue_rows import (
    COPY_COLUMNS,
    OPEN_STATES,
    SELECT_WANTED,
    put_events,
    read_claimed,
    write_copies,
    write_messages,
)
from postbusd.delivery.outbound.news import queued_events
from postbusd.delivery.outbound.queue import Attempt, Claimed, Outcomes, Outgoing
from postbusd.delivery.ports import LedgerEntry

if TYPE_CHECKING:
    from postbus.runtime.database import Session

log = logging.getLogger(__name__)

LOCK_LOOK_SECONDS = 5.0
"""How often the connection that holds the owner's lock is looked at."""

_CLAIM = f"""
WITH full_up AS (
    SELECT * FROM unnest($4::text[], $5::text[]) AS f(route_domain, domain)
), chosen AS (
    SELECT c.queue_id, c.recipient FROM delivery.outgoing_copy c
    WHERE c.state = 'waiting' AND c.due_ms <= $2 AND c.lease_until_ms <= $2
        AND NOT EXISTS (SELECT FROM full_up f WHERE f.route_domain = c.route_domain AND f.domain = c.domain)
    ORDER BY c.due_ms LIMIT $6 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE delivery.outgoing_copy c
    SET lease_owner = $1, lease_token = nextval('delivery.lease_token'), lease_until_ms = $3
    FROM chosen WHERE c.queue_id = chosen.queue_id AND c.recipient = chosen.recipient
    RETURNING c.*
)
SELECT {COPY_COLUMNS} FROM claimed c JOIN delivery.outgoing m USING (queue_id) ORDER BY c.due_ms, c.queue_id
"""  # noqa: S608  # constants of this package
_FINISH = """
UPDATE delivery.outgoing_copy c
SET state = a.state, due_ms = a.due_ms, attempts = c.attempts + a.counts::integer, lease_owner = '', lease_until_ms = 0,
    next_hop = coalesce(nullif(a.next_hop, ''), c.next_hop), last_reply = a.reply, last_status = a.status,
    remote_host = a.remote_host, tls = a.tls
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::boolean[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[])
    AS a(queue_id, recipient, lease_token, state, due_ms, counts, next_hop, reply, status, remote_host, tls)
WHERE c.queue_id = a.queue_id AND c.recipient = a.recipient AND c.lease_owner = $1 AND c.lease_token = a.lease_token
    AND c.state = 'waiting'
"""
_SETTLE = """
UPDATE delivery.ledger l SET accounted = 'dsn', detail = 'not all copies could be delivered; their sender was told'
WHERE l.queue_id = ANY($1::text[]) AND l.accounted = 'queued'
    AND NOT EXISTS (
        SELECT FROM delivery.outgoing_copy c WHERE c.queue_id = l.queue_id AND c.state IN ('waiting', 'held'))
    AND EXISTS (SELECT FROM delivery.outgoing_copy c WHERE c.queue_id = l.queue_id AND c.state = 'failed')
"""
_PUT_REPORT = """
INSERT INTO delivery.report_outbox (queue_id, accepted) VALUES ($1, $2) ON CONFLICT (queue_id) DO NOTHING
"""
_OTHER_OWNERS = "SELECT DISTINCT lease_owner FROM delivery.outgoing_copy WHERE lease_owner NOT IN ('', $1)"
_LOCK_IS_FREE = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"

_TAKE = f"""
WITH claimed AS (
    UPDATE delivery.outgoing_copy c
    SET lease_owner = $3, lease_token = nextval('delivery.lease_token'), lease_until_ms = $4, state = 'waiting'
    FROM unnest($1::text[], $2::text[]) AS w(queue_id, recipient)
    WHERE c.queue_id = w.queue_id AND c.recipient = w.recipient
    RETURNING c.*
)
SELECT {COPY_COLUMNS} FROM claimed c JOIN delivery.outgoing m USING (queue_id) ORDER BY c.queue_id, c.recipient
"""  # noqa: S608  # constants of this package
_RELEASE = """
UPDATE delivery.outgoing_copy SET lease_owner = '', lease_until_ms = 0 WHERE lease_owner = ANY($1::text[])
"""
_GIVE_BACK = """
UPDATE delivery.outgoing_copy SET lease_owner = '', lease_until_ms = 0
WHERE lease_owner = $1 AND lease_token = ANY($2::bigint[])
"""


class _LeaseLostError(Exception):
    """Rolls a transaction back."""


class PostgresQueue(PostgresQueueBooks):
    """Implements `Queue`."""

    async def enter(
        self, entries: Sequence[LedgerEntry], outgoing: Sequence[Outgoing], now_ms: int
    ) -> list[LedgerEntry]:
        """See `QueueWriter.enter`."""
        async with connection(self._pool) as session, session.transaction():
            if outgoing:
                await write_messages(session, [each.message for each in outgoing])
                new = await write_copies(session, outgoing, now_ms)
                await put_events(session, [pack_event(event) for event in queued_events(outgoing, new, now_ms)])
            rows = await session.fetch(RECORD, *ledger_columns(entries))
        clashes = {row[0] for row in rows}
        return [entry for entry in entries if entry.stream_sequence in clashes]

    async def claim(
        self, owner: str, now_ms: int, until_ms: int, limit: int, full: Sequence[tuple[str, str]]
    ) -> list[Claimed]:
        """See `QueueLeases.claim`."""
        async with connection(self._pool) as session:
            rows = await session.fetch(
                _CLAIM, owner, now_ms, until_ms, [key[0] for key in full], [key[1] for key in full], limit
            )
        return [read_claimed(row) for row in rows]

    async def renew(self, owner: str, until_ms: int) -> None:
        """See `QueueLeases.renew`."""
        async with connection(self._pool) as session:
            await session.execute(
                "UPDATE delivery.outgoing_copy SET lease_until_ms = $2 WHERE lease_owner = $1", owner, until_ms
            )

    async def release(self, owner: str) -> int:
        """See `QueueLeases.release`."""
        async with connection(self._pool) as session:
            return await _release(session, [owner])

    async def finish(self, owner: str, outcomes: Outcomes) -> bool:
        """See `QueueLeases.finish`."""
        attempts = outcomes.attempts
        columns = [[getattr(attempt, name) for attempt in attempts] for name in Attempt.__struct_fields__]
        try:
            async with connection(self._pool) as session, session.transaction():
                done = await session.execute(_FINISH, owner, *columns)
                if int(done.rpartition(" ")[2]) != len(attempts):
                    raise _LeaseLostError
                await put_events(session, [pack_event(event) for event in outcomes.events])
                ended = {attempt.queue_id for attempt in attempts if attempt.state is not QueueState.WAITING}
                if ended:
                    await session.execute(_SETTLE, list(ended))
                if outcomes.report is not None:
                    packed = msgspec.msgpack.encode(outcomes.report)
                    await session.execute(_PUT_REPORT, outcomes.report.queue_id, packed)
        except _LeaseLostError:
            return False
        return True

    async def give_back(self, owner: str, claimed: Sequence[Claimed]) -> None:
        """See `QueueLeases.give_back`."""
        async with connection(self._pool) as session:
            await session.execute(_GIVE_BACK, owner, [each.lease_token for each in claimed])

    async def release_orphans(self, owner: str, suspects: Sequence[str]) -> list[str]:
        """See `QueueLeases.release_orphans`."""
        async with connection(self._pool) as session, session.transaction():
            others = [row[0] for row in await session.fetch(_OTHER_OWNERS, owner)]
            orphaned = [other for other in others if await session.fetchval(_LOCK_IS_FREE, other)]
            dead = [other for other in orphaned if other in suspects]
            if dead:
                copies = await _release(session, dead)
                log.warning("delivery.queue.leases_freed", extra={"owners": dead, "copies": copies})
        return [other for other in orphaned if other not in dead]

    async def take(
        self, owner: str, request: ChangeQueueRequest, now_ms: int, until_ms: int
    ) -> tuple[list[Claimed], int]:
        """See `QueueLeases.take`."""
        async with connection(self._pool) as session, session.transaction():
            rows = await session.fetch(
                f"{SELECT_WANTED} FOR UPDATE OF c",
                now_ms,
                OPEN_STATES,
                request.queue_id,
                request.recipient,
                request.domain,
            )
            free = [(row["queue_id"], row["recipient"]) for row in rows if not row["busy"]]
            taken = await session.fetch(_TAKE, [key[0] for key in free], [key[1] for key in free], owner, until_ms)
        return [read_claimed(row) for row in taken], len(rows) - len(free)

    async def keep_lock(self, owner: str) -> None:
        """Holds the owner's lock for ever, taking it again when its connection was lost."""
        while True:
            try:
                async with connection(self._pool) as session:
                    await session.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", owner)
                    while True:
                        await asyncio.sleep(LOCK_LOOK_SECONDS)
                        await session.execute("SELECT 1")
            except MailError as error:
                log.warning("delivery.queue.lock_lost", extra={"reason": str(error)})
                await asyncio.sleep(1.0)


async def _release(session: "Session", owners: Sequence[str]) -> int:
    """Ends all leases of these owners."""
    done = await session.execute(_RELEASE, owners)
    return int(done.rpartition(" ")[2])
