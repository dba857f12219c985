"""A bus in memory: the fake of `postbus.bus.ports.Bus`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from postbus.bus.codec import decode_value, encode_value
from postbus.bus.mail_stream import ReadMail, decode_mail
from postbus.bus.ports import Handler, MailDelivery, MailState, Value
from postbus.bus.subjects import rate_subject
from postbus.contracts.events import Event, EventBatch, MailAccepted
from postbus.core.errors import MailError

STREAM_MADE_MS = 1_790_000_000_000
NS_PER_MS = 1_000_000


class FakeMailDelivery:
    """A message of a FakeBus; `acked` and `retries` tell what was answered."""

    def __init__(self, payload: bytes, stream_sequence: int, attempt: int = 1, stored_ns: int = 0) -> None:
        self.payload = payload
        self.stream_sequence = stream_sequence
        self.attempt = attempt
        self.stored_ns = stored_ns or STREAM_MADE_MS * NS_PER_MS + stream_sequence
        self.acked = False
        self.retries: list[float] = []
        self.heartbeats = 0
        self.accepted: MailAccepted | None = decode_mail(payload)
        self.on_ack: Callable[[int], None] | None = None

    async def ack(self) -> None:
        """Notes it."""
        self.acked = True
        if self.on_ack is not None:
            self.on_ack(self.stream_sequence)

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
        self.created_ms = STREAM_MADE_MS
        self.first_sequence = 1
        self.times: list[int] = []
        """When the stream took each message, Unix nanoseconds."""
        self.acked: set[int] = set()
        self.lost: set[int] = set()
        """Sequences that the stream has lost although it still holds earlier ones."""
        self._fetched = 0
        self._time_ns = 0
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
        self._time_ns = max(self._time_ns, self.created_ms * NS_PER_MS) + 1
        self.times.append(self._time_ns)
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
        return [self._delivery(sequence) for sequence in range(first + 1, self._fetched + 1) if self._holds(sequence)]

    async def mail_state(self) -> MailState:
        """As a server tells it."""
        self._check()
        last = len(self.mail)
        deleted = tuple(sorted(sequence for sequence in self.lost if self.first_sequence <= sequence <= last))
        floor = self.first_sequence - 1
        while floor < last and (floor + 1 in self.acked or floor + 1 in self.lost):
            floor += 1
        return MailState(
            created_ms=self.created_ms,
            first_sequence=self.first_sequence,
            last_sequence=last,
            ack_floor=floor,
            deleted=len(deleted),
            deleted_sequences=deleted,
            last_stored_ns=self.stored_ns(last) if last >= self.first_sequence else 0,
        )

    async def read_mail(self, stream_sequence: int) -> MailDelivery | None:
        """Beside the consumer."""
        self._check()
        if not self._holds(stream_sequence):
            return None
        payload = encode_value(self.mail[stream_sequence - 1])
        return ReadMail(payload, stream_sequence, self.stored_ns(stream_sequence))

    async def trim_mail(self) -> int:
        """Nothing is ever old."""
        self._check()
        return 0

    def redeliver_mail(self) -> list[FakeMailDelivery]:
        """What was fetched and not acknowledged, once more."""
        sequences = range(1, self._fetched + 1)
        return [self._delivery(each) for each in sequences if self._holds(each) and each not in self.acked]

    def purge_mail(self, below: int) -> None:
        """As a trim does: the stream begins at `below`."""
        self.first_sequence = max(self.first_sequence, below)

    def remake_mail(self) -> None:
        """The stream is deleted and made anew, later than anything that the old one took."""
        self.created_ms += 1_000_000
        self.mail, self.times, self._fetched, self.first_sequence = [], [], 0, 1
        self.acked, self.lost = set(), set()

    def restore_mail(self, last: int) -> None:
        """The stream goes back to the time when it had taken `last` messages; what it takes from now on is younger."""
        self.mail, self.times = self.mail[:last], self.times[:last]
        self.first_sequence = min(self.first_sequence, last + 1)
        self._fetched = min(self._fetched, last)
        self.acked = {sequence for sequence in self.acked if sequence <= last}
        self.lost = {sequence for sequence in self.lost if sequence <= last}

    def stored_ns(self, sequence: int) -> int:
        """When the stream took it."""
        return self.times[sequence - 1] if sequence <= len(self.times) else 0

    def _holds(self, sequence: int) -> bool:
        return self.first_sequence <= sequence <= len(self.mail) and sequence not in self.lost

    def _delivery(self, sequence: int) -> FakeMailDelivery:
        payload = encode_value(self.mail[sequence - 1])
        delivery = FakeMailDelivery(payload, sequence, stored_ns=self.stored_ns(sequence))
        delivery.on_ack = self.acked.add
        return delivery

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
