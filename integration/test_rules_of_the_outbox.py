"""The rules of architecture §3.6 on real servers: an outbox has no cursor, its rows are claimed, published, deleted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest

from postbus.bus.codec import decode_value
from postbus.bus.subjects import STREAM_EVENT
from postbus.contracts.events import Event, EventBatch, EventType
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_uuid7
from postbus.mailstore.outbox import pack_event
from postbus.mailstore.ports import Publish
from postbus.mailstore.postgres import PostgresMailStore
from postbus.testing.delivery_world import World, kill_everywhere, opened_world
from postbus.testing.kill_points import Zygote
from postbusd.delivery.adapters.postgres_queue import PostgresQueue

if TYPE_CHECKING:
    from postbus.testing.installation import Database, Nats

READY_SECONDS = 10.0
NOW_MS = 1_795_000_000_000


@pytest.fixture
async def world(database: "Database", nats: "Nats", zygote: Zygote, tmp_path: Path) -> AsyncIterator[World]:
    async with opened_world(database, nats, zygote, tmp_path) as world:
        yield world


Relay = Callable[[int, Publish], Awaitable[int]]


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """One of the tables."""

    insert: str
    relay: Relay


@pytest.fixture(params=["delivery", "mailstore"])
async def outbox(request: pytest.FixtureRequest, database: "Database") -> AsyncIterator[Outbox]:
    async with asyncpg.create_pool(
        database.dsn, user="postbus_delivery", password=database.password("delivery"), min_size=0, max_size=4
    ) as pool:
        if request.param == "delivery":
            insert = "INSERT INTO delivery.outbox (event) VALUES ($1)"
            yield Outbox(insert=insert, relay=PostgresQueue(pool).relay_events)
        else:
            insert = "INSERT INTO mailstore.outbox (at_ms, event) VALUES (0, $1)"
            yield Outbox(insert=insert, relay=PostgresMailStore(pool).relay_outbox)


def make_event() -> Event:
    return Event(
        event_id=new_uuid7(NOW_MS), type=EventType.QUEUED, at_ms=NOW_MS, service="delivery", summary="a rule's"
    )


async def test_an_outbox_has_no_cursor_what_commits_late_is_published_late(
    world: World, database: "Database", outbox: Outbox
) -> None:
    """Rows are numbered when they are written and seen when they are committed: two orders."""
    slow, quick = make_event(), make_event()
    published: list[str] = []

    async def publish(events: Sequence[Event]) -> None:
        published.extend(event.event_id for event in events)

    other = await asyncpg.connect(database.dsn, user="postgres", password=database.password("superuser"))
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(outbox.insert, pack_event(slow))
        await world.superuser.execute(outbox.insert, pack_event(quick))
        assert await outbox.relay(500, publish) == 1
        assert await outbox.relay(500, publish) == 0
        await transaction.commit()
    finally:
        await other.close()
    assert await outbox.relay(500, publish) == 1
    assert published == [quick.event_id, slow.event_id]


async def test_two_relays_at_once_publish_each_event_once_and_a_lost_puback_again(world: World, outbox: Outbox) -> None:
    written = [make_event() for _ in range(40)]
    await world.superuser.executemany(outbox.insert, [(pack_event(event),) for event in written])
    published: list[str] = []
    both_hold = asyncio.Barrier(2)

    async def lose(events: Sequence[Event]) -> None:
        await publish(events)
        raise MailError(ErrorKind.UNAVAILABLE, "bus: no acknowledgement")

    async def publish(events: Sequence[Event]) -> None:
        async with asyncio.timeout(READY_SECONDS):
            await both_hold.wait()
        published.extend(event.event_id for event in events)

    results = await asyncio.gather(outbox.relay(20, publish), outbox.relay(20, lose), return_exceptions=True)
    assert results[0] == 20
    assert isinstance(results[1], MailError)
    assert len(set(published)) == 40
    both_hold = asyncio.Barrier(1)
    assert await outbox.relay(500, publish) == 20
    assert sorted(Counter(published).values()) == [1] * 20 + [2] * 20
    assert set(published) == {event.event_id for event in written}


async def test_a_relay_that_dies_at_any_await_skips_no_event(world: World) -> None:
    """Each is on the bus once at least; who consumes events knows them by their event_id."""
    inserts = (
        "INSERT INTO delivery.outbox (event) VALUES ($1)",
        "INSERT INTO mailstore.outbox (at_ms, event) VALUES (0, $1)",
    )
    written: set[str] = set()
    first = (await world.bus.jetstream().stream_info(STREAM_EVENT)).state.last_seq + 1

    async def begin() -> int:
        for insert in inserts:
            event = make_event()
            written.add(event.event_id)
            await world.superuser.execute(insert, pack_event(event))
        return 0

    places = await kill_everywhere(world, begin, action="relay")
    assert len(places) > 10
    last = (await world.bus.jetstream().stream_info(STREAM_EVENT)).state.last_seq
    found: Counter[str] = Counter()
    for sequence in range(first, last + 1):
        message = await world.bus.jetstream().get_msg(STREAM_EVENT, sequence)
        batch = decode_value(message.data or b"", EventBatch)
        found.update(event.event_id for event in batch.events)
    assert written <= set(found)
    for table in ("delivery.outbox", "mailstore.outbox"):
        assert await world.superuser.fetchval(f"SELECT count(*) FROM {table}") == 0
