"""Spans have the identifiers of our traces; what the collector does or does not do never reaches mail."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from postbus.core.errors import ErrorKind, MailError
from postbus.core.trace import TraceContext, current_trace, new_trace, use_trace
from postbus.runtime import telemetry_export
from postbus.runtime.log import use_service
from postbus.runtime.telemetry import FinishedSpan, Span, child_of, is_exporting, record_span, span, use_sink
from postbus.runtime.telemetry_export import (
    RefusedError,
    Send,
    SpanQueue,
    make_converter,
    set_up_telemetry,
    shut_down_telemetry,
)


class Kept:
    def __init__(self) -> None:
        self.spans: list[FinishedSpan] = []

    def put(self, finished: FinishedSpan) -> None:
        self.spans.append(finished)

    def named(self, name: str) -> FinishedSpan:
        (found,) = [each for each in self.spans if each.name == name]
        return found


@pytest.fixture
def kept() -> Iterator[Kept]:
    sink = Kept()
    before = use_sink(sink)
    yield sink
    use_sink(before)


def test_a_span_is_the_current_trace_and_the_parent_of_what_is_below(kept: Kept) -> None:
    with use_service("filter"), use_trace(None) as root, span("outer", {"queue_id": "Q"}) as outer:
        assert current_trace() == outer.context
        with pytest.raises(ValueError, match="bug"), span("inner") as inner:
            raise ValueError("bug")
        outer.set(outcome="folder")
    told = kept.named("outer")
    assert (told.service, told.context, told.parent) == ("filter", outer.context, root)
    assert told.context.trace_id == root.trace_id
    assert told.attributes == {"queue_id": "Q", "outcome": "folder"}
    assert told.started_ns <= kept.named("inner").started_ns <= told.ended_ns
    assert (kept.named("inner").parent, kept.named("inner").error) == (outer.context, "ValueError")
    assert inner.context.trace_id == root.trace_id
    assert current_trace() is None


def test_without_a_trace_a_span_is_the_first_of_one(kept: Kept) -> None:
    with span("first"):
        pass
    assert kept.named("first").parent is None


def test_an_error_is_told_by_its_kind_and_not_by_its_words(kept: Kept) -> None:
    with pytest.raises(MailError), span("refused"):
        raise MailError(ErrorKind.OVER_QUOTA, "secret@example.org")
    assert kept.named("refused").error == "over_quota"
    assert "secret" not in str(kept.spans)


def test_a_span_may_begin_here_and_end_there_but_once(kept: Kept) -> None:
    elsewhere = new_trace()
    opened = Span("late", new_trace(), None, {"a": 1}, (elsewhere, None))
    assert kept.spans == []
    opened.end("timeout")
    opened.end()
    told = kept.named("late")
    assert (told.links, told.error, told.attributes) == ((elsewhere,), "timeout", {"a": 1})


def test_an_unsampled_trace_stays_unsampled(kept: Kept) -> None:
    unsampled = TraceContext(trace_id="1" * 32, span_id="2" * 16, sampled=False)
    with use_trace(unsampled), span("quiet") as active:
        assert (active.context.trace_id, active.context.sampled) == ("1" * 32, False)
    assert kept.spans == []


def test_without_a_collector_the_trace_is_passed_on_as_it_came() -> None:
    set_up_telemetry("", "i")
    assert not is_exporting()
    with use_trace(None) as root, span("any", {"a": 1}) as active:
        active.set(b=2)
        assert active.context == root == current_trace() == child_of(root)
        record_span("other", new_trace(), None, 1)
    assert current_trace() is None


def finished(service: str = "filter", number: int = 1) -> FinishedSpan:
    context = TraceContext(trace_id=f"{number:032x}", span_id=f"{number:016x}")
    return FinishedSpan(service, "name", context, None, 10, 20, {"copies": 2, "outcome": "sent"}, (), "")


def test_requests_are_what_the_protocol_says() -> None:
    parent, link = new_trace(), new_trace()
    failed = finished("delivery", 2)._replace(parent=parent, links=(link,), error="unavailable", ended_ns=5)
    convert = make_converter("instance")
    request = encode_spans([convert(finished()), convert(failed)])
    first, second = request.resource_spans
    names = [{each.key: each.value.string_value for each in part.resource.attributes} for part in (first, second)]
    assert [each["service.name"] for each in names] == ["filter", "delivery"]
    assert {each["service.instance.id"] for each in names} == {"instance"}
    (plain,), (told,) = first.scope_spans[0].spans, second.scope_spans[0].spans
    assert (plain.trace_id.hex(), plain.span_id.hex(), plain.parent_span_id) == (f"{1:032x}", f"{1:016x}", b"")
    assert {each.key: each.value.int_value or each.value.string_value for each in plain.attributes} == {
        "copies": 2,
        "outcome": "sent",
    }
    assert told.parent_span_id.hex() == parent.span_id
    assert [each.span_id.hex() for each in told.links] == [link.span_id]
    assert (told.status.code, told.status.message) == (told.status.STATUS_CODE_ERROR, "unavailable")
    assert told.end_time_unix_nano == told.start_time_unix_nano == 10


class Collector:
    """What a send reaches: away, refusing or fine."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.took: list[FinishedSpan] = []
        self.asked = threading.Semaphore(0)

    def send(self, batch: Sequence[FinishedSpan]) -> None:
        self.asked.release()
        if self.error is not None:
            raise self.error
        self.took += batch


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BATCH_SECONDS", "AWAY_SECONDS"):
        monkeypatch.setattr(telemetry_export, name, 0.01)


def make_queue(send: Send) -> tuple[SpanQueue, list[float]]:
    queue, lost = SpanQueue(send), list[float]()
    queue.count_drops("filter", lost.append)
    return queue, lost


def until(happened: Callable[[], bool]) -> None:
    for _ in range(5000):
        if happened():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it did not happen")


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.usefixtures("fast")
def test_what_an_absent_collector_misses_is_kept_for_its_return_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector = Collector()
    collector.error = ConnectionRefusedError("refused")
    queue, lost = make_queue(collector.send)
    caplog.set_level(logging.INFO)
    sent = [finished(number=number) for number in range(1, 4)]
    for each in sent:
        queue.put(each)
    queue.start()
    for _ in range(5):
        assert collector.asked.acquire(timeout=5)
    collector.error = None
    until(lambda: bool(collector.took))
    queue.close()
    assert collector.took == sent
    assert lost == []
    assert events(caplog) == ["telemetry.collector.away", "telemetry.collector.back"]
    assert all(record.exc_info is None for record in caplog.records)


def test_what_does_not_fit_is_dropped_counted_and_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_export, "MAX_HELD_SPANS", 3)
    queue, lost = make_queue(Collector().send)
    for number in range(1, 11):
        queue.put(finished(number=number))
    assert lost == [1] * 7
    queue.close()
    assert sum(lost) == 10
    assert events(caplog) == ["telemetry.spans.dropped"]


@pytest.mark.usefixtures("fast")
def test_what_a_collector_refuses_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector()
    collector.error = RefusedError("HTTP 400")
    queue, lost = make_queue(collector.send)
    queue.put(finished())
    queue.start()
    queue.close()
    assert lost == [1]
    assert events(caplog) == ["telemetry.spans.dropped"]


@pytest.mark.usefixtures("fast")
def test_a_bug_in_sending_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector()
    collector.error = TypeError("bug")
    queue, lost = make_queue(collector.send)
    queue.put(finished())
    queue.start()
    until(lambda: bool(lost))
    collector.error = None
    queue.put(finished(number=2))
    queue.close()
    assert [each.context.span_id for each in collector.took] == [f"{2:016x}"]
    assert events(caplog)[:2] == ["telemetry.batch.failed", "telemetry.spans.dropped"]


@pytest.mark.usefixtures("fast")
def test_the_end_of_a_process_waits_a_bounded_time_for_a_collector_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry_export, "FLUSH_SECONDS", 0.02)
    hangs, go_on = threading.Event(), threading.Event()

    def send(_batch: Sequence[FinishedSpan]) -> None:
        hangs.set()
        go_on.wait(5)

    queue, lost = make_queue(send)
    queue.put(finished())
    queue.start()
    assert hangs.wait(5)
    queue.put(finished(number=2))
    queue.close()
    assert lost == [1]
    go_on.set()


@pytest.mark.usefixtures("fast")
def test_a_port_where_nobody_listens_costs_a_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_export, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(telemetry_export, "STOP_SECONDS", 5.0)
    set_up_telemetry("http://127.0.0.1:9", "i")
    lost: list[float] = []
    telemetry_export.count_drops("runtime", lost.append)
    with span("any"):
        pass
    shut_down_telemetry()
    assert not is_exporting()
    assert sum(lost) == 1
    assert set(events(caplog)) == {"telemetry.collector.away", "telemetry.spans.dropped"}
