"""delivery's own tables in Postgres."""

from collections.abc import Sequence
from typing import TypeVar

import asyncpg
import msgspec

from postbus.contracts.delivery import Accounted, Placement
from postbus.core.ids import QueueId
from postbus.runtime.database import connection
from postbusd.delivery.ports import DeadLetter, LedgerEntry

RECORD = "SELECT * FROM delivery.record_v2($1, $2, $3, $4, $5, $6, $7, $8)"
_HOLD = "SELECT * FROM delivery.hold_v1($1, $2, $3, $4, $5, $6, $7, $8)"
_FIND = """
SELECT stream_sequence, queue_id, accounted, (extract(epoch FROM accepted_at) * 1000)::bigint AS accepted_ms, detail,
    placements, traceparent, stored_ns
FROM delivery.ledger WHERE queue_id = $1 ORDER BY stream_sequence LIMIT 1
"""
_PLACEMENTS = msgspec.msgpack.Decoder(tuple[Placement, ...])

Given = TypeVar("Given")


class PostgresLedger:
    """The `Ledger` port on schema `delivery`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def record(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """See `Ledger.record`."""
        async with connection(self._pool) as session:
            rows = await session.fetch(RECORD, *ledger_columns(entries))
        return clashing(entries, rows)

    async def hold(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """See `Ledger.hold`."""
        async with connection(self._pool) as session:
            rows = await session.fetch(
                _HOLD,
                [letter.stream_sequence for letter in letters],
                [letter.queue_id for letter in letters],
                [letter.reason for letter in letters],
                [letter.payload for letter in letters],
                [letter.accepted_ms for letter in letters],
                [pack_placements(letter.placements) for letter in letters],
                [letter.traceparent for letter in letters],
                [letter.stored_ns for letter in letters],
            )
        return clashing(letters, rows)

    async def find(self, queue_id: QueueId) -> LedgerEntry | None:
        """See `Ledger.find`."""
        async with connection(self._pool) as session:
            row = await session.fetchrow(_FIND, queue_id)
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
            stored_ns=row["stored_ns"],
        )

    async def check(self) -> None:
        """See `Ledger.check`."""
        async with connection(self._pool) as session:
            await session.execute("SELECT 1")


def clashing(given: Sequence[Given], rows: Sequence[asyncpg.Record]) -> list[Given]:
    """Those whose places RECORD returned."""
    return [given[row[0] - 1] for row in rows]


def ledger_columns(entries: Sequence[LedgerEntry]) -> tuple[list[object], ...]:
    """The arguments of RECORD."""
    return (
        [entry.stream_sequence for entry in entries],
        [entry.queue_id for entry in entries],
        [entry.accounted for entry in entries],
        [entry.accepted_ms for entry in entries],
        [entry.detail for entry in entries],
        [pack_placements(entry.placements) for entry in entries],
        [entry.traceparent for entry in entries],
        [entry.stored_ns for entry in entries],
    )


def pack_placements(placements: tuple[Placement, ...]) -> bytes:
    """As the ledger keeps them."""
    return msgspec.msgpack.encode(placements)
