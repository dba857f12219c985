"""The listening sockets and the sessions behind them."""

import asyncio
import logging
import ssl

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.log import use_service
from postbus.runtime.observe import parse_listen
from postbusd.smtp_edge.adapters.connection import TLS_HANDSHAKE_SECONDS, Connection
from postbusd.smtp_edge.conversation import ListenerKind, Site
from postbusd.smtp_edge.session import Session

log = logging.getLogger(__name__)

BACKLOG = 512
SERVICE = "smtp-edge"


class Listeners:
    """Opens the doors, knows who is inside, closes them."""

    def __init__(self, site: Site, tls_context: ssl.SSLContext) -> None:
        self._site = site
        self._tls_context = tls_context
        self._servers: list[asyncio.Server] = []
        self._sessions: set[Session] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False

    async def open(self, kind: ListenerKind, listen: str) -> list[tuple[str, int]]:
        """Binds HOST:PORT (an empty host: all addresses); where it listens. Raises MailError."""

        async def serve(connection: Connection) -> None:
            await self._serve(connection, kind)

        within_tls = kind is ListenerKind.SUBMISSIONS
        prototype = Connection(serve, self._tls_context, self._site.mail_host)
        try:
            host, port = parse_listen(listen)
            server = await asyncio.get_running_loop().create_server(
                prototype.connect,
                host or None,
                port,
                backlog=BACKLOG,
                ssl=self._tls_context if within_tls else None,
                ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS if within_tls else None,
                reuse_port=self._site.settings.reuse_port or None,
            )
        except (OSError, ValueError) as error:
            raise MailError(ErrorKind.UNAVAILABLE, f"{kind} on {listen}: {error}") from error
        self._servers.append(server)
        bound = [tuple(socket.getsockname()[:2]) for socket in server.sockets]
        log.info(
            "smtp.listening", extra={"listener": kind.value, "addresses": [f"{each[0]}:{each[1]}" for each in bound]}
        )
        return [(str(host), int(port)) for host, port in bound]

    async def drain(self) -> None:
        """Takes no new connections, tells idle sessions, waits for the others."""
        self._draining = True
        for server in self._servers:
            server.close()
        for session in list(self._sessions):
            session.drain()
        await self._empty.wait()

    async def _serve(self, connection: Connection, kind: ListenerKind) -> None:
        session = Session(connection, kind, self._site)
        self._sessions.add(session)
        self._empty.clear()
        if self._draining:
            session.drain()
        try:
            with use_service(SERVICE):
                await session.run()
        finally:
            self._sessions.discard(session)
            if not self._sessions:
                self._empty.set()
