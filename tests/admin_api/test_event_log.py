"""The event log takes everything a bus can bring."""

from prometheus_client import CollectorRegistry

from postbus.testing.admin_api import MemoryAdminStore, make_event
from postbusd.admin_api.event_log import MAX_FIELD_CHARACTERS, EventLog
from postbusd.admin_api.ports import EventQuery


async def test_a_redelivered_batch_is_written_once() -> None:
    store, registry = MemoryAdminStore(), CollectorRegistry()
    log = EventLog(store, registry)
    batch = [make_event(1), make_event(2)]
    for _ in range(2):
        await log.handle_events(batch)
    assert len((await store.list_events(EventQuery(after=None, limit=10))).events) == 2
    assert registry.get_sample_value("postbus_admin_api_events_total") == 2


async def test_texts_that_no_database_takes_are_cleaned() -> None:
    import msgspec

    store = MemoryAdminStore()
    event = msgspec.structs.replace(make_event(1), summary="a\0b", detail="x" * 10_000)
    await EventLog(store, CollectorRegistry()).handle_events([event])
    (logged,) = (await store.list_events(EventQuery(after=None, limit=10))).events
    assert (logged.summary, len(logged.detail)) == ("a\ufffdb", MAX_FIELD_CHARACTERS)
