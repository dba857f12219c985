"""When messages become visible: an IMAP session in IDLE on every mailbox (RFC 2177), over TLS."""

import asyncio
import re
import time
from collections.abc import Sequence

from postbus.testing.installation import Platform
from rig.installation import PASSWORD
from rig.mail import NUMBER, NUMBER_FIELD

_EXISTS = re.compile(rb"\* (\d+) EXISTS")
STALL_SECONDS = 30.0
LINE_OCTETS = 1 << 20


class Watch:
    """One mailbox."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._had = 0
        self.times: list[float] = []
        """Of each new message, in the order of UIDs."""
        self.task: asyncio.Task[None] | None = None

    async def open(self, address: str) -> None:
        """Logs in, selects INBOX, begins IDLE."""
        await self._reader.readline()
        await self.command(f'LOGIN "{address}" "{PASSWORD}"')
        found = _EXISTS.search(await self.command("SELECT INBOX"))
        assert found, "SELECT without EXISTS"
        self._had = int(found[1])
        await self._idle()

    async def command(self, text: str) -> bytes:
        """The untagged answers of a command that succeeds."""
        self._writer.write(f"t {text}\r\n".encode())
        lines = []
        while not (line := await self._reader.readline()).startswith(b"t "):
            assert line, "IMAP session closed"
            lines.append(line)
        assert line.startswith(b"t OK"), line
        return b"".join(lines)

    async def stop(self) -> list[tuple[int, float]]:
        """Ends IDLE; (number, time) of the messages that came. The watch can be opened again by `resume`."""
        self._writer.write(b"DONE\r\n")
        assert self.task is not None
        await self.task
        if not self.times:
            return []
        first = self._had + 1
        answer = await self.command(f"FETCH {first}:* (BODY.PEEK[HEADER.FIELDS ({NUMBER_FIELD})])")
        numbers = [int(number) for number in NUMBER.findall(answer)]
        self._had += len(self.times)
        came = list(zip(numbers, self.times, strict=True))
        self.times = []
        return came

    async def resume(self) -> None:
        """IDLE again."""
        await self._idle()

    async def close(self) -> None:
        """Ends the session."""
        self._writer.close()

    async def _idle(self) -> None:
        self._writer.write(b"t IDLE\r\n")
        await self._reader.readline()
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while not (line := await self._reader.readline()).startswith(b"t "):
            assert line, "IMAP session closed"
            found = _EXISTS.match(line)
            if found:
                new = int(found[1]) - self._had - len(self.times)
                self.times += [time.monotonic()] * new


class Arrivals:
    """All mailboxes."""

    def __init__(self) -> None:
        self._watches: list[Watch] = []

    async def open(self, platform: Platform, addresses: Sequence[str]) -> None:
        """One after another: each login costs an argon2."""
        for address in addresses:
            reader, writer = await asyncio.open_connection(
                platform.host, platform.port("imaps"), ssl=platform.tls(), limit=LINE_OCTETS
            )
            watch = Watch(reader, writer)
            await watch.open(address)
            self._watches.append(watch)

    async def wait(self, count: int) -> None:
        """Until that many have come, or none for STALL_SECONDS."""
        seen, since = -1, time.monotonic()
        while (now_seen := sum(len(watch.times) for watch in self._watches)) < count:
            if now_seen != seen:
                seen, since = now_seen, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                return
            await asyncio.sleep(0.01)

    async def collect(self) -> dict[int, float]:
        """When each message was seen first; the watches go on."""
        found: dict[int, float] = {}
        for watch in self._watches:
            found.update(await watch.stop())
            await watch.resume()
        return found

    async def close(self) -> None:
        """Ends the sessions."""
        for watch in self._watches:
            await watch.stop()
            await watch.close()
