"""The listening sockets and the sessions behind them."""

import asyncio
import logging
import ssl

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.doors import Door, DoorKeeper
from postbus.runtime.log import use_service
from postbus.runtime.observe import parse_listen
from postbusd.smtp_edge.adapters.connection import Connection
from postbusd.smtp_edge.conversation import ListenerKind, Site
from postbusd.smtp_edge.session import Session

log = logging.getLogger(__name__)

BACKLOG = 512
SERVICE = "smtp-edge"


class Listeners:
    """Opens the doors, knows who is inside, closes them."""

    def __init__(self, site: Site, tls_context: ssl.SSLContext) -> None:
        self._site = site
        self.tls_context = tls_context
        self._servers: list[asyncio.Server] = []
        self._keepers: list[DoorKeeper] = []
        self._sessions: set[Session] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False

    async def open(self, kind: ListenerKind, listen: str) -> list[tuple[str, int]]:
        """Binds HOST:PORT (an empty host: all addresses); where it listens. Raises MailError."""

        async def serve(connection: Connection) -> None:
            await self._serve(connection, kind)

        prototype = Connection(serve, self.tls_context, self._site.mail_host)
        try:
            host, port = parse_listen(listen)
            if kind is ListenerKind.SUBMISSIONS:
                bound = await self._open_door(prototype, host, port)
            else:
                bound = await self._open_server(prototype, host, port)
        except (OSError, ValueError) as error:
            raise MailError(ErrorKind.UNAVAILABLE, f"{kind} on {listen}: {error}") from error
        log.info(
            "smtp.listening", extra={"listener": kind.value, "addresses": [f"{each[0]}:{each[1]}" for each in bound]}
        )
        return bound

    async def _open_server(self, prototype: Connection, host: str, port: int) -> list[tuple[str, int]]:
        server = await asyncio.get_running_loop().create_server(
            prototype.connect, host or None, port, backlog=BACKLOG, reuse_port=self._site.settings.reuse_port or None
        )
        self._servers.append(server)
        bound = [tuple(socket.getsockname()[:2]) for socket in server.sockets]
        return [(str(name), int(number)) for name, number in bound]

    async def _open_door(self, prototype: Connection, host: str, port: int) -> list[tuple[str, int]]:
        """Sessions begin after the handshake, so the door counts who has not come so far."""
        settings = self._site.settings
        door = Door(
            prototype.connect,
            self.tls_context,
            max_connections=settings.max_sessions,
            max_per_network=settings.max_sessions_per_address,
        )
        keeper = DoorKeeper(door)
        bound = await keeper.open(host, port, backlog=BACKLOG, reuse_port=settings.reuse_port)
        self._keepers.append(keeper)
        return bound

    async def drain(self) -> None:
        """Takes no new connections, tells idle sessions, waits for the others."""
        self._draining = True
        for server in self._servers:
            server.close()
        for keeper in self._keepers:
            await keeper.close()
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
