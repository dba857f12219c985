"""Sends spans to an OpenTelemetry collector by OTLP over HTTP, from one thread a process.

Mail never waits for it: what ends is put into a bounded queue. While the collector is away the queue is kept; what does
not fit is dropped and counted (`postbus_<service>_dropped_spans_total`). The log tells once that the collector is away,
once that spans are dropped, and once that it is back. Encoding
and HTTP are the OpenTelemetry SDK's, with its variables for headers, certificates and compression
(`OTEL_EXPORTER_OTLP_HEADERS` …); it is imported only where a collector is set.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from postbus.core.trace import TraceContext
from postbus.runtime.telemetry import FinishedSpan, use_sink

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

log = logging.getLogger(__name__)

STOP_SECONDS = 0.2
"""For a request that is told to end."""
MAX_HELD_SPANS = 4096
"""About 4 MB, and some seconds of mail at full load."""
BATCH_SPANS = 512
BATCH_SECONDS = 1.0
REQUEST_SECONDS = 5.0
AWAY_SECONDS = 5.0
"""Between two tries while the collector is away."""
FLUSH_SECONDS = 3.0
"""For what is left when the process ends."""
PATH = "/v1/traces"
CONTENT_TYPE = "application/x-protobuf"
_LATER = frozenset({429, 502, 503, 504})
"""What the OTLP specification lets a client repeat (OTLP/HTTP Response, Retryable Response Codes)."""


class RefusedError(Exception):
    """The collector does not want these spans."""


Send = Callable[[Sequence[FinishedSpan]], None]
"""Raises RefusedError: never again; OSError: later."""


def _nothing() -> None:
    """Nothing to end."""


class SpanQueue:
    """Implements SpanSink: holds spans until its thread has sent them."""

    def __init__(self, send: Send, stop: Callable[[], None] = _nothing) -> None:
        """`send` runs on the thread; `stop` ends it early, with OSError."""
        self._send = send
        self._stop = stop
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
            self._stop()
            self._thread.join(STOP_SECONDS)
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
        except OSError as error:
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
        queue = _telemetry.queue = SpanQueue(*make_send(endpoint, instance_id))
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


def make_send(endpoint: str, instance_id: str) -> tuple[Send, Callable[[], None]]:
    """Sends batches to the collector at `endpoint` by the SDK's exporter, one request each; and what ends that."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    logging.getLogger("opentelemetry").setLevel(
        logging.CRITICAL
    )  # it tells each failure; we tell the first and the end
    answered: list[int] = []
    session = requests.Session()
    session.hooks["response"].append(lambda response, *_, **__: answered.append(response.status_code))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}{PATH}", timeout=REQUEST_SECONDS, session=session)
    convert = make_converter(instance_id)

    def send(batch: Sequence[FinishedSpan]) -> None:
        answered.clear()
        if exporter.export([convert(each) for each in batch]) is SpanExportResult.SUCCESS:
            return
        if answered and answered[-1] not in _LATER:
            raise RefusedError(f"HTTP {answered[-1]}")
        raise ConnectionError(f"HTTP {answered[-1]}" if answered else "no answer")

    return send, exporter.shutdown


def make_converter(instance_id: str) -> "Callable[[FinishedSpan], ReadableSpan]":
    """Our spans as the SDK's, which have their identities from us; a resource for each service."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Link, SpanContext, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode

    sampled, unset = TraceFlags(TraceFlags.SAMPLED), Status()
    resources: dict[str, Resource] = {}

    def identify(context: TraceContext) -> SpanContext:
        return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=False, trace_flags=sampled)

    def convert(finished: FinishedSpan) -> ReadableSpan:
        resource = resources.get(finished.service)
        if resource is None:
            names = {"service.name": finished.service, "service.instance.id": instance_id}
            resource = resources[finished.service] = Resource(names)
        return ReadableSpan(
            name=finished.name,
            context=identify(finished.context),
            parent=identify(finished.parent) if finished.parent is not None else None,
            resource=resource,
            attributes=finished.attributes,
            links=[Link(identify(link)) for link in finished.links],
            status=Status(StatusCode.ERROR, finished.error) if finished.error else unset,
            start_time=finished.started_ns,
            end_time=max(finished.started_ns, finished.ended_ns),
        )

    return convert
