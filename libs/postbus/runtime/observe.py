"""The observability listener: /metrics, /healthz and /readyz of the services of a process, over plain HTTP/1.1.

GET only, one request a connection, a bounded request head: it is for scrapers and orchestrators on an inside network.
`/<service>/metrics` always works; `/metrics` when the process hosts one service.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, disable_created_metrics, generate_latest

from postbus.runtime.health import Health

log = logging.getLogger(__name__)

MAX_HEAD_OCTETS = 8192
REQUEST_SECONDS = 10.0
CLOSE_SECONDS = 1.0
JSON_TYPE = "application/json"


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What one service shows."""

    registry: Callable[[], CollectorRegistry]
    health: Callable[[], Awaitable[Health]]


class Answer(msgspec.Struct, frozen=True):
    """An HTTP response."""

    status: str
    content_type: str
    body: bytes


def parse_listen(listen: str) -> tuple[str, int]:
    """HOST:PORT, with brackets around an IPv6 address. Raises ValueError."""
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


class ObservabilityListener:
    """Serves the pages of all services of the process."""

    def __init__(self, services: Mapping[str, Observed]) -> None:
        self._services = dict(services)
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}
        """Connections, and the events of their ends."""
        self.url = ""
        """`http://HOST:PORT` once started."""

    async def start(self, listen: str) -> None:
        """Binds. Raises OSError, ValueError."""
        host, port = parse_listen(listen)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._server = await asyncio.start_server(self._serve, host or None, port, limit=MAX_HEAD_OCTETS)
        found = self._server.sockets[0].getsockname()
        shown = found[0] if host else "127.0.0.1"
        self.url = f"http://[{shown}]:{found[1]}" if ":" in shown else f"http://{shown}:{found[1]}"

    async def close(self) -> None:
        """Stops listening and closes what is open: Python 3.11 logs a connection that is cancelled as a fault."""
        if self._server is not None:
            self._server.close()
        ended = [event.wait() for event in self._open.values()]
        for writer in self._open:
            writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*ended)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.Event()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = await self.answer(head.partition(b"\r\n")[0].decode("latin-1"))
                if writer.is_closing():
                    return
                writer.write(
                    f"HTTP/1.1 {answer.status}\r\nContent-Type: {answer.content_type}\r\n"
                    f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n".encode("latin-1")
                    + answer.body
                )
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # The peer's fault, and of no interest.
        except Exception:
            log.exception("observe.request.failed")
        finally:
            writer.close()
            self._open.pop(writer).set()

    async def answer(self, request_line: str) -> Answer:
        """The response to a request line."""
        method, _, rest = request_line.partition(" ")
        target = rest.partition(" ")[0].partition("?")[0]
        if method != "GET":
            return Answer("405 Method Not Allowed", "text/plain", b"GET only\n")
        service, _, page = target.strip("/").rpartition("/")
        if not service and len(self._services) == 1:
            service = next(iter(self._services))
        observed = self._services.get(service)
        if observed is None and service:
            return _NOT_FOUND
        if page == "metrics" and observed is not None:
            await observed.health()  # a metric tells it
            return Answer("200 OK", CONTENT_TYPE_LATEST, generate_latest(observed.registry()))
        if page in ("healthz", "readyz"):
            return await self._health(page, [observed] if observed else list(self._services.values()))
        return _NOT_FOUND

    async def _health(self, page: str, asked: list[Observed]) -> Answer:
        """Liveness: the process answers. Readiness: every check passes."""
        healths = await asyncio.gather(*(each.health() for each in asked))
        ready = page == "healthz" or all(health.ready for health in healths)
        body = msgspec.json.encode(healths[0] if len(healths) == 1 else healths) + b"\n"
        return Answer("200 OK" if ready else "503 Service Unavailable", JSON_TYPE, body)


_NOT_FOUND = Answer("404 Not Found", "text/plain", b"/<service>/metrics, /<service>/healthz, /<service>/readyz\n")
