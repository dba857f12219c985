"""delivery's ledger, its books, dead letters and pinned expansions on real Postgres, in the rights of its own role."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from postbus.testing.expansions import ExpansionsContract
from postbus.testing.ledger_contract import (
    DAY_MS,
    EMPTY_LEDGER,
    BooksContract,
    LedgerContract,
    LettersContract,
    dead_letter,
    first_volume,
    mail_entry,
    mail_state,
    missing_numbers,
    note_all,
    read_books,
)
from postbus.testing.queue import NOW_MS
from postbusd.delivery.adapters.postgres import PostgresLedger
from postbusd.delivery.adapters.postgres_books import PostgresBooks
from postbusd.delivery.adapters.postgres_expansions import PostgresExpansions
from postbusd.delivery.adapters.postgres_letters import PostgresLetters
from postbusd.delivery.adapters.postgres_queue import PostgresQueue
from postbusd.delivery.ledger.ports import Seen

if TYPE_CHECKING:
    from postbus.testing.installation import Database


@pytest.fixture
async def pool(database: "Database") -> AsyncIterator[asyncpg.Pool]:
    await database.execute(EMPTY_LEDGER)
    await database.execute("TRUNCATE delivery.expansion, delivery.outgoing, delivery.outgoing_copy, delivery.outbox")
    async with asyncpg.create_pool(
        database.dsn, user="postbus_delivery", password=database.password("delivery"), min_size=0, max_size=2
    ) as pool:
        yield pool


@pytest.fixture
def ledger(pool: asyncpg.Pool) -> PostgresLedger:
    return PostgresLedger(pool)


@pytest.fixture
def books(pool: asyncpg.Pool) -> PostgresBooks:
    return PostgresBooks(pool)


@pytest.fixture
def letters(pool: asyncpg.Pool) -> PostgresLetters:
    return PostgresLetters(pool)


@pytest.fixture
def queue(pool: asyncpg.Pool) -> PostgresQueue:
    return PostgresQueue(pool)


class TestPostgresLedger(LedgerContract):
    pass


class TestPostgresBooks(BooksContract):
    async def test_rows_that_somebody_deletes_are_missing(
        self, database: "Database", ledger: PostgresLedger, books: PostgresBooks
    ) -> None:
        """Verified or not; where a trim has passed, nobody knows which they were."""
        await books.open_volume(first_volume())
        await ledger.record([mail_entry(sequence) for sequence in range(1, 9)])
        await ledger.hold([dead_letter(9)])
        state = mail_state(9, floor=9)
        await note_all(books, state)
        await database.execute("DELETE FROM delivery.ledger WHERE stream_sequence IN (3, 4)")
        reply = await read_books(books, state)
        assert missing_numbers(reply) == [3, 4]
        await ledger.record([mail_entry(3), mail_entry(4)])
        await note_all(books, state)
        while await books.trim(NOW_MS + 365 * DAY_MS, 100):
            pass
        await database.execute("DELETE FROM delivery.ledger")
        reply = await read_books(books, state)
        assert (reply.missing_count, reply.folder, len(reply.alarms)) == (1, 8, 1)

    async def test_who_read_before_rows_were_deleted_has_verified_nothing(
        self, database: "Database", ledger: PostgresLedger, books: PostgresBooks
    ) -> None:
        """Else a deleted row would never be missed."""
        await books.open_volume(first_volume())
        await ledger.record([mail_entry(1), mail_entry(2)])
        reading = await books.read(mail_state(2, floor=2), 0)
        await database.execute("DELETE FROM delivery.ledger WHERE stream_sequence = 1")
        seen = Seen(volume=1, last_sequence=2, last_stored_ns=0, verified=2, deletions=reading.deletions)
        assert await books.note("me", 60, seen)
        assert missing_numbers(await read_books(books, mail_state(2, floor=2))) == [1]

    async def test_an_older_version_records_beside_this_one(
        self, database: "Database", ledger: PostgresLedger, books: PostgresBooks
    ) -> None:
        """record_v1 keeps its meaning (promise 9): first come, first noted, a clash is told."""
        record_v1 = "SELECT delivery.record_v1(ARRAY[$1::bigint], ARRAY[$2], '{folder}', '{0}', '{\"\"}', $3, '{\"\"}')"
        await books.open_volume(first_volume())
        async with asyncpg.create_pool(
            database.dsn, user="postbus_delivery", password=database.password("delivery"), min_size=0, max_size=1
        ) as old:
            assert await old.fetch(record_v1, 1, "Q1", [b""]) == []
            assert await old.fetch(record_v1, 1, "Q1", [b""]) == []
            assert [row[0] for row in await old.fetch(record_v1, 1, "OTHER", [b""])] == [1]
        assert await ledger.record([mail_entry(1)]) == []
        reply = await read_books(books, mail_state(1, floor=1))
        assert (reply.accepted, reply.folder, reply.missing_count) == (1, 1, 0)


class TestPostgresLetters(LettersContract):
    pass


class TestPostgresExpansions(ExpansionsContract):
    @pytest.fixture
    def expansions(self, pool: asyncpg.Pool) -> PostgresExpansions:
        return PostgresExpansions(pool)
