"""HTTP/1.1 requests to others (RFC 9112): webhooks' receivers, identity providers. Nothing followed, little read.

The egress rule holds for the address that is connected to, not for a name that may change its mind. Plain http goes
only to networks that a setting names.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult

import h11
import msgspec

from postbus.core.egress import Network, is_allowed
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import DnsResolver, RecordType

CONNECT_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 10.0
MAX_ANSWER_OCTETS: Final = 65_536
CHUNK_OCTETS: Final = 16_384
ADDRESSES: Final = 3
"""Tried, in order."""
FAULTS: Final = (OSError, h11.RemoteProtocolError, TimeoutError)
"""What going wrong raises besides MailError; `explain` says what it was."""
_NO_ANSWER: Final = "the receiver closed the connection without an answer"


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    body: bytes
    """The first `kept` octets of it."""
    retry_after_seconds: float


class HttpClient:
    """Opens connections; `setting` is what administrators allow more networks by."""

    def __init__(
        self, resolver: DnsResolver, allowed: Sequence[Network], tls: ssl.SSLContext, *, agent: str, setting: str
    ) -> None:
        self._resolver = resolver
        self._allowed = allowed
        self._tls = tls
        self._setting = setting
        self.agent = agent

    async def request(
        self, method: str, parts: SplitResult, headers: Sequence[tuple[str, str]], body: bytes
    ) -> HttpAnswer:
        """One request over a connection of its own. Raises MailError, FAULTS."""
        connection = await self.connect(parts)
        try:
            return await self.ask(connection, method, parts, headers, body)
        finally:
            connection.close()

    async def connect(self, parts: SplitResult) -> "HttpConnection":
        """Raises MailError (DNS), FAULTS."""
        host = parts.hostname or ""
        fault: Exception = OSError(f"{host} has no address")
        for address in (await self._find(host))[:ADDRESSES]:
            if not self._is_open(parts.scheme, address):
                fault = OSError(f"{parts.scheme} to {address} is not allowed ({self._setting})")
                continue
            try:
                return await self._open(parts, address)
            except FAULTS as error:
                fault = error
        raise fault

    async def ask(
        self,
        connection: "HttpConnection",
        method: str,
        parts: SplitResult,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        kept: int = MAX_ANSWER_OCTETS,
    ) -> HttpAnswer:
        """One request over a connection that `reuse` allows. Raises FAULTS."""
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        own = [("Host", parts.netloc), ("User-Agent", self.agent), ("Content-Length", str(len(body)))]
        async with asyncio.timeout(REQUEST_SECONDS):
            return await connection.ask(h11.Request(method=method, target=target, headers=[*own, *headers]), body, kept)

    async def close(self) -> None:
        """Ends look-ups."""
        await self._resolver.close()

    async def _open(self, parts: SplitResult, address: str) -> "HttpConnection":
        secure = parts.scheme == "https"
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                address,
                parts.port or (443 if secure else 80),
                ssl=self._tls if secure else None,
                server_hostname=parts.hostname if secure else None,
                limit=MAX_ANSWER_OCTETS,
            )
        return HttpConnection(reader, writer)

    def _is_open(self, scheme: str, address: str) -> bool:
        if scheme == "https":
            return is_allowed(address, self._allowed)
        given = ipaddress.ip_address(address)
        return any(given in network for network in self._allowed)

    async def _find(self, host: str) -> list[str]:
        """Raises MailError: UNAVAILABLE, INVALID (DNS)."""
        if _is_address(host):
            return [host]
        answers = [await self._resolver.resolve(host, kind) for kind in (RecordType.A, RecordType.AAAA)]
        return [value for answer in answers for value in answer.hosts() if _is_address(value)]


class HttpConnection:
    """One connection; `ask` as often as `reuse` says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=CHUNK_OCTETS)

    async def ask(self, request: h11.Request, body: bytes, most: int) -> HttpAnswer:
        """Sends a request, reads the answer; of its body `most` octets are kept."""
        self._send(request)
        self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())
        await self._writer.drain()
        status, retry_after, kept, read = 0, 0.0, b"", 0
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                status, retry_after = event.status_code, _retry_after(event)
            elif isinstance(event, h11.Data):
                read += len(event.data)
                kept = (kept + event.data)[:most]
                if read > MAX_ANSWER_OCTETS:
                    raise h11.RemoteProtocolError(f"the answer has more than {MAX_ANSWER_OCTETS} octets")
            elif not isinstance(event, h11.EndOfMessage):
                raise h11.RemoteProtocolError(_NO_ANSWER)
            else:
                return HttpAnswer(status=status, body=kept, retry_after_seconds=retry_after)

    def reuse(self) -> bool:
        """Whether a request may go: the first one, or another after an answer, and the receiver has not hung up."""
        if self._protocol.our_state is h11.IDLE:
            return True
        done = self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE
        if done and not self._reader.at_eof():
            self._protocol.start_next_cycle()
            return True
        return False

    def close(self) -> None:
        """Without waiting for the other side."""
        self._writer.transport.abort()

    def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        self._writer.write(self._protocol.send(event) or b"")

    async def _next_event(self) -> h11.Event:
        while True:
            event = self._protocol.next_event()
            if event is not h11.NEED_DATA and not isinstance(event, h11.InformationalResponse):
                if isinstance(event, h11.Event):
                    return event
                raise h11.RemoteProtocolError("the receiver sends more than an answer")
            if event is h11.NEED_DATA:
                data = await self._reader.read(CHUNK_OCTETS)
                if not data and self._protocol.their_state is h11.SEND_RESPONSE:
                    raise ConnectionResetError(_NO_ANSWER)
                self._protocol.receive_data(data)


def client_tls(ca_file: str, field: str) -> ssl.SSLContext:
    """Trusts the system's CAs, and those of the file, which the setting `field` names. Raises MailError: INVALID."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise MailError(ErrorKind.INVALID, f"{field}: {ca_file}: {error}") from error
    return context


def explain(error: Exception) -> str:
    """Why there was no answer, for administrators."""
    if isinstance(error, TimeoutError):
        return f"no answer within {REQUEST_SECONDS:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    return str(error) or type(error).__name__


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _retry_after(response: h11.Response) -> float:
    """Seconds (RFC 9110 §10.2.3); a date is not read."""
    for name, value in response.headers:
        if name == b"retry-after" and value.isdigit() and len(value) < 7:
            return float(value)
    return 0.0
