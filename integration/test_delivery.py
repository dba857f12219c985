"""delivery's ledger and pinned expansions on real Postgres, in the rights of its own role."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from postbus.testing.expansions import ExpansionsContract
from postbus.testing.ledger import LedgerContract
from postbusd.delivery.adapters.postgres import PostgresLedger
from postbusd.delivery.adapters.postgres_expansions import PostgresExpansions

if TYPE_CHECKING:
    from postbus.testing.installation import Database


class TestPostgresLedger(LedgerContract):
    @pytest.fixture
    async def ledger(self, database: "Database") -> AsyncIterator[PostgresLedger]:
        await database.execute("TRUNCATE delivery.ledger, delivery.dead_letter")
        pool = await asyncpg.create_pool(
            database.dsn, user="postbus_delivery", password=database.password("delivery"), min_size=0, max_size=2
        )
        yield PostgresLedger(pool)
        await pool.close()


class TestPostgresExpansions(ExpansionsContract):
    @pytest.fixture
    async def expansions(self, database: "Database") -> AsyncIterator[PostgresExpansions]:
        await database.execute("TRUNCATE delivery.expansion")
        pool = await asyncpg.create_pool(
            database.dsn, user="postbus_delivery", password=database.password("delivery"), min_size=0, max_size=2
        )
        yield PostgresExpansions(pool)
        await pool.close()
