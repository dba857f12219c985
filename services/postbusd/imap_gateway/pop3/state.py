"""What the parts of a POP3 session share: its connection, line by line, and its output."""

import asyncio

from postbus.core.ids import new_uuid7
from postbus.pop3.commands import MAX_LINE_OCTETS
from postbus.pop3.replies import format_error
from postbusd.imap_gateway.deps import Deps
from postbusd.imap_gateway.ports import Wire

MAX_SKIPPED_OCTETS = 1_048_576
"""Of one over-long line, before the session ends."""
MUCH_OCTETS = 65_536
"""Of answers to pipelined commands that are held back."""
GOING_DOWN = format_error("the server is going down, come back in a moment", "SYS/TEMP")


class Goodbye(Exception):  # noqa: N818  a farewell, not always an error
    """Ends the session with a last line."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply


class Pop3State:
    """One connection."""

    def __init__(self, wire: Wire, deps: Deps) -> None:
        self.wire = wire
        self.deps = deps
        self.started_ms = deps.clock.now_ms()
        self.session_id = new_uuid7(self.started_ms)
        self.failed_logins = 0
        self.ended = b""
        """Not empty: the session ends with this line before the next command."""
        self.login_deadline: float | None = deps.clock.monotonic() + deps.settings.login_seconds
        """None: logged in."""
        self._input = bytearray()
        self._output = bytearray()

    def write(self, data: bytes) -> None:
        """Queues octets."""
        self._output += data

    async def flush(self, *, if_much: bool = False) -> None:
        """Hands output over, `if_much` only when there is. Raises ConnectionError, also when the peer does not read."""
        if if_much and len(self._output) < MUCH_OCTETS:
            return
        if self._output:
            self.wire.write(bytes(self._output))
            self._output.clear()
        try:
            async with asyncio.timeout(self.deps.settings.write_seconds):
                await self.wire.drain()
        except TimeoutError:
            raise ConnectionAbortedError("the peer does not read") from None

    async def ask(self, challenge: bytes) -> bytes:
        """Writes, and waits for a line."""
        self.write(challenge)
        return await self.read_line() or b""

    async def read_line(self) -> bytes | None:
        """A line without its end; None: one that was too long and is skipped. Raises Goodbye, ConnectionError."""
        skipped = 0
        while True:
            end = self._input.find(b"\n")
            if end >= 0:
                line = bytes(self._input[:end]).removesuffix(b"\r")
                del self._input[: end + 1]
                return None if skipped or len(line) > MAX_LINE_OCTETS else line
            if len(self._input) > MAX_LINE_OCTETS:
                skipped += len(self._input)
                self._input.clear()
                if skipped > MAX_SKIPPED_OCTETS:
                    raise Goodbye(format_error("the line is too long"))
            await self.flush()
            self._input += await self._receive()

    def forget_input(self) -> None:
        """What came before TLS is nobody's (RFC 2595 §4)."""
        self._input.clear()

    async def _receive(self) -> bytes:
        seconds = self.deps.settings.pop3_idle_seconds
        if self.login_deadline is not None:
            seconds = max(0.0, self.login_deadline - self.deps.clock.monotonic())
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.wire.bell.clear()
                    data = self.wire.take()
                    if data:
                        return data
                    self.check()
                    await self.wire.bell.wait()
        except TimeoutError:
            raise Goodbye(format_error("nothing came for too long")) from None

    def check(self) -> None:
        """Raises Goodbye when the session is to end."""
        if self.ended:
            raise Goodbye(self.ended)
