"""An SMTP client for load: pipelined transactions on several connections, each reply with its time."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from rig.mail import SENDER, Mail

PER_CONNECTION = 10
"""Messages before a client connects anew."""
ATTEMPTS = 3
PAUSE_SECONDS = 0.2


class RefusedError(Exception):
    """An answer that was not wanted."""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted message; times of the monotonic clock."""

    number: int
    began: float
    replied: float


class Load(msgspec.Struct, kw_only=True):
    """What a run brought."""

    sent: list[Sent]
    failures: Counter[str]
    began: float

    @property
    def accepted_per_second(self) -> float:
        return len(self.sent) / (max(one.replied for one in self.sent) - self.began) if self.sent else 0.0


class _Session:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.used = 0

    async def open(self) -> None:
        await self._expect("220")
        self._writer.write(f"EHLO mail.{SENDER}\r\n".encode())
        await self._expect("250")

    async def deliver(self, mail: Mail) -> None:
        self.used += 1
        commands = f"MAIL FROM:<{mail.reverse_path}>\r\nRCPT TO:<{mail.forward_path}>\r\nDATA\r\n"
        self._writer.write(commands.encode())
        for code in ("250", "250", "354"):
            await self._expect(code)
        self._writer.write(mail.content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        await self._expect("250")

    async def close(self) -> None:
        with contextlib.suppress(OSError, RefusedError):
            self._writer.write(b"QUIT\r\n")
            await self._expect("221")
        self._writer.close()

    async def _expect(self, code: str) -> None:
        while True:
            line = (await self._reader.readline()).decode(errors="replace")
            if line[3:4] != "-":
                break
        if line[:3] != code:
            raise RefusedError(line.strip() or "closed")


async def flood(host: str, port: int, mails: Sequence[Mail], connections: int) -> Load:
    """As fast as the server takes them."""
    queue: asyncio.Queue[Mail | None] = asyncio.Queue()
    for mail in mails:
        queue.put_nowait(mail)
    return await _run(host, port, queue, connections)


async def at_rate(host: str, port: int, mails: Sequence[Mail], connections: int, per_second: float) -> Load:
    """An open loop: a message is due whether or not those before it are done."""
    queue: asyncio.Queue[Mail | None] = asyncio.Queue()

    async def feed() -> None:
        began = time.monotonic()
        for index, mail in enumerate(mails):
            await asyncio.sleep(max(0.0, began + index / per_second - time.monotonic()))
            queue.put_nowait(mail)
        for _ in range(connections):
            queue.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        group.create_task(feed())
        running = group.create_task(_run(host, port, queue, connections, ends=False))
    return running.result()


async def _run(
    host: str, port: int, queue: "asyncio.Queue[Mail | None]", connections: int, *, ends: bool = True
) -> Load:
    load = Load(sent=[], failures=Counter(), began=time.monotonic())
    if ends:
        for _ in range(connections):
            queue.put_nowait(None)
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_work(host, port, queue, load))
    return load


async def _work(host: str, port: int, queue: "asyncio.Queue[Mail | None]", load: Load) -> None:
    session: _Session | None = None
    while (mail := await queue.get()) is not None:
        began = time.monotonic()
        for _ in range(ATTEMPTS):
            try:
                if session is None:
                    session = _Session(*await asyncio.open_connection(host, port))
                    await session.open()
                await session.deliver(mail)
            except (OSError, RefusedError) as error:
                load.failures[f"{type(error).__name__}: {str(error)[:80]}"] += 1
                session = None
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                load.sent.append(Sent(number=mail.number, began=began, replied=time.monotonic()))
                break
        if session is not None and session.used >= PER_CONNECTION:
            await session.close()
            session = None
    if session is not None:
        await session.close()
