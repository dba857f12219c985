"""uvicorn as the API's HTTPS listener inside a process that belongs to others: no signals, no exit, no idle ticking."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from h11 import DONE
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEADER_OCTETS = 32_768
KEEP_ALIVE_SECONDS = 30
TICK_SECONDS = 1.0  # the Date header's resolution
BACKLOG = 128


def patient_protocol(request_seconds: float) -> type[H11Protocol]:
    """An HTTP/1.1 connection that gives a client so long to send a whole request."""

    class PatientProtocol(H11Protocol):
        """Closes what is late; a request that is being answered is left alone."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._deadline.cancel()
            self._start_waiting()
            super().on_response_complete()

        def _start_waiting(self) -> None:
            self._deadline = self.loop.call_later(max(request_seconds, KEEP_ALIVE_SECONDS), self._close_late)

        def _close_late(self) -> None:
            if self.conn.their_state is not DONE and not self.transport.is_closing():
                self.transport.abort()

    return PatientProtocol


class _Server(uvicorn.Server):
    """uvicorn without its claims on the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the runtime's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells when connections are taken."""
        await super().startup(sockets)
        self.ready.set()

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
        self._config = uvicorn.Config(
            app,
            interface="asgi3",
            loop="none",
            http=patient_protocol(request_seconds),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=[("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")],
            limit_concurrency=max_connections,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=10,
            h11_max_incomplete_event_size=MAX_HEADER_OCTETS,
            ssl_context_factory=(lambda _config, _default: context) if context is not None else None,
        )
        self._server: _Server | None = None
        self._socket: socket.socket | None = None

    def bind(self, host: str, port: int) -> int:
        """Takes the port; the one taken. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=False)
        taken: int = self._socket.getsockname()[1]
        return taken

    async def serve(self) -> None:
        """Answers until `stop`."""
        assert self._socket is not None
        self._server = _Server(self._config)
        await self._server.serve([self._socket])

    async def stop(self) -> None:
        """Takes no more connections and lets answers finish."""
        if self._server is not None:
            self._server.should_exit = True
            self._server.stopping.set()
