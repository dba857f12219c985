"""TLS listeners that count connections from the moment they are accepted, not from the end of the handshake.

asyncio's servers show a connection to its protocol only after the handshake: whoever opens many and stays silent is in
nobody's count, and takes the process's file descriptors, which belong to everything that runs in it. A door closes
those that are too many at once, of all and of one network, and gives a handshake a short time.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

HANDSHAKE_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 1.0
"""After a failed accept: the process is out of file descriptors."""

Leave = Callable[[], None]

log = logging.getLogger(__name__)


def network_of(peer: object) -> str:
    """What a peer is counted by: its IPv4 address, or its IPv6 /64, which one person has whole."""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else "")
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


class Door:
    """One listening socket."""

    def __init__(
        self,
        make_protocol: Callable[[Leave], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        *,
        max_connections: int,
        max_per_network: int,
    ) -> None:
        """A protocol must call what it gets once, when its connection is lost. Without `tls` connections are plain."""
        self._make_protocol = make_protocol
        self._tls = tls
        self._max_connections = max_connections
        self._max_per_network = max_per_network
        self._by_network: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        """Connections that are open now, in a handshake or beyond."""
        return self._by_network.total()

    async def run(self, listener: socket.socket) -> None:
        """Takes connections until cancelled; handshakes end with it, other connections do not."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, peer = await loop.sock_accept(listener)
                except OSError as error:
                    log.warning("runtime.door.accept_failed", extra={"reason": str(error)})
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                network = network_of(peer)
                if self.inside >= self._max_connections or self._by_network[network] >= self._max_per_network:
                    connection.close()
                    continue
                self._by_network[network] += 1
                group.create_task(self._let_in(connection, network))

    async def _let_in(self, connection: socket.socket, network: str) -> None:
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._leave(network)

        made = False
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make_protocol(leave),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls is not None else None,
            )
            made = True
        except (OSError, EOFError, RuntimeError) as error:  # ssl.SSLError is an OSError; uvloop: handle closed
            log.debug("runtime.door.handshake_failed", extra={"reason": str(error)})
        finally:
            if not made:
                leave()

    def _leave(self, network: str) -> None:
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]


class DoorKeeper:
    """Listening sockets in front of one door, from `open` to `close`."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._sockets: list[socket.socket] = []
        self._running: list[asyncio.Task[None]] = []

    async def open(self, host: str, port: int, *, backlog: int, reuse_port: bool = False) -> list[tuple[str, int]]:
        """Takes the port; where it listens. An empty host is every address of both families. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, *_, address in dict.fromkeys(found):
                self._sockets.append(
                    socket.create_server(address, family=family, backlog=backlog, reuse_port=reuse_port)
                )
        except OSError:
            self._close_sockets()
            raise
        self._running = [loop.create_task(self.door.run(each)) for each in self._sockets]
        bound = [each.getsockname()[:2] for each in self._sockets]
        return [(str(name), int(number)) for name, number in bound]

    async def close(self) -> None:
        """No new connections, handshakes end; those inside go on."""
        running, self._running = self._running, []
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets.clear()
