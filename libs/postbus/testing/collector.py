"""An OpenTelemetry collector for tests: takes OTLP over HTTP on loopback and remembers every span."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from postbus.runtime.telemetry_export import CONTENT_TYPE, PATH


class CollectedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it came; ids are hexadecimal."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: the first of its trace."""
    started_ns: int
    ended_ns: int
    attributes: dict[str, str | int]
    links: tuple[tuple[str, str], ...]
    """trace_id and span_id each."""
    error: str


class Collector:
    """What came."""

    def __init__(self) -> None:
        self.status = 200
        """What it answers; other than 200 it forgets what came."""
        self.faults: list[str] = []
        """Requests that no collector would understand."""
        self.url = ""
        self._spans: list[CollectedSpan] = []
        self._came = threading.Condition()

    def spans(self) -> list[CollectedSpan]:
        """All so far."""
        with self._came:
            return list(self._spans)

    def trace(self, trace_id: str) -> list[CollectedSpan]:
        """Those of one trace, by their beginnings."""
        return sorted((each for each in self.spans() if each.trace_id == trace_id), key=lambda each: each.started_ns)

    def wait(self, wanted: Callable[[CollectedSpan], bool], seconds: float) -> CollectedSpan:
        """The first span that is wanted, once it has come."""
        with self._came:
            found = self._came.wait_for(lambda: next((each for each in self._spans if wanted(each)), None), seconds)
        assert found is not None, f"no such span among {sorted({each.name for each in self.spans()})}"
        return found

    def take(self, content_type: str, body: bytes) -> int:
        """A request; the status of the answer."""
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError as error:
            self.faults.append(str(error))
            return 400
        if content_type != CONTENT_TYPE:
            self.faults.append(content_type)
            return 415
        if self.status == 200:  # HTTP
            found = _read_request(request)
            with self._came:
                self._spans += found
                self._came.notify_all()
        return self.status


def assert_connected(spans: list[CollectedSpan]) -> CollectedSpan:
    """They are one tree of one trace in which nobody begins before its parent; its root."""
    assert len({each.trace_id for each in spans}) == 1, "several traces"
    by_id = {each.span_id: each for each in spans}
    assert len(by_id) == len(spans), "a span_id is used twice"
    roots = [each for each in spans if not each.parent_id]
    assert len(roots) == 1, f"roots: {[each.name for each in roots]}"
    for each in spans:
        assert each.started_ns <= each.ended_ns, each.name
        if each.parent_id:
            assert each.parent_id in by_id, f"{each.service} {each.name} has no parent"
            assert by_id[each.parent_id].started_ns <= each.started_ns, f"{each.name} begins before its parent"
    return roots[0]


@contextlib.contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on a free port while the block runs."""
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status = collector.take(self.headers.get("Content-Type", ""), body) if self.path == PATH else 404
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read_request(request: ExportTraceServiceRequest) -> list[CollectedSpan]:
    return [
        _read_span(str(_read_attributes(list(resource.resource.attributes))["service.name"]), span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _read_span(service: str, span: Span) -> CollectedSpan:
    return CollectedSpan(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_read_attributes(list(span.attributes)),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        error=span.status.message,
    )


def _read_attributes(attributes: list[KeyValue]) -> dict[str, str | int]:
    return {
        each.key: each.value.int_value if each.value.HasField("int_value") else each.value.string_value
        for each in attributes
    }
