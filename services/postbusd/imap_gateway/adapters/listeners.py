"""The listening sockets: IMAP and POP3, over TLS and plain with STARTTLS."""

import ssl
from collections.abc import Callable

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.doors import Door, DoorKeeper
from postbusd.imap_gateway.adapters.wire import WireProtocol

BACKLOG = 512

OnConnect = Callable[[WireProtocol, str], None]


def parse_endpoint(text: str) -> tuple[str, int]:
    """HOST:PORT, `[::1]:993` too. Raises MailError INVALID."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise MailError(ErrorKind.INVALID, f"{text} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Listeners:
    """Opened at start, closed first at drain. Whoever has not logged in is counted from the moment of accept."""

    def __init__(
        self, tls: ssl.SSLContext, on_connect: OnConnect, *, max_strangers: int, max_strangers_per_address: int
    ) -> None:
        self._tls = tls
        self._on_connect = on_connect
        self._max_strangers = max_strangers
        self._max_strangers_per_address = max_strangers_per_address
        self._keepers: list[DoorKeeper] = []

    async def open(self, endpoint: str, *, name: str) -> int:
        """Listens as imaps, imap, pop3s or pop3; the port. Raises OSError for a busy one."""
        host, port = parse_endpoint(endpoint)
        secure = name in ("imaps", "pop3s")

        def connected(wire: WireProtocol) -> None:
            self._on_connect(wire, name)

        door = Door(
            lambda leave: WireProtocol(connected, leave, self._tls, secure),
            self._tls if secure else None,
            max_connections=self._max_strangers,
            max_per_network=self._max_strangers_per_address,
        )
        keeper = DoorKeeper(door)
        bound = await keeper.open(host, port, backlog=BACKLOG)
        self._keepers.append(keeper)
        return bound[0][1]

    async def close(self) -> None:
        """No new connections; those there go on."""
        for keeper in self._keepers:
            await keeper.close()
        self._keepers.clear()
