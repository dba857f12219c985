"""What the ledger's cross-check reads (promise 1)."""

from prometheus_client import CollectorRegistry

from postbus.contracts import Empty
from postbusd.smtp_edge.counters import EdgeCounters


async def test_the_lowest_and_the_highest_sequence_are_told_whatever_their_order() -> None:
    counters = EdgeCounters("one", 1_000, CollectorRegistry())
    assert (await counters.get_counters(Empty())).first_stream_sequence == 0
    for sequence in (12, 10, 15, 11):
        counters.owned(sequence, 100)
    told = await counters.get_counters(Empty())
    assert (told.accepted, told.first_stream_sequence, told.last_stream_sequence) == (4, 10, 15)
