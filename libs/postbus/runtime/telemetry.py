"""Spans: always our own identifiers (`postbus.core.trace`), exported by OpenTelemetry only where a collector is set.

`span(name)` opens a child of the current trace. Without an exporter it costs two random numbers; the OpenTelemetry SDK
is not even imported then (it would cost 15 MB a process).
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from postbus.core.trace import TraceContext, current_trace, use_trace
from postbus.runtime.log import current_service

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_SHUTDOWN_MILLISECONDS = 3000


class _Export(msgspec.Struct):
    providers: dict[str, "TracerProvider"] = {}
    tracers: dict[str, "Tracer"] = {}


_export = _Export()


def set_up_telemetry(endpoint: str, services: tuple[str, ...], instance_id: str) -> None:
    """Starts exporting spans to `endpoint` (OTLP over HTTP); an empty one changes nothing."""
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    for service in services:
        resource = Resource.create({"service.name": service, "service.instance.id": instance_id})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
        _export.providers[service] = provider
        _export.tracers[service] = provider.get_tracer("postbus")


def shut_down_telemetry() -> None:
    """Sends what is left, within a bound. Blocking."""
    for provider in _export.providers.values():
        provider.force_flush(_SHUTDOWN_MILLISECONDS)
        provider.shutdown()
    _export.providers.clear()
    _export.tracers.clear()


@contextlib.contextmanager
def span(name: str, attributes: dict[str, str | int] | None = None) -> Iterator[TraceContext]:
    """Runs the block in a new span: a child of the current trace, or the first of a new one."""
    tracer = _export.tracers.get(current_service())
    parent = current_trace()
    if tracer is None:
        with use_trace(parent.child() if parent else None) as active:
            yield active
        return
    with _exported_span(tracer, name, parent, attributes or {}) as active, use_trace(active):
        yield active


@contextlib.contextmanager
def _exported_span(
    tracer: "Tracer", name: str, parent: TraceContext | None, attributes: dict[str, str | int]
) -> Iterator[TraceContext]:
    from opentelemetry import context, trace

    outer = context.Context()
    if parent is not None:
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.sampled else trace.TraceFlags.DEFAULT)
        remote = trace.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
        outer = trace.set_span_in_context(trace.NonRecordingSpan(remote), outer)
    current = tracer.start_span(name, context=outer, attributes=dict(attributes))
    ids = current.get_span_context()
    try:
        yield TraceContext(
            trace_id=trace.format_trace_id(ids.trace_id),
            span_id=trace.format_span_id(ids.span_id),
            sampled=ids.trace_flags.sampled,
        )
    except Exception as error:
        current.set_status(trace.StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        current.end()
