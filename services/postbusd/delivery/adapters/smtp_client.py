"""The network for the transmitter: TCP and TLS by the event loop (asyncio's or uvloop's)."""

import asyncio
import ssl
from typing import Any, Final

from postbus.core.errors import ErrorKind, MailError
from postbusd.delivery.outbound.transmit_ports import HandshakeError, StreamError, Trust

MAX_BUFFERED_OCTETS: Final = 131_072
"""Read but not taken yet; beyond it the peer has to wait."""
CLOSE_SECONDS: Final = 2.0
"""For the farewell of TLS."""


class SmtpConnector:
    """Implements `Connector`."""

    def __init__(self, relay_ca_file: str = "") -> None:
        """`relay_ca_file`: CAs besides the system's. Raises MailError: INVALID when it holds none."""
        self._contexts = _Contexts(relay_ca_file)

    async def connect(self, address: str, port: int) -> "SmtpStream":
        """A connection. Raises StreamError."""
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_connection(lambda: SmtpStream(self._contexts), address, port)
        except OSError as error:
            raise StreamError(_reason(error)) from error
        return stream


class _Contexts:
    """One TLS context for each kind of trust."""

    def __init__(self, relay_ca_file: str) -> None:
        self._anybody = _new_context()
        self._anybody.check_hostname = False
        self._anybody.verify_mode = ssl.CERT_NONE
        # Old parameters too: the alternative is plain text (RFC 7435 §3).
        self._anybody.set_ciphers("DEFAULT:@SECLEVEL=1")
        self._verified = _new_context()
        self._has_system_cas = False
        if relay_ca_file:
            try:
                self._verified.load_verify_locations(cafile=relay_ca_file)
            except (OSError, ssl.SSLError) as error:
                raise MailError(ErrorKind.INVALID, f"relay_ca_file: {relay_ca_file}: {_reason(error)}") from error

    def choose(self, trust: Trust) -> ssl.SSLContext:
        """The system's CAs are loaded when they are first needed: they cost memory."""
        if trust is Trust.ANYBODY:
            return self._anybody
        if not self._has_system_cas:
            self._verified.load_default_certs()
            self._has_system_cas = True
        return self._verified


class SmtpStream(asyncio.Protocol):
    """Implements `Stream`."""

    def __init__(self, contexts: _Contexts) -> None:
        self.tls = ""
        self._contexts = contexts
        self._transport: Any = None  # uvloop's are no asyncio.Transport
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        """Nothing more comes."""
        self._lost = False
        """Nothing more goes."""
        self._reason = "closed by the peer"
        self._closed = asyncio.Event()

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Once; TLS keeps this protocol."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self._buffer += data
        self._arrived.set()
        if len(self._buffer) > MAX_BUFFERED_OCTETS:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer sends no more: it takes no more either."""
        self._ended = True
        self._arrived.set()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The end."""
        if error is not None:
            self._reason = _reason(error)
        self._ended = self._lost = True
        self._arrived.set()
        self._writable.set()
        self._closed.set()

    def pause_writing(self) -> None:
        """Enough is on its way."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """More may come."""
        self._writable.set()

    # What the transmitter calls

    async def read(self) -> bytes:
        """See `Stream.read`."""
        while not self._buffer and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        if len(data) > MAX_BUFFERED_OCTETS and not self._lost:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        if not self._lost and not self._transport.is_closing():
            self._transport.write(data)
            if not self._writable.is_set():
                await self._writable.wait()
        if self._lost or self._transport.is_closing():
            raise StreamError(self._reason)

    async def start_tls(self, host: str, trust: Trust) -> None:
        """See `Stream.start_tls`. Nothing is awaited between the look into the buffer and the switch."""
        if self._buffer:
            raise HandshakeError("plain text behind the reply to STARTTLS")
        if self._lost or self._transport.is_closing():
            raise HandshakeError(self._reason)
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(self._transport, self, self._contexts.choose(trust), server_hostname=host)
        except (OSError, ssl.SSLError, ValueError, EOFError) as error:
            raise HandshakeError(_reason(error)) from error
        if secured is None:
            raise HandshakeError(self._reason)
        self._transport = secured
        cipher = secured.get_extra_info("cipher")
        self.tls = f"{secured.get_extra_info('ssl_object').version()} with cipher {cipher[0]}" if cipher else ""

    async def close(self) -> None:
        """See `Stream.close`."""
        self._transport.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._closed.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """See `Stream.abort`."""
        self._transport.abort()


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    return context


def _reason(error: BaseException) -> str:
    """For people, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
