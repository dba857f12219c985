"""Plays protocol transcripts: text files that read like the dialogue they test (house-style §10).

Each line is one of

    C: octets the client sends, with CRLF
    S: the line the server must answer with, exactly
    S~ a regular expression that the server's line must match wholly
    X: the name of an action of the test, as `deliver`
    #  a comment; empty lines count for nothing
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping

ANSWER_SECONDS = 5.0


class ScriptedWire:
    """The far end of a connection in memory; fits the `Wire` of a gateway."""

    def __init__(self, *, is_secure: bool = True, peer_address: str = "192.0.2.1") -> None:
        self.peer_address = peer_address
        self.is_secure = is_secure
        self.bell = asyncio.Event()
        self.closed = False
        self.stalled = False
        """The peer does not read: drain() waits for ever."""
        self.welcomed = False
        self.written = 0
        self._incoming = bytearray()
        self._hung_up = False
        self._outgoing = bytearray()
        self._arrived = asyncio.Event()

    def send(self, data: bytes) -> None:
        """The client sends octets."""
        self._incoming += data
        self.bell.set()

    def hang_up(self) -> None:
        """The client is gone."""
        self._hung_up = True
        self.bell.set()

    async def read_line(self) -> bytes:
        """The server's next line without CRLF; empty once it has closed."""
        while b"\n" not in self._outgoing:
            if self.closed:
                return b""
            self._arrived.clear()
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._arrived.wait()
        line, _, rest = bytes(self._outgoing).partition(b"\n")
        self._outgoing = bytearray(rest)
        return line.removesuffix(b"\r")

    def welcome(self) -> None:
        """Server's side."""
        self.welcomed = True

    def take(self) -> bytes:
        """Server's side."""
        if not self._incoming and self._hung_up:
            raise ConnectionResetError("the client hung up")
        data = bytes(self._incoming)
        self._incoming.clear()
        return data

    def write(self, data: bytes) -> None:
        """Server's side."""
        self._outgoing += data
        self.written += len(data)
        self._arrived.set()

    async def drain(self) -> None:
        """Server's side."""
        if self.stalled:
            await asyncio.Event().wait()

    async def start_tls(self) -> None:
        """Server's side: secure from now on, what came too early is lost."""
        self._incoming.clear()
        self.is_secure = True

    def close(self) -> None:
        """Server's side."""
        self.closed = True
        self._arrived.set()


async def play_transcript(
    text: str, wire: ScriptedWire, actions: Mapping[str, Callable[[], Awaitable[None]]] | None = None
) -> None:
    """Plays it to the end. Raises AssertionError at the first line that differs."""
    for number, line in enumerate(text.splitlines(), start=1):
        mark, _, rest = line.partition(" ")
        match mark:
            case "C:":
                wire.send(rest.encode() + b"\r\n")
            case "S:":
                answer = (await wire.read_line()).decode("utf-8", "replace")
                assert answer == rest, f"line {number}: expected {rest!r}, got {answer!r}"
            case "S~":
                answer = (await wire.read_line()).decode("utf-8", "replace")
                assert re.fullmatch(rest, answer), f"line {number}: expected {rest!r}, got {answer!r}"
            case "X:":
                await (actions or {})[rest]()
            case _:
                assert not line or line.startswith("#"), f"line {number}: not a transcript line: {line!r}"
