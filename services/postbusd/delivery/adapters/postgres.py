"""delivery's own tables in Postgres."""

from collections.abc import Sequence

import asyncpg
import msgspec

from postbus.contracts.delivery import Accounted, Placement
from postbus.core.ids import QueueId
from postbus.runtime.database import connection
from postbusd.delivery.ports import DeadLetter, LedgerEntry

RECORD = "SELECT * FROM delivery.record_v1($1, $2, $3, $4, $5, $6, $7)"
_PLACEMENTS = msgspec.msgpack.Decoder(tuple[Placement, ...])


class PostgresLedger:
    """The `Ledger` port on schema `delivery`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def record(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """See `Ledger.record`."""
        async with connection(self._pool) as session:
            rows = await session.fetch(RECORD, *ledger_columns(entries))
        clashes = {row[0] for row in rows}
        return [entry for entry in entries if entry.stream_sequence in clashes]

    async def hold(self, letters: Sequence[DeadLetter]) -> None:
        """See `Ledger.hold`."""
        async with connection(self._pool) as session, session.transaction():
            await session.executemany(
                "INSERT INTO delivery.dead_letter (stream_sequence, queue_id, reason, payload) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (stream_sequence) DO NOTHING",
                [(letter.stream_sequence, letter.queue_id, letter.reason, letter.payload) for letter in letters],
            )
            await session.executemany(
                "INSERT INTO delivery.ledger (stream_sequence, queue_id, accounted, accepted_at, detail) "
                "VALUES ($1, $2, 'held', now(), $3) ON CONFLICT (stream_sequence) DO NOTHING",
                [(letter.stream_sequence, letter.queue_id, letter.reason) for letter in letters],
            )

    async def find(self, queue_id: QueueId) -> LedgerEntry | None:
        """See `Ledger.find`."""
        async with connection(self._pool) as session:
            row = await session.fetchrow(
                "SELECT stream_sequence, queue_id, accounted, (extract(epoch FROM accepted_at) * 1000)::bigint AS "
                "accepted_ms, detail, placements, traceparent FROM delivery.ledger WHERE queue_id = $1",
                queue_id,
            )
        if row is None:
            return None
        return LedgerEntry(
            stream_sequence=row["stream_sequence"],
            queue_id=QueueId(row["queue_id"]),
            accounted=Accounted(row["accounted"]),
            accepted_ms=row["accepted_ms"],
            detail=row["detail"],
            placements=_PLACEMENTS.decode(row["placements"]) if row["placements"] else (),
            traceparent=row["traceparent"],
        )

    async def check(self) -> None:
        """See `Ledger.check`."""
        async with connection(self._pool) as session:
            await session.execute("SELECT 1")


def ledger_columns(entries: Sequence[LedgerEntry]) -> tuple[list[object], ...]:
    """The arguments of RECORD."""
    return (
        [entry.stream_sequence for entry in entries],
        [entry.queue_id for entry in entries],
        [entry.accounted for entry in entries],
        [entry.accepted_ms for entry in entries],
        [entry.detail for entry in entries],
        [msgspec.msgpack.encode(entry.placements) for entry in entries],
        [entry.traceparent for entry in entries],
    )
