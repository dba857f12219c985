"""The asyncio side of a session: an IMAP connection as `postbusd.imap_gateway.ports.Wire`.

Reading pauses while the session is behind, writing waits while the peer is (bounded memory, promise 7).
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from postbus.runtime.doors import Leave

READ_HIGH_WATER_OCTETS = 262_144
WRITE_HIGH_WATER_OCTETS = 262_144
HANDSHAKE_SECONDS = 30.0
LINGER_SECONDS = 10.0


class WireProtocol(asyncio.Protocol):
    """One connection; `on_connect` gets it once it is there (after the handshake on a TLS listener)."""

    def __init__(
        self,
        on_connect: Callable[["WireProtocol"], None],
        leave: Leave,
        tls: ssl.SSLContext | None,
        secure: bool,
    ) -> None:
        """`leave` is the door's: it counts those who have not logged in."""
        self.peer_address = ""
        self.is_secure = secure
        self.bell = asyncio.Event()
        self._on_connect = on_connect
        self._leave = leave
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._reading_paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = False
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected, or TLS is up on a connection that we know."""
        first = self._transport is None
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_OCTETS)
        if first:
            peer = transport.get_extra_info("peername")
            self.peer_address = peer[0] if isinstance(peer, tuple) else ""
            self._on_connect(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: octets."""
        self._buffer += data
        if len(self._buffer) >= READ_HIGH_WATER_OCTETS and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self.bell.set()

    def eof_received(self) -> bool:
        """asyncio: the peer sends no more; what it asked for is still answered."""
        self._ended = True
        self.bell.set()
        return not self.is_secure

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is over."""
        self._leave()
        self._lost = self._ended = True
        self._writable.set()
        self.bell.set()

    def pause_writing(self) -> None:
        """asyncio: the peer is behind."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """asyncio: the peer has caught up."""
        self._writable.set()

    def take(self) -> bytes:
        """What has come since the last call. Raises ConnectionError."""
        if not self._buffer:
            if self._ended:
                raise ConnectionResetError("the peer is gone")
            return b""
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Queues octets; those for a peer that is gone are lost."""
        if self._transport is not None and not self._lost:
            self._transport.write(data)

    async def drain(self) -> None:
        """Waits for the peer. Raises ConnectionError."""
        if not self._writable.is_set():
            await self._writable.wait()
        if self._lost:
            raise ConnectionResetError("the peer is gone")

    async def start_tls(self) -> None:
        """The handshake; plain text that came before it is thrown away (RFC 9051 §6.2.1). Raises ConnectionError."""
        if self._transport is None or self._tls is None or self._lost:
            raise ConnectionResetError("no TLS here")
        self._transport.pause_reading()
        self._buffer.clear()
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self._transport, self, self._tls, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (ssl.SSLError, OSError) as error:
            raise ConnectionResetError("the handshake failed") from error
        if transport is None:
            raise ConnectionResetError("the handshake failed")
        self._transport = transport
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_OCTETS)
        self.is_secure = True
        self._reading_paused = False

    def welcome(self) -> None:
        """The door forgets us."""
        self._leave()

    def close(self) -> None:
        """Sends what is queued, then closes; a peer that does not take it is cut off."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.abort)

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None and not self._lost:
            self._transport.abort()
