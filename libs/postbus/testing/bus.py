"""A bus in memory: the fake of `postbus.bus.ports.Bus`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from postbus.bus.codec import decode_value, encode_value
from postbus.bus.ports import Handler, MailDelivery, Value
from postbus.bus.subjects import rate_subject
from postbus.contracts.events import Event, EventBatch, MailAccepted
from postbus.core.errors import MailError


class FakeMailDelivery:
    """A message of a FakeBus; `acked` and `retries` tell what was answered."""

    def __init__(self, payload: bytes, stream_sequence: int, attempt: int = 1) -> None:
        self.payload = payload
        self.stream_sequence = stream_sequence
        self.attempt = attempt
        self.acked = False
        self.retries: list[float] = []
        self.heartbeats = 0
        self.accepted: MailAccepted | None = None
        try:
            self.accepted = decode_value(payload, MailAccepted)
        except MailError:
            self.accepted = None

    async def ack(self) -> None:
        """Notes it."""
        self.acked = True

    async def retry(self, seconds: float) -> None:
        """Notes it."""
        self.retries.append(seconds)

    async def heartbeat(self) -> None:
        """Counts it."""
        self.heartbeats += 1


class FakeBus:
    """Everything in lists; `fail_with` makes durable publishes and fetches fail, wake-ups get lost."""

    def __init__(self) -> None:
        self.mail: list[MailAccepted] = []
        self.events: list[Event] = []
        self.wakes: list[tuple[str, msgspec.Struct]] = []
        self.counts: dict[tuple[str, int], int] = {}
        """Totals by key and window length; clear it when a window ends."""
        self.fail_with: MailError | None = None
        self.reconnect_callbacks: list[Callable[[], Awaitable[None]]] = []
        self._fetched = 0
        self._arrived = asyncio.Event()
        self._batches: asyncio.Queue[Sequence[Event]] = asyncio.Queue()
        self._listeners: dict[str, list[tuple[type[msgspec.Struct], Handler[Any]]]] = {}

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    async def publish_mail(self, accepted: MailAccepted) -> int:
        """The sequence; the same queue_id is stored once."""
        self._check()
        for sequence, known in enumerate(self.mail, 1):
            if known.queue_id == accepted.queue_id:
                return sequence
        self.mail.append(accepted)
        self._arrived.set()
        return len(self.mail)

    async def fetch_mail(self, limit: int, wait_seconds: float) -> Sequence[MailDelivery]:
        """Each message once."""
        self._check()
        if self._fetched == len(self.mail):
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        first = self._fetched
        self._fetched = min(len(self.mail), first + limit)
        return [
            FakeMailDelivery(encode_value(accepted), sequence)
            for sequence, accepted in enumerate(self.mail[first : self._fetched], first + 1)
        ]

    async def trim_mail(self) -> int:
        """Nothing is ever old."""
        self._check()
        return 0

    async def publish_events(self, events: Sequence[Event]) -> None:
        """Through the codec, as on the wire."""
        self._check()
        batch = decode_value(encode_value(EventBatch(events=tuple(events))), EventBatch)
        self.events.extend(batch.events)
        self._batches.put_nowait(batch.events)

    async def consume_events(self, handler: Callable[[Sequence[Event]], Awaitable[None]]) -> None:
        """Again and again until the handler takes it."""
        while True:
            batch = await self._batches.get()
            while True:
                try:
                    await handler(batch)
                    break
                except MailError:
                    await asyncio.sleep(0)

    async def count(self, key: str, amount: int, window_seconds: int) -> int:
        """The total in `counts`."""
        rate_subject(key, window_seconds, 0)
        self._check()
        self.counts[key, window_seconds] = total = self.counts.get((key, window_seconds), 0) + amount
        return total

    async def wake(self, subject: str, value: msgspec.Struct) -> None:
        """To all listeners at once; lost while `fail_with` is set."""
        if self.fail_with is not None:
            return
        self.wakes.append((subject, value))
        for pattern, listeners in list(self._listeners.items()):
            if pattern == subject or (pattern.endswith(".>") and subject.startswith(pattern[:-1])):
                for kind, handler in list(listeners):
                    if isinstance(value, kind):
                        await handler(value)

    async def listen(self, subject: str, kind: type[Value], handler: Handler[Value]) -> Callable[[], Awaitable[None]]:
        """Subjects may end in `.>`."""
        entry: tuple[type[msgspec.Struct], Handler[Any]] = (kind, handler)
        self._listeners.setdefault(subject, []).append(entry)

        async def unsubscribe() -> None:
            self._listeners[subject].remove(entry)

        return unsubscribe

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call `reconnect` to provoke it."""
        self.reconnect_callbacks.append(callback)

    async def reconnect(self) -> None:
        """Pretends that the connection was lost and is back."""
        for callback in self.reconnect_callbacks:
            await callback()
