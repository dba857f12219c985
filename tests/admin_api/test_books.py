"""The ledger beside smtp-edge's counters: what balances, what alarms, what can't be compared (promise 1)."""

import asyncio

import msgspec
import pytest

from postbus.contracts import Empty
from postbus.contracts.delivery import GetLedgerRequest, MissingMessage
from postbus.contracts.smtp_edge import Counters
from postbus.testing.admin_ledger import CREATED_MS, MemoryBooks, MemoryEdge, make_counters, make_letter
from postbusd.admin_api import books as books_module
from postbusd.admin_api.books import adds_up, cross_check, find_ledger, read_books
from postbusd.admin_api.status import Finding


@pytest.fixture
def ledger() -> MemoryBooks:
    """Ten in folders, two queued, one on the bus: 13 sequences."""
    books = MemoryBooks()
    books.ended.update(folder=10, queued=2)
    books.unconsumed = 1
    return books


async def test_the_counters_are_read_before_the_books(ledger: MemoryBooks) -> None:
    found = await read_books(ledger, MemoryEdge(ledger.calls), 5)
    assert [type(call) for call in ledger.calls] == [Empty, GetLedgerRequest]
    assert (found.balanced, found.edge.checked, found.alarms) == (True, True, ())


@pytest.mark.parametrize("name", ["folder", "queued", "held", "dsn", "written_off", "unconsumed", "missing_count"])
async def test_a_figure_that_is_one_off_breaks_the_balance(ledger: MemoryBooks, name: str) -> None:
    reply = await ledger.get_ledger(GetLedgerRequest())
    assert adds_up(reply)
    assert not adds_up(msgspec.structs.replace(reply, **{name: getattr(reply, name) + 1}))


async def test_books_that_do_not_add_up_are_an_alarm(ledger: MemoryBooks) -> None:
    ledger.last_sequence = 14
    found = await read_books(ledger, MemoryEdge([]), 5)
    assert not found.balanced
    assert found.alarms == ("the books do not add up: 14 accepted, 13 accounted for",)


@pytest.mark.parametrize(
    ("changes", "alarms"),
    [
        ({"accepted": 13, "first_stream_sequence": 1, "last_stream_sequence": 13}, []),
        ({"accepted": 3, "first_stream_sequence": 11, "last_stream_sequence": 13}, []),
        ({"accepted": 1, "first_stream_sequence": 14, "last_stream_sequence": 14}, ["last one is 13", "by 0 only"]),
        ({"accepted": 14, "first_stream_sequence": 1, "last_stream_sequence": 13}, ["accepted 14", "by 13 only"]),
        ({"accepted": 4, "first_stream_sequence": 11, "last_stream_sequence": 13}, ["accepted 4", "by 3 only"]),
        ({"accepted": 14, "last_stream_sequence": 13}, ["accepted 14"]),  # a version that tells no first sequence
        ({"accepted": 1, "last_stream_sequence": 900, "first_stream_sequence": 900}, ["the stream went back", "by 0"]),
    ],
)
async def test_what_smtp_edge_accepted_must_be_in_the_stream(
    ledger: MemoryBooks, changes: dict[str, object], alarms: list[str]
) -> None:
    found = cross_check(make_counters(**changes), await ledger.get_ledger(GetLedgerRequest()))
    assert found.checked
    assert bool(found.alarms) == bool(alarms)
    for words in alarms:
        assert any(words in alarm for alarm in found.alarms)


async def test_a_process_older_than_the_stream_is_not_compared(ledger: MemoryBooks) -> None:
    counters = make_counters(started_ms=CREATED_MS - 1, accepted=90, last_stream_sequence=90)
    found = cross_check(counters, await ledger.get_ledger(GetLedgerRequest()))
    assert (found.checked, found.alarms) == (False, ())
    assert "older than the stream" in found.reason


async def test_a_process_that_has_accepted_nothing_can_be_compared_whenever_it_started(ledger: MemoryBooks) -> None:
    counters = make_counters(started_ms=CREATED_MS - 1)
    assert cross_check(counters, await ledger.get_ledger(GetLedgerRequest())).checked


async def test_an_absent_smtp_edge_is_told_and_is_no_failure(ledger: MemoryBooks) -> None:
    edge = MemoryEdge([])
    edge.counters = None
    found = await read_books(ledger, edge, 5)
    assert (found.balanced, found.edge.checked) == (True, False)
    assert "smtp-edge can't be reached" in found.edge.reason


async def test_a_silent_smtp_edge_is_not_waited_for(ledger: MemoryBooks, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        async def get_counters(self, request: Empty) -> Counters:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(books_module, "COUNTERS_SECONDS", 0.01)
    found = await read_books(ledger, Silent(), 5)
    assert (found.balanced, found.edge.reason) == (
        True,
        "smtp-edge does not tell its counters: no answer within 0.01 s",
    )


async def test_what_is_missing_breaks_the_balance_without_any_alarm(ledger: MemoryBooks) -> None:
    ledger.missing.append(MissingMessage(stream_sequence=14))
    found = await read_books(ledger, MemoryEdge([]), 5)
    assert (found.balanced, found.alarms) == (False, ())


async def test_the_status_page_names_what_is_wrong_and_what_waits(ledger: MemoryBooks) -> None:
    assert await find_ledger(ledger) == Finding()
    ledger.letters = [make_letter(14)]
    assert await find_ledger(ledger) == Finding(note="1 dead letter held")
    ledger.missing = [MissingMessage(stream_sequence=each) for each in (15, 16)]
    ledger.last_sequence = 40
    found = await find_ledger(ledger)
    assert found.fault == "2 accepted messages missing; the books do not add up: 40 accepted, 16 accounted for"
