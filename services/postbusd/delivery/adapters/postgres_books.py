"""The books of the ledger in Postgres (schema `delivery`)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import asyncpg

from postbus.bus.ports import MailState
from postbus.contracts.delivery import Accounted, LedgerClash
from postbus.core.ids import QueueId
from postbus.runtime.database import connection
from postbusd.delivery.ledger.numbers import deleted_numbers, pending_spans, top_number
from postbusd.delivery.ledger.ports import Seen, Settlement
from postbusd.delivery.ledger.values import FIRST_CLASH, Counts, Reading, Span, Survey, Volume

if TYPE_CHECKING:
    from postbus.runtime.database import Session

MAX_GAPS = 10_000
"""Spans of numbers without a row that one look reads."""
MAX_WRITTEN_OFF = 100_000
"""Rows that one statement of a settlement writes."""

_VOLUMES = "SELECT * FROM delivery.ledger_volume ORDER BY volume"
_HIGHEST = """
SELECT stream_sequence, stored_ns FROM delivery.ledger WHERE stream_sequence < $1 ORDER BY stream_sequence DESC LIMIT 1
"""
_OPEN = "SELECT delivery.open_volume_v1($1, $2, $3, $4, $5, $6, $7, $8)"
_BOOK = "SELECT verified_number, vanished, settled_deleted, deletions FROM delivery.ledger_book"
_OTHERS = """
SELECT accounted, count(*) AS messages FROM delivery.ledger
WHERE accounted <> 'folder' AND stream_sequence <= $1 GROUP BY accounted
"""
_BETWEEN = """
SELECT accounted, count(*) AS messages FROM delivery.ledger
WHERE stream_sequence > $1 AND stream_sequence <= $2 GROUP BY accounted
"""
_TRIMMED = "SELECT accounted, messages FROM delivery.ledger_trimmed WHERE part = $1"
_ROWS_IN = """
SELECT coalesce(sum(r.messages), 0)::bigint FROM unnest($1::bigint[], $2::bigint[]) AS s(first, last)
CROSS JOIN LATERAL (
    SELECT count(*) AS messages FROM delivery.ledger WHERE stream_sequence BETWEEN s.first AND s.last
) r
"""
_WITH_ROW = "SELECT stream_sequence FROM delivery.ledger WHERE stream_sequence = ANY($1::bigint[])"
_GAPS = """
SELECT before + 1 AS first, number - 1 AS last FROM (
    SELECT n.number, lag(n.number, 1, $1) OVER (ORDER BY n.number) AS before FROM (
        SELECT stream_sequence AS number FROM delivery.ledger WHERE stream_sequence > $1 AND stream_sequence <= $2
        UNION ALL SELECT $2 + 1
    ) n
) g
WHERE number > before + 1 ORDER BY before LIMIT $3
"""
_OPEN_CLASHES = "SELECT count(*) FROM delivery.ledger_clash WHERE settlement IS NULL"
_CLASHES = """
SELECT stream_sequence, queue_id, first_queue_id, seen_ms FROM delivery.ledger_clash
WHERE settlement IS NULL ORDER BY clash_number LIMIT $1
"""
# What was verified counts only if no row has been deleted or moved since it was read.
_LEASE = """
UPDATE delivery.ledger_book
SET keeper = $1, keeper_until = now() + $2 * interval '1 second',
    verified_number = CASE WHEN deletions = $4 THEN greatest(verified_number, $3) ELSE verified_number END
WHERE keeper = $1 OR keeper_until < now()
"""
_SEEN = """
UPDATE delivery.ledger_volume
SET last_sequence = greatest(last_sequence, $2), last_stored_ns = greatest(last_stored_ns, $3)
WHERE volume = $1 AND (last_sequence < $2 OR last_stored_ns < $3)
"""
_SETTLE = """
INSERT INTO delivery.ledger_settlement (actor, reason, missing, clashes, alarms) VALUES ($1, $2, 0, 0, $3)
RETURNING settlement
"""
_WRITE_OFF = """
INSERT INTO delivery.ledger (stream_sequence, queue_id, accounted, accepted_at, detail, settlement)
SELECT n, '', 'written_off', now(), $3, $4 FROM generate_series($1::bigint, $2::bigint) AS n
ON CONFLICT (stream_sequence) DO NOTHING
"""
_CLOSE_CLASHES = "UPDATE delivery.ledger_clash SET settlement = $1 WHERE settlement IS NULL"
_CLOSE_VOLUMES = "UPDATE delivery.ledger_volume SET settlement = $1 WHERE settlement IS NULL"
_SETTLED = "UPDATE delivery.ledger_settlement SET missing = $2, clashes = $3 WHERE settlement = $1"
_VANISHED = "SELECT vanished FROM delivery.ledger_book FOR UPDATE"
_WRITE_OFF_VANISHED = """
WITH closed AS (
    UPDATE delivery.ledger_book SET vanished = 0, settled_deleted = greatest(settled_deleted, $1)
)
INSERT INTO delivery.ledger_trimmed AS t (part, accounted, messages) VALUES ('dense', 'written_off', $2)
ON CONFLICT (part, accounted) DO UPDATE SET messages = t.messages + excluded.messages
"""
_TRIM = "SELECT delivery.trim_ledger_v1(to_timestamp($1::double precision / 1000), $2)"


class PostgresBooks:
    """Implements `Books`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """On the service's pool."""
        self._pool = pool

    async def survey(self) -> Survey:
        """See `Books.survey`."""
        async with connection(self._pool) as session:
            volumes = await _read_volumes(session)
            row = await session.fetchrow(_HIGHEST, FIRST_CLASH)
        return Survey(
            volumes=volumes,
            highest=row["stream_sequence"] if row else 0,
            highest_stored_ns=row["stored_ns"] if row else 0,
        )

    async def open_volume(self, volume: Volume) -> bool:
        """See `Books.open_volume`."""
        async with connection(self._pool) as session:
            return bool(
                await session.fetchval(
                    _OPEN,
                    volume.volume - 1,
                    volume.created_ms,
                    volume.begins,
                    volume.since_ns,
                    volume.last_sequence,
                    volume.last_stored_ns,
                    volume.opened_ms,
                    volume.alarm,
                )
            )

    async def read(self, state: MailState, limit: int) -> Reading:
        """See `Books.read`."""
        async with (
            connection(self._pool) as session,
            session.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await _read(session, state, limit)

    async def note(self, keeper: str, seconds: float, seen: Seen) -> bool:
        """See `Books.note`."""
        async with connection(self._pool) as session, session.transaction():
            done = await session.execute(_LEASE, keeper, seconds, seen.verified, seen.deletions)
            if _number(done) == 0:
                return False
            await session.execute(_SEEN, seen.volume, seen.last_sequence, seen.last_stored_ns)
        return True

    async def settle(self, settlement: Settlement) -> int:
        """See `Books.settle`."""
        detail = f"missing; settled by {settlement.actor}: {settlement.reason}"
        missing = 0
        async with connection(self._pool) as session, session.transaction():
            key = await session.fetchval(_SETTLE, settlement.actor, settlement.reason, list(settlement.alarms))
            for span in _in_pieces(settlement.missing):
                missing += _number(await session.execute(_WRITE_OFF, span.first, span.last, detail, key))
            vanished = await session.fetchval(_VANISHED)
            await session.execute(_WRITE_OFF_VANISHED, settlement.deleted, vanished)
            clashes = _number(await session.execute(_CLOSE_CLASHES, key))
            await session.execute(_CLOSE_VOLUMES, key)
            await session.execute(_SETTLED, key, missing + vanished, clashes)
        return missing + int(vanished)

    async def trim(self, before_ms: int, limit: int) -> bool:
        """See `Books.trim`."""
        async with connection(self._pool) as session:
            return bool(await session.fetchval(_TRIM, float(before_ms), limit))


async def _read(session: "Session", state: MailState, limit: int) -> Reading:
    volumes = await _read_volumes(session)
    top = top_number(state, volumes)
    pending = pending_spans(state, volumes)
    deleted = deleted_numbers(state, volumes)
    book = await session.fetchrow(_BOOK)
    assert book is not None
    verified = book["verified_number"]
    tail = _counts(await session.fetch(_BETWEEN, verified, top))
    clash = _counts(await session.fetch(_BETWEEN, FIRST_CLASH - 1, 2 * FIRST_CLASH))
    firsts, lasts = [span.first for span in pending], [span.last for span in pending]
    return Reading(
        volumes=volumes,
        verified=verified,
        vanished=book["vanished"],
        settled_deleted=book["settled_deleted"],
        deletions=book["deletions"],
        others=_counts(await session.fetch(_OTHERS, verified)),
        trimmed=_counts(await session.fetch(_TRIMMED, "dense")),
        tail=tail,
        clash=_add(clash, _counts(await session.fetch(_TRIMMED, "clash"))),
        pending_rows=await session.fetchval(_ROWS_IN, firsts, lasts) if pending else 0,
        deleted_rows=tuple(row[0] for row in await session.fetch(_WITH_ROW, deleted)) if deleted else (),
        gaps=await _read_gaps(session, verified, top) if tail.total < top - verified else (),
        open_clashes=await session.fetchval(_OPEN_CLASHES),
        clashes=tuple(_read_clash(row) for row in await session.fetch(_CLASHES, limit)),
    )


async def _read_volumes(session: "Session") -> tuple[Volume, ...]:
    return tuple(
        Volume(
            volume=row["volume"],
            created_ms=row["created_ms"],
            begins=row["begins"],
            since_ns=row["since_ns"],
            offset=row["number_offset"],
            last_sequence=row["last_sequence"],
            last_stored_ns=row["last_stored_ns"],
            opened_ms=row["opened_ms"],
            alarm=row["alarm"],
            settled=row["settlement"] is not None,
        )
        for row in await session.fetch(_VOLUMES)
    )


async def _read_gaps(session: "Session", above: int, top: int) -> tuple[Span, ...]:
    rows = await session.fetch(_GAPS, above, top, MAX_GAPS)
    return tuple(Span(first=row["first"], last=row["last"]) for row in rows)


def _read_clash(row: asyncpg.Record) -> LedgerClash:
    return LedgerClash(
        stream_sequence=row["stream_sequence"],
        queue_id=QueueId(row["queue_id"]),
        first_queue_id=QueueId(row["first_queue_id"]),
        seen_ms=row["seen_ms"],
    )


def _counts(rows: Iterable[asyncpg.Record]) -> Counts:
    return Counts(**{Accounted(row["accounted"]).value: row["messages"] for row in rows})


def _add(one: Counts, other: Counts) -> Counts:
    return Counts(**{name: getattr(one, name) + getattr(other, name) for name in Counts.__struct_fields__})


def _in_pieces(spans: Iterable[Span]) -> Iterable[Span]:
    for span in spans:
        for first in range(span.first, span.last + 1, MAX_WRITTEN_OFF):
            yield Span(first=first, last=min(span.last, first + MAX_WRITTEN_OFF - 1))


def _number(done: str) -> int:
    """Rows that a statement wrote."""
    return int(done.rpartition(" ")[2])
