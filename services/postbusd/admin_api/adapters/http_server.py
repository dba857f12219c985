"""uvicorn as the API's HTTPS listener inside a process that belongs to others: no signals, no exit, no idle ticking.

What strangers can make it hold is bounded: connections from accept on (`postbus.runtime.doors`), the time for a
handshake, for a request, and for taking the answers.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from h11 import DONE
from uvicorn.protocols.http.h11_impl import H11Protocol

from postbus.runtime.doors import Door, Leave

MAX_HEADER_OCTETS = 32_768
KEEP_ALIVE_SECONDS = 30
TICK_SECONDS = 1.0  # the Date header's resolution
BACKLOG = 128


def patient_protocol(request_seconds: float) -> type[H11Protocol]:
    """An HTTP/1.1 connection that gives a client so long to send a whole request, and twice as long to take answers."""

    class PatientProtocol(H11Protocol):
        """Closes what is late; a request that is being answered is left alone while its answer is taken."""

        def __init__(self, leave: Leave, **options: Any) -> None:  # Any: uvicorn's own
            super().__init__(**options)
            self._leave = leave
            self._stuck = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.cancel()
            self._leave()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._deadline.cancel()
            self._start_waiting()
            super().on_response_complete()

        def _start_waiting(self) -> None:
            self._deadline = self.loop.call_later(max(request_seconds, KEEP_ALIVE_SECONDS), self._close_late)

        def _close_late(self) -> None:
            if self.transport.is_closing():
                return
            unsent = self.transport.get_write_buffer_size() > 0
            if self.conn.their_state is not DONE or (unsent and self._stuck):
                self.transport.abort()
                return
            self._stuck = unsent
            self._start_waiting()

    return PatientProtocol


def answer_head(app: Any) -> Any:  # Any: an ASGI application
    """HEAD is answered as GET; the content is left out by the protocol (RFC 9110 §9.3.2)."""

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await app(scope, receive, send)

    return answer


class _Server(uvicorn.Server):
    """uvicorn without its claims on the process, behind a door of ours."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        most = config.limit_concurrency or 0
        self.door = Door(self._make_protocol, tls, max_connections=2 * most, max_per_network=max(most // 2, 1))
        self.ready = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the runtime's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Opens no listener: the door is `serve`'s."""
        await super().startup([])
        self.ready.set()

    def _make_protocol(self, leave: Leave) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            leave=leave, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def main_loop(self) -> None:
        """Once a second instead of ten times."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), TICK_SECONDS)


class HttpServer:
    """One HTTPS listener."""

    def __init__(
        self, app: Any, context: ssl.SSLContext | None, *, max_connections: int, request_seconds: float
    ) -> None:  # Any: an ASGI application
        self._tls = context
        self._config = uvicorn.Config(
            answer_head(app),
            interface="asgi3",
            loop="none",
            http=patient_protocol(request_seconds),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # what strangers send is no news
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=[("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")],
            limit_concurrency=max_connections,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=10,
            h11_max_incomplete_event_size=MAX_HEADER_OCTETS,
        )
        self._server: _Server | None = None
        self._socket: socket.socket | None = None

    @property
    def connections(self) -> int:
        """Open ones, in a handshake or beyond."""
        return self._server.door.inside if self._server is not None else 0

    def bind(self, host: str, port: int) -> int:
        """Takes the port; the one taken. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=False)
        taken: int = self._socket.getsockname()[1]
        return taken

    async def serve(self) -> None:
        """Answers until `stop`."""
        assert self._socket is not None
        self._server = _Server(self._config, self._tls)
        async with asyncio.TaskGroup() as group:
            opened = group.create_task(self._open(self._server, self._socket))
            await self._server.serve([])
            opened.cancel()

    async def _open(self, server: _Server, listener: socket.socket) -> None:
        """Takes connections from when the server is ready until it stops."""
        try:
            await server.ready.wait()
            async with asyncio.TaskGroup() as group:
                running = group.create_task(server.door.run(listener))
                await server.stopping.wait()
                running.cancel()
        finally:
            listener.close()

    async def stop(self) -> None:
        """Takes no more connections and lets answers finish."""
        if self._server is not None:
            self._server.should_exit = True
            self._server.stopping.set()
