"""admin-api's schema on real Postgres: the store's contract, and what only a database can get wrong."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.core.errors import ErrorKind, MailError
from postbus.testing.admin_api import AdminStoreContract, make_event
from postbus.testing.installation import Database
from postbusd.admin_api.adapters import postgres
from postbusd.admin_api.adapters.postgres import PostgresAdminStore
from postbusd.admin_api.event_log import EventLog
from postbusd.admin_api.ports import EventQuery


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresAdminStore]:
    await database.execute("TRUNCATE admin.audit CASCADE")
    async with asyncpg.create_pool(
        database.dsn, user="postbus_admin_api", password=database.password("admin-api"), min_size=0, max_size=4
    ) as pool:
        for table in ("token", "session", "repeat", "event"):
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


def unpackable(length: int) -> str:
    """A text that no compression makes shorter."""
    return "".join(f"{zlib.crc32(str(number).encode()):08x}" for number in range(length // 8 + 1))[:length]


async def test_the_log_takes_what_strangers_can_name(store: PostgresAdminStore) -> None:
    """A name that is too long for an index once kept every later event out (a failed login names what was typed)."""
    long = unpackable(8_000)
    hostile = msgspec.structs.replace(make_event(1), mailbox=f"{long}@x.example", domain=long, queue_id=long)
    log = EventLog(store, CollectorRegistry())
    await log.handle_events([hostile, make_event(2)])
    assert len((await store.list_events(EventQuery(after=None, limit=10))).events) == 2


async def test_a_value_that_no_index_takes_is_no_absent_database(store: PostgresAdminStore) -> None:
    with pytest.raises(MailError) as caught:
        await store.add_events([msgspec.structs.replace(make_event(1), mailbox=unpackable(8_000))])
    assert caught.value.kind is ErrorKind.INVALID


async def test_a_search_that_takes_too_long_says_how_to_narrow_it(
    store: PostgresAdminStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.add_events([make_event(number) for number in range(5_000)])
    monkeypatch.setattr(postgres, "TEXT_SECONDS", 1e-6)
    with pytest.raises(MailError, match="text: the search takes more than") as caught:
        await store.list_events(EventQuery(after=None, limit=10, text="nowhere"))
    assert caught.value.kind is ErrorKind.LIMIT
    assert len((await store.list_events(EventQuery(after=None, limit=10))).events) == 10
