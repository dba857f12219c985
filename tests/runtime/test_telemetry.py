"""Exported spans have the identifiers of our traces."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from postbus.core.trace import TraceContext, current_trace, use_trace
from postbus.runtime import telemetry
from postbus.runtime.log import use_service
from postbus.runtime.telemetry import set_up_telemetry, span


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry._export.tracers["filter"] = provider.get_tracer("test")
    yield exporter
    telemetry._export.tracers.clear()


def test_spans_stay_in_step_with_the_trace(exporter: InMemorySpanExporter) -> None:
    with use_service("filter"), use_trace(None) as root, span("outer", {"queue_id": "Q"}) as outer:
        assert current_trace() == outer
        with pytest.raises(ValueError, match="bug"), span("inner") as inner:
            raise ValueError("bug")
    found = {each.name: each for each in exporter.get_finished_spans()}
    for name, context, parent in (("outer", outer, root), ("inner", inner, outer)):
        ids, above = found[name].context, found[name].parent
        assert ids is not None
        assert above is not None
        assert f"{ids.trace_id:032x}" == context.trace_id == root.trace_id
        assert f"{ids.span_id:016x}" == context.span_id
        assert f"{above.span_id:016x}" == parent.span_id
    assert found["inner"].status.description == "ValueError"


def test_an_unsampled_trace_stays_unsampled(exporter: InMemorySpanExporter) -> None:
    unsampled = TraceContext(trace_id="1" * 32, span_id="2" * 16, sampled=False)
    with use_service("filter"), use_trace(unsampled), span("quiet") as active:
        assert (active.trace_id, active.sampled) == ("1" * 32, False)
    assert exporter.get_finished_spans() == ()


def test_without_a_collector_nothing_is_exported() -> None:
    set_up_telemetry("", ("filter",), "i")
    assert telemetry._export.tracers == {}
