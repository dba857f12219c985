"""The event log takes everything a bus can bring."""

from collections.abc import Sequence

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.admin_api import MemoryAdminStore, make_event
from postbusd.admin_api.event_log import MAX_FIELD_CHARACTERS, MAX_KEY_CHARACTERS, EventLog
from postbusd.admin_api.ports import Added, EventQuery


async def test_a_redelivered_batch_is_written_once() -> None:
    store, registry = MemoryAdminStore(), CollectorRegistry()
    log = EventLog(store, registry)
    batch = [make_event(1), make_event(2)]
    for _ in range(2):
        await log.handle_events(batch)
    assert len((await store.list_events(EventQuery(after=None, limit=10))).events) == 2
    assert registry.get_sample_value("postbus_admin_api_events_total") == 2


async def test_texts_that_no_database_takes_are_cleaned() -> None:
    store = MemoryAdminStore()
    event = msgspec.structs.replace(make_event(1), summary="a\0b", detail="x" * 10_000)
    await EventLog(store, CollectorRegistry()).handle_events([event])
    (logged,) = (await store.list_events(EventQuery(after=None, limit=10))).events
    assert (logged.summary, len(logged.detail)) == ("a\ufffdb", MAX_FIELD_CHARACTERS)


@pytest.mark.parametrize("name", ["event_id", "queue_id", "domain", "mailbox"])
async def test_what_has_an_index_is_cut_to_what_an_index_takes(name: str) -> None:
    store = MemoryAdminStore()
    await EventLog(store, CollectorRegistry()).handle_events(
        [msgspec.structs.replace(make_event(1), **{name: "\U0001f600" * 3_000})]
    )
    (logged,) = (await store.list_events(EventQuery(after=None, limit=10))).events
    assert len(getattr(logged, name)) == MAX_KEY_CHARACTERS
    assert len(getattr(logged, name).encode()) < 2_704


class PickyStore(MemoryAdminStore):
    """Refuses batches that have the event with this summary."""

    async def add_events(self, events: Sequence[Event]) -> Added:
        if any(event.summary == "event 2" for event in events):
            raise MailError(ErrorKind.INVALID, "database: a value that can't be stored")
        return await super().add_events(events)


async def test_one_event_that_cannot_be_stored_keeps_no_other_out(caplog: pytest.LogCaptureFixture) -> None:
    store = PickyStore()
    await EventLog(store, CollectorRegistry()).handle_events([make_event(number) for number in (1, 2, 3)])
    logged = (await store.list_events(EventQuery(after=None, limit=10))).events
    assert [event.summary for event in logged] == ["event 1", "event 3"]
    assert [record.message for record in caplog.records] == ["admin_api.event.dropped"]


async def test_an_absent_database_drops_nothing() -> None:
    store = MemoryAdminStore()
    store.away = True
    with pytest.raises(MailError, match="away"):
        await EventLog(store, CollectorRegistry()).handle_events([make_event(1)])
