"""The listening sockets: IMAPS, and plain IMAP with STARTTLS."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from postbus.core.errors import ErrorKind, MailError
from postbusd.imap_gateway.adapters.wire import HANDSHAKE_SECONDS, WireProtocol

BACKLOG = 512

OnConnect = Callable[[WireProtocol, str], None]


def parse_endpoint(text: str) -> tuple[str, int]:
    """HOST:PORT, `[::1]:993` too. Raises MailError INVALID."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise MailError(ErrorKind.INVALID, f"{text} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Listeners:
    """Opened at start, closed first at drain."""

    def __init__(self, tls: ssl.SSLContext, on_connect: OnConnect) -> None:
        self._tls = tls
        self._on_connect = on_connect
        self._servers: list[asyncio.Server] = []

    async def open(self, endpoint: str, *, secure: bool) -> int:
        """Listens; the port. Raises OSError for a busy one."""
        host, port = parse_endpoint(endpoint)
        name = "imaps" if secure else "imap"

        def connected(wire: WireProtocol) -> None:
            self._on_connect(wire, name)

        server = await asyncio.get_running_loop().create_server(
            lambda: WireProtocol(connected, self._tls, secure),
            host or None,
            port,
            ssl=self._tls if secure else None,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if secure else None,
            backlog=BACKLOG,
        )
        self._servers.append(server)
        actual: int = server.sockets[0].getsockname()[1]
        return actual

    async def close(self) -> None:
        """No new connections; those there go on."""
        for server in self._servers:
            with contextlib.suppress(OSError):
                server.close()
        self._servers.clear()
