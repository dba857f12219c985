"""Dead letters in Postgres (schema `delivery`)."""

from collections.abc import Sequence

import asyncpg

from postbus.contracts.events import Event
from postbus.core.ids import QueueId
from postbus.mailstore.outbox import pack_event
from postbus.runtime.database import connection
from postbusd.delivery.adapters.postgres import pack_placements
from postbusd.delivery.adapters.postgres_queue_rows import put_events, settle, write_copies, write_messages
from postbusd.delivery.ledger.ports import Letter
from postbusd.delivery.outbound.news import queued_events
from postbusd.delivery.outbound.queue import Outgoing
from postbusd.delivery.ports import LedgerEntry

_COLUMNS = """
SELECT stream_sequence, queue_id, reason, (extract(epoch FROM held_at) * 1000)::bigint AS held_ms, payload
FROM delivery.dead_letter
"""
_PAGE = f"{_COLUMNS} WHERE stream_sequence > $1 ORDER BY stream_sequence LIMIT $2"
_ONE = f"{_COLUMNS} WHERE stream_sequence = $1"
_COUNT = "SELECT count(*) FROM delivery.dead_letter"
_AMEND = "UPDATE delivery.dead_letter SET payload = $2, reason = $3 WHERE stream_sequence = $1"
_AMEND_ROW = "UPDATE delivery.ledger SET detail = $2 WHERE stream_sequence = $1 AND accounted = 'held'"
_DROP = "DELETE FROM delivery.dead_letter WHERE stream_sequence = $1"
# Numbers stay what they are while this is held (see open_volume_v1).
_LOCK = "SELECT pg_advisory_xact_lock_shared(hashtextextended('postbus.delivery.ledger', 0))"
_ACCOUNT = """
UPDATE delivery.ledger
SET accounted = $2, detail = $3, placements = CASE WHEN $4 = ''::bytea THEN placements ELSE $4 END, accounted_at = now()
WHERE stream_sequence = $1 AND accounted = 'held'
"""


class PostgresLetters:
    """Implements `Letters`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """On the service's pool."""
        self._pool = pool

    async def page(self, after: int, limit: int) -> list[Letter]:
        """See `Letters.page`."""
        async with connection(self._pool) as session:
            return [_read(row) for row in await session.fetch(_PAGE, after, limit)]

    async def letter(self, number: int) -> Letter | None:
        """See `Letters.letter`."""
        async with connection(self._pool) as session:
            row = await session.fetchrow(_ONE, number)
        return None if row is None else _read(row)

    async def count(self) -> int:
        """See `Letters.count`."""
        async with connection(self._pool) as session:
            return int(await session.fetchval(_COUNT))

    async def amend(self, number: int, payload: bytes, reason: str) -> None:
        """See `Letters.amend`."""
        async with connection(self._pool) as session, session.transaction():
            await session.execute(_AMEND, number, payload, reason)
            await session.execute(_AMEND_ROW, number, reason)

    async def release(
        self, entry: LedgerEntry, outgoing: Sequence[Outgoing], events: Sequence[Event], now_ms: int
    ) -> bool:
        """See `Letters.release`."""
        async with connection(self._pool) as session, session.transaction():
            await session.execute(_LOCK)
            if await session.execute(_DROP, entry.stream_sequence) == "DELETE 0":
                return False
            if outgoing:
                await write_messages(session, [each.message for each in outgoing])
                new = await write_copies(session, outgoing, now_ms)
                queued = queued_events(outgoing, new, now_ms)
                await put_events(session, [pack_event(event) for event in queued])
            await put_events(session, [pack_event(event) for event in events])
            placements = pack_placements(entry.placements) if entry.placements else b""
            await session.execute(_ACCOUNT, entry.stream_sequence, entry.accounted, entry.detail, placements)
            if outgoing:
                await settle(session, [each.message.queue_id for each in outgoing])
        return True


def _read(row: asyncpg.Record) -> Letter:
    return Letter(
        number=row["stream_sequence"],
        queue_id=QueueId(row["queue_id"]),
        reason=row["reason"],
        held_ms=row["held_ms"],
        payload=row["payload"],
    )
