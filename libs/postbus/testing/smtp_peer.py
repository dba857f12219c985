"""Mail servers in memory: `FakeNetwork` is the Connector of a transmitter, `FakePeer` a server that answers by rules.

A rule's key is the beginning of a command line, `(connect)` for the banner or `.` for the end of data; the longest that
fits counts. Its value is a reply, or several, each of which is used once and the last for ever. DROP ends the
connection, HANG answers nothing more.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from postbusd.delivery.outbound.transmit_ports import HandshakeError, StreamError, Trust

DROP = "DROP"
HANG = "HANG"
EXTENSIONS = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
Rules = Mapping[str, str | Sequence[str]]
_DEFAULTS: Rules = {
    "RCPT": "250 2.1.5 recipient ok",
    "DATA": "354 go on",
    ".": "250 2.0.0 taken",
    "STARTTLS": "220 2.0.0 go",
    "AUTH": "235 2.7.0 welcome",
    "QUIT": "221 2.0.0 bye",
    "": "250 2.0.0 ok",
}


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a peer took."""

    mail: str
    recipients: tuple[str, ...]
    """Of the RCPTs that were answered by 250."""
    content: bytes
    """Without transparency dots."""
    tls: bool


class FakePeer:
    """A server's rules, and what it heard."""

    def __init__(
        self,
        name: str = "mx.peer.example",
        *,
        extensions: Sequence[str] = EXTENSIONS,
        rules: Rules | None = None,
        handshake: str = "",
        valid_for: str = "",
    ) -> None:
        """`handshake`: why TLS fails; `valid_for`: the host name that its certificate proves."""
        self.name = name
        self.extensions = extensions
        self.handshake = handshake
        self.valid_for = valid_for
        self.heard: list[str] = []
        """Command lines, of all connections."""
        self.taken: list[Taken] = []
        self.connections = 0
        self._rules = {key: list((value,) if isinstance(value, str) else value) for key, value in (rules or {}).items()}

    def answer(self, line: str) -> str:
        """By the rules."""
        fitting = [key for key in self._rules if line.startswith(key)]
        if fitting:
            replies = self._rules[max(fitting, key=len)]
            return replies.pop(0) if len(replies) > 1 else replies[0]
        if line == "(connect)":
            return f"220 {self.name} ESMTP"
        if line.startswith("EHLO"):
            lines = [f"{self.name} hello", *self.extensions]
            return "\r\n".join([f"250-{text}" for text in lines[:-1]] + [f"250 {lines[-1]}"])
        return next(reply for key, reply in _DEFAULTS.items() if line.startswith(key) and isinstance(reply, str))


class FakeNetwork:
    """Implements the transmitter's Connector; `open` counts connections that nobody has closed."""

    def __init__(self, peers: Mapping[str, FakePeer | str]) -> None:
        """By address; a text is the reason why no connection can be made, HANG: it is never made."""
        self.open = 0
        self.tried: list[tuple[str, int]] = []
        self._peers = peers

    async def connect(self, address: str, port: int) -> "FakeStream":
        """A connection. Raises StreamError."""
        self.tried.append((address, port))
        peer = self._peers[address]
        if peer == HANG:
            await asyncio.Event().wait()
        if isinstance(peer, str):
            raise StreamError(peer)
        self.open += 1
        peer.connections += 1
        return FakeStream(self, peer)


class FakeStream:
    """Implements the transmitter's Stream."""

    def __init__(self, network: FakeNetwork, peer: FakePeer) -> None:
        self.tls = ""
        self._network = network
        self._peer = peer
        self._closed = False
        self._input = b""
        self._output = b""
        self._dropped = False
        self._mute = False
        self._reading_data = False
        self._greeted = False
        self._mail, self._recipients = "", list[str]()

    async def read(self) -> bytes:
        """What the peer says."""
        if not self._greeted:
            self._greet()
        if not self._output and not self._dropped:
            await asyncio.Event().wait()
        data, self._output = self._output, b""
        return data

    async def write(self, data: bytes) -> None:
        """To the peer. Raises StreamError."""
        if self._dropped or self._closed:
            raise StreamError("connection reset")
        self._input += data
        while self._take():
            pass

    async def start_tls(self, host: str, trust: Trust) -> None:
        """Raises HandshakeError."""
        if self._peer.handshake == HANG:
            await asyncio.Event().wait()
        if self._peer.handshake:
            self._dropped = True
            raise HandshakeError(self._peer.handshake)
        if trust is Trust.VERIFIED and self._peer.valid_for != host:
            self._dropped = True
            raise HandshakeError("certificate is not valid")
        self.tls = "TLSv1.3 with cipher FAKE"

    async def close(self) -> None:
        """In good order."""
        self.abort()

    def abort(self) -> None:
        """At once."""
        if not self._closed:
            self._closed = True
            self._network.open -= 1

    def _greet(self) -> None:
        self._greeted = True
        self._say(self._peer.answer("(connect)"))

    def _say(self, reply: str) -> str:
        if reply == DROP:
            self._dropped = True
        elif reply == HANG:
            self._mute = True
        elif not self._mute:
            self._output += reply.encode() + b"\r\n"
        return reply

    def _take(self) -> bool:
        """One command or one message."""
        if self._dropped:
            return False
        if self._reading_data:
            data = b"\r\n" + self._input  # the end of an empty message has no line before it
            end = data.find(b"\r\n.\r\n")
            if end >= 0:
                self._input = data[end + 5 :]
                self._end_data(data[: end + 2].replace(b"\r\n.", b"\r\n")[2:])
        else:
            end = self._input.find(b"\r\n")
            if end >= 0:
                line, self._input = self._input[:end], self._input[end + 2 :]
                self._command(line.decode())
        return end >= 0

    def _command(self, line: str) -> None:
        self._peer.heard.append(line)
        reply = self._say(self._peer.answer(line))
        if line.startswith("MAIL") and reply.startswith("2"):
            self._mail, self._recipients = line, []
        elif line.startswith("RCPT") and reply.startswith("2"):
            self._recipients.append(line.removeprefix("RCPT TO:"))
        self._reading_data = line == "DATA" and reply.startswith("354")

    def _end_data(self, content: bytes) -> None:
        self._reading_data = False
        if self._say(self._peer.answer(".")).startswith("2"):
            recipients = tuple(self._recipients)
            taken = Taken(mail=self._mail, recipients=recipients, content=content, tls=bool(self.tls))
            self._peer.taken.append(taken)
