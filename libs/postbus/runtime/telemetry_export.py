"""Sends spans to an OpenTelemetry collector by OTLP over HTTP, from one thread a process.

Mail never waits for it: what ends is put into a bounded queue. While the collector is away the queue is kept; what does
not fit is dropped and counted (`postbus_<service>_dropped_spans_total`). The log tells once that the collector is away,
once that spans are dropped, and once that it is back. Requests are encoded straight from `opentelemetry-proto`: by way
of the SDK's span objects and encoder a span costs five times as much CPU and a process 9 MB more.
"""

import http.client
import logging
import threading
import urllib.error
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from postbus.core.trace import TraceContext
from postbus.runtime.telemetry import Attribute, FinishedSpan, use_sink

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

log = logging.getLogger(__name__)

MAX_HELD_SPANS = 4096
"""About 4 MB, and some seconds of mail at full load."""
BATCH_SPANS = 512
BATCH_SECONDS = 1.0
REQUEST_SECONDS = 5.0
AWAY_SECONDS = 5.0
"""Between two tries while the collector is away."""
FLUSH_SECONDS = 3.0
"""For what is left when the process ends."""
MAX_ANSWER_OCTETS = 65_536
PATH = "/v1/traces"
CONTENT_TYPE = "application/x-protobuf"
_LATER = frozenset({429, 502, 503, 504})
"""What the OTLP specification lets a client repeat (OTLP/HTTP Response, Retryable Response Codes)."""


class RefusedError(Exception):
    """The collector does not want these spans."""


Send = Callable[[Sequence[FinishedSpan]], None]
"""Raises RefusedError: never again; OSError: later."""


class SpanQueue:
    """Implements SpanSink: holds spans until its thread has sent them."""

    def __init__(self, send: Send) -> None:
        """`send` runs on the thread."""
        self._send = send
        self._held: deque[FinishedSpan] = deque()
        self._drops: dict[str, Callable[[float], None]] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._is_away = False
        self._is_losing = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def count_drops(self, service: str, count: Callable[[float], None]) -> None:
        """`count` hears how many spans of a service were lost."""
        self._drops[service] = count

    def put(self, finished: FinishedSpan) -> None:
        """Holds it, or drops it when too many are held."""
        if len(self._held) >= MAX_HELD_SPANS:
            self._lose([finished], "the queue is full")
            return
        self._held.append(finished)
        if len(self._held) == BATCH_SPANS:
            self._wake.set()

    def close(self) -> None:
        """Sends what is left, for FLUSH_SECONDS at most. Blocking."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(FLUSH_SECONDS)
        left = [self._held.popleft() for _ in range(len(self._held))]
        if left:
            self._lose(left, "the process ends")

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(AWAY_SECONDS if self._is_away else BATCH_SECONDS)
            self._wake.clear()
            self._send_held()
        self._send_held()

    def _send_held(self) -> None:
        while self._held and self._send_batch():
            pass

    def _send_batch(self) -> bool:
        """Whether to go on with the next."""
        batch = [self._held.popleft() for _ in range(min(BATCH_SPANS, len(self._held)))]
        try:
            self._send(batch)
        except (OSError, http.client.HTTPException) as error:
            self._held.extendleft(reversed(batch))
            if not self._is_away:
                self._is_away = True
                log.warning("telemetry.collector.away", extra={"reason": str(error)})
            return False
        except RefusedError as error:
            self._lose(batch, str(error))
            return True
        except Exception:  # a bug of ours must not end the thread, nor repeat itself
            log.exception("telemetry.batch.failed")
            self._lose(batch, "they can't be encoded")
            return True
        if self._is_away or (self._is_losing and len(self._held) < MAX_HELD_SPANS // 2):
            self._is_away = self._is_losing = False
            log.info("telemetry.collector.back")
        return True

    def _lose(self, spans: Sequence[FinishedSpan], reason: str) -> None:
        if not self._is_losing:
            self._is_losing = True
            log.warning("telemetry.spans.dropped", extra={"reason": reason})
        for service, number in Counter(each.service for each in spans).items():
            count = self._drops.get(service)
            if count is not None:
                count(number)


class _Telemetry:
    queue: SpanQueue | None = None


_telemetry = _Telemetry()


def set_up_telemetry(endpoint: str, instance_id: str) -> None:
    """Starts sending the spans of this process to `endpoint`; an empty one changes nothing."""
    if endpoint:
        queue = _telemetry.queue = SpanQueue(make_send(endpoint, instance_id))
        use_sink(queue)
        queue.start()


def count_drops(service: str, count: Callable[[float], None]) -> None:
    """`count` hears how many spans of a service were lost."""
    if _telemetry.queue is not None:
        _telemetry.queue.count_drops(service, count)


def shut_down_telemetry() -> None:
    """Sends what is left, within a bound. Blocking."""
    queue, _telemetry.queue = _telemetry.queue, None
    if queue is not None:
        use_sink(None)
        queue.close()


def make_send(endpoint: str, instance_id: str) -> Send:
    """Sends batches to the collector at `endpoint`, one request each."""
    url = f"{endpoint.rstrip('/')}{PATH}"

    def send(batch: Sequence[FinishedSpan]) -> None:
        request = urllib.request.Request(  # noqa: S310  # the operator's setting, http or https
            url, encode_batch(batch, instance_id), {"Content-Type": CONTENT_TYPE}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:  # noqa: S310
                answer.read(MAX_ANSWER_OCTETS)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _LATER:
                raise
            raise RefusedError(f"HTTP {error.code}") from error

    return send


def encode_batch(batch: Sequence[FinishedSpan], instance_id: str) -> bytes:
    """An ExportTraceServiceRequest, a resource for each service."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

    grouped: dict[str, list[Span]] = {}
    for finished in batch:
        grouped.setdefault(finished.service, []).append(_encode_span(finished))
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(
                    attributes=_encode_attributes({"service.name": service, "service.instance.id": instance_id})
                ),
                scope_spans=[ScopeSpans(spans=spans)],
            )
            for service, spans in grouped.items()
        ]
    ).SerializeToString()


def _encode_span(finished: FinishedSpan) -> "Span":
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

    return Span(
        trace_id=bytes.fromhex(finished.context.trace_id),
        span_id=bytes.fromhex(finished.context.span_id),
        parent_span_id=bytes.fromhex(finished.parent.span_id) if finished.parent is not None else b"",
        name=finished.name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=finished.started_ns,
        end_time_unix_nano=max(finished.started_ns, finished.ended_ns),
        attributes=_encode_attributes(finished.attributes),
        links=[_encode_link(link) for link in finished.links],
        status=Status(code=Status.STATUS_CODE_ERROR, message=finished.error) if finished.error else None,
    )


def _encode_link(link: TraceContext) -> "Span.Link":
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    return Span.Link(trace_id=bytes.fromhex(link.trace_id), span_id=bytes.fromhex(link.span_id))


def _encode_attributes(attributes: dict[str, Attribute]) -> "list[KeyValue]":
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    return [
        KeyValue(
            key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=str(value))
        )
        for key, value in attributes.items()
    ]
