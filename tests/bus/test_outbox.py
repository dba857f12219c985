"""The outbox relay and its rows: nothing is lost while the bus is away, a newer version's events wait for it."""

import asyncio
from collections.abc import Sequence

import pytest

from postbus.bus import outbox
from postbus.bus.outbox import OutboxRelay, PublishEvents
from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.outbox import pack_event, publish_rows
from postbus.testing.bus import FakeBus
from postbus.testing.mailstore_builders import make_event


class Table:
    """An outbox."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes]] = []
        self.claims: list[int] = []

    def add(self, *summaries: str) -> None:
        start = len(self.claims) + len(self.rows)
        self.rows += [(start + number, pack_event(make_event(summary))) for number, summary in enumerate(summaries)]

    async def relay(self, limit: int, publish: PublishEvents) -> int:
        await asyncio.sleep(0)
        done = await publish_rows(self.rows[:limit], publish)
        self.claims.append(len(done))
        self.rows = [row for row in self.rows if row[0] not in done]
        return len(done)


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def table() -> Table:
    return Table()


async def test_batches_go_out_until_the_outbox_is_empty_and_when_woken(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BATCH_ROWS", 2)
    bus = FakeBus()
    relay = OutboxRelay(table.relay, bus, 1_000.0)
    table.add("a", "b", "c")
    task = asyncio.ensure_future(relay.run())
    await turns()
    assert [event.summary for event in bus.events] == ["a", "b", "c"]
    assert table.claims == [2, 1]
    table.add("d")
    await turns()
    assert len(bus.events) == 3
    relay.wake()
    await turns()
    assert len(bus.events) == 4
    task.cancel()


async def test_rows_stay_while_the_bus_is_away(
    table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.0)
    bus = FakeBus()
    bus.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")
    table.add("a", "b")
    task = asyncio.ensure_future(OutboxRelay(table.relay, bus, 1_000.0).run())
    await turns()
    assert len(table.rows) == 2
    bus.fail_with = None
    await turns()
    assert ([event.summary for event in bus.events], table.rows) == (["a", "b"], [])
    assert caplog.messages == ["outbox.relay.waiting", "outbox.relay.back"]
    task.cancel()


async def test_rows_of_a_newer_version_wait_for_it(table: Table) -> None:
    seen: list[str] = []

    async def publish(events: Sequence[Event]) -> None:
        seen.extend(event.summary for event in events)

    table.add("a")
    newer = table.rows[0][1].replace(b"delivered", b"teleports")
    table.rows = [(1, b"\xc1"), (2, newer), (3, table.rows[0][1])]
    assert await publish_rows(table.rows, publish) == [3]
    assert await publish_rows(table.rows[:2], publish) == []
    assert seen == ["a"]
