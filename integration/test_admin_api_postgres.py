"""admin-api's schema on real Postgres: the store's contract, and what only a database can get wrong."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from postbus.testing.admin_api import AdminStoreContract, make_event
from postbus.testing.installation import Database
from postbusd.admin_api.adapters.postgres import PostgresAdminStore
from postbusd.admin_api.ports import EventQuery


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresAdminStore]:
    async with asyncpg.create_pool(
        database.dsn, user="postbus_admin_api", password=database.password("admin-api"), min_size=0, max_size=4
    ) as pool:
        for table in ("token", "event"):
            await pool.execute(f"DELETE FROM admin.{table}")

        async def get() -> asyncpg.Pool:
            return pool

        yield PostgresAdminStore(get)


class TestPostgresAdminStore(AdminStoreContract):
    """The same rules as the fake's."""


async def test_a_follower_misses_nothing_of_many_writers(store: PostgresAdminStore) -> None:
    seen: list[str] = []
    writing = True

    async def follow() -> None:
        last = 0
        while True:
            finished = not writing
            page = await store.list_events(EventQuery(after=last, limit=7))
            seen.extend(event.event_id for event in page.events)
            last = page.last
            if finished and not page.events:
                return

    async with asyncio.TaskGroup() as group:
        follower = group.create_task(follow())
        batches = [[make_event(batch * 10 + number) for number in range(10)] for batch in range(20)]
        await asyncio.gather(*[store.add_events(batch) for batch in batches])
        writing = False
        await follower
    assert sorted(seen) == sorted(event.event_id for batch in batches for event in batch)
    assert len(set(seen)) == len(seen)
