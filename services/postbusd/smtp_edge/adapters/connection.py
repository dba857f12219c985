"""The connection under a session: a subclass of aiosmtpd's SMTP protocol.

aiosmtpd supplies the protocol's life (`connection_made`, its session object, its task for each connection, its
watchdog) and the transport; what it would do with commands, DATA, AUTH and end of file is replaced, because it is not
what architecture.md promises (house-style §3). Its constructor inspects every method of the object (0.2 ms), so one
prototype is made for a listener and copied for each connection.
"""

import asyncio
import copy
import ipaddress
import logging
import select
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiosmtpd.smtp import SMTP

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.doors import Leave

log = logging.getLogger(__name__)
logging.getLogger("mail.log").setLevel(logging.WARNING)

READ_OCTETS = 65_536
MAX_SESSION_SECONDS = 86_400.0
"""aiosmtpd's watchdog: no session lasts longer than a day, whatever happens."""
TLS_HANDSHAKE_SECONDS = 30.0

Serve = Callable[["Connection"], Awaitable[None]]


class Connection(SMTP):
    """Implements `postbusd.smtp_edge.ports.Stream`."""

    line_length_limit = READ_OCTETS
    """What aiosmtpd gives to its StreamReader: when to pause reading, not the length of a line."""

    def __init__(self, serve: Serve, tls_context: ssl.SSLContext, mail_host: str) -> None:
        """A prototype: `connect` gives the protocol objects."""
        super().__init__(
            None, hostname=mail_host, timeout=MAX_SESSION_SECONDS, loop=asyncio.get_running_loop(), auth_required=False
        )
        self._leave: Leave = _stay
        self._serve = serve
        self._tls_context = tls_context

    def connect(self, leave: Leave | None = None) -> "Connection":
        """A protocol object for a new connection: what a server's factory returns; `leave` is the door's."""
        fresh = copy.copy(self)
        fresh._leave = leave or _stay
        asyncio.StreamReaderProtocol.__init__(
            fresh,
            asyncio.StreamReader(limit=self.line_length_limit, loop=self.loop),
            client_connected_cb=fresh._cb_client_connected,
            loop=self.loop,
        )
        return fresh

    # What aiosmtpd calls

    def connection_lost(self, error: Exception | None) -> None:
        """Not as in aiosmtpd, which cancels the session: a message whose final dot has come is carried to its end."""
        self._leave()
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.transport = None

    def eof_received(self) -> bool | None:
        """Not as in aiosmtpd: who closes its half after QUIT still gets the replies."""
        return asyncio.StreamReaderProtocol.eof_received(self)

    async def _handle_client(self) -> None:
        """The whole session; aiosmtpd runs it as the connection's task."""
        try:
            await self._serve(self)
        except Exception:
            log.exception("smtp.session.crashed", extra={"client_address": self.peer_address})
        finally:
            self._writer.close()

    @property
    def _inside(self) -> "_Inside":
        return _Inside(self._reader, self._writer)

    # What the session calls

    @property
    def peer_address(self) -> str:
        """The client's IP address; an IPv4 one also when it came through an IPv6 socket."""
        peer = self.session.peer if self.session is not None else None
        address = str(peer[0]) if peer else "0.0.0.0"  # noqa: S104
        if address.startswith("::ffff:"):
            mapped = ipaddress.IPv6Address(address).ipv4_mapped
            return str(mapped) if mapped is not None else address
        return address.partition("%")[0]

    @property
    def tls(self) -> str:
        """Protocol and cipher; empty: plain text."""
        cipher = self._writer.get_extra_info("cipher")
        return f"{cipher[1]} with cipher {cipher[0]}" if cipher else ""

    def has_unread_data(self) -> bool:
        """Looks into the buffer and at the socket."""
        if self._inside.reader._buffer or self._reader.at_eof():
            return True
        socket = self._writer.get_extra_info("socket")
        if socket is None or socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def receive(self) -> bytes:
        """The next octets; empty at the end, however it came."""
        try:
            return bytes(await self._reader.read(READ_OCTETS))
        except (OSError, ssl.SSLError):
            return b""

    async def send(self, data: bytes) -> None:
        """Writes; to a lost connection, nowhere."""
        if self.transport is None or self._writer.is_closing():
            return
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, ssl.SSLError):
            return

    async def start_tls(self, ready: bytes) -> int:
        """Nothing is awaited between reading the last plain octet and the switch, so none can slip in.

        aiosmtpd's own STARTTLS builds asyncio's TLS protocol by hand, which uvloop's transports do not need.
        """
        inside = self._inside
        transport: Any = self.transport  # uvloop's are no asyncio.Transport
        if transport is None or transport.is_closing():
            raise MailError(ErrorKind.INVALID, "connection lost")
        discarded = len(inside.reader._buffer)
        inside.reader._buffer.clear()
        transport.write(ready)
        try:
            secured = await self.loop.start_tls(
                transport, self, self._tls_context, server_side=True, ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS
            )
        except (OSError, ssl.SSLError, EOFError) as error:
            raise MailError(ErrorKind.INVALID, f"handshake failed: {_reason(error)}") from error
        if secured is None:
            raise MailError(ErrorKind.INVALID, "connection lost")
        self.transport = self._transport = secured
        inside.reader._transport = inside.writer._transport = secured
        self._over_ssl = True
        return discarded


class _Inside:
    """Reader and writer with the fields that asyncio.streams has no public way to (aiosmtpd sets them as well)."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self.reader = reader
        self.writer = writer


def _stay() -> None:
    """Of a connection that came through no door."""


def _reason(error: Exception) -> str:
    return getattr(error, "reason", "") or type(error).__name__
