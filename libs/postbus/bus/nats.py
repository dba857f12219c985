"""`postbus.bus.ports` on NATS: one connection a service, with its own user and inbox prefix (architecture §6).

The connection is made in the background and for ever again: a service starts without the bus, and every call tells
UNAVAILABLE until it is there.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import Header

from postbus.bus.codec import decode_value, encode_value
from postbus.bus.mail_stream import decode_mail, read_message, read_state, stored_ns
from postbus.bus.ports import Handler, MailDelivery, MailState, Value
from postbus.bus.pull import PullConsumer, PulledMessage
from postbus.bus.subjects import (
    CONSUMER_ADMIN_API,
    CONSUMER_DELIVERY,
    REPLAY_WINDOW_HOURS,
    REPUBLISH_SECONDS,
    STREAM_EVENT,
    STREAM_MAIL,
    STREAM_RATES,
    SUBJECT_EVENT,
    SUBJECT_MAIL_ACCEPTED,
    rate_subject,
)
from postbus.contracts.events import Event, EventBatch, MailAccepted
from postbus.core.errors import ErrorKind, MailError
from postbus.core.trace import HEADER, current_trace

log = logging.getLogger(__name__)

PUBACK_SECONDS = 5.0
"""How long one publish waits for its PubAck before it is repeated."""
COUNT_SECONDS = 1.0
"""How long a count waits for its total."""
CONNECT_SECONDS = 2
RECONNECT_SECONDS = 0.2
PING_SECONDS = 5
MAX_UNANSWERED_PINGS = 2
"""A server that hangs, or whose host is gone without a word, is known as away after three intervals."""
MAX_PAYLOAD_OCTETS = 4 * 1024 * 1024
"""nats-server's max_payload in our configurations; a MailAccepted that exceeds it goes without its scan."""
MAX_EVENT_RETRY_SECONDS = 16.0
"""Doubled from one second at each attempt: an outage of the event log's database must not be a storm."""
_INCREMENT = "Nats-Incr"

BusError = (nats.errors.Error, TimeoutError, OSError)


class NatsBus:
    """All of `postbus.bus.ports.Bus`."""

    def __init__(self, url: str, service: str, password: str) -> None:
        """`service` is the user name, and `_INBOX_<service>` the inbox prefix."""
        self._url = url
        self._service = service
        self._password = password
        self._client = Client()
        self._connected = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None
        self._closing = False
        self._failing = ""
        """The last connection error that was logged: an outage is told once, not at every attempt."""
        self._reconnected: list[Callable[[], Awaitable[None]]] = []
        self._mail: PullConsumer | None = None

    def start(self) -> None:
        """Begins to connect, without waiting."""
        self._connecting = asyncio.create_task(self._connect(), name="bus-connect")

    async def close(self) -> None:
        """Flushes what is under way and disconnects."""
        self._closing = True
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._mail is not None:
            await self._mail.close()
        if self._client.is_connected:
            try:
                await self._client.flush(1)
            except BusError:
                log.warning("bus.flush.failed")
        if self._connected.is_set():
            await self._client.close()

    async def check(self) -> None:
        """Readiness: raises MailError while there is no connection."""
        if not self._client.is_connected:
            raise MailError(ErrorKind.UNAVAILABLE, "bus: not connected")

    async def _connect(self) -> None:
        while True:
            try:
                await self._client.connect(
                    self._url,
                    user=self._service,
                    password=self._password,
                    name=self._service,
                    inbox_prefix=f"_INBOX_{self._service}",
                    connect_timeout=CONNECT_SECONDS,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=MAX_UNANSWERED_PINGS,
                    reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]  # a float works: it is slept
                    max_reconnect_attempts=-1,
                    reconnected_cb=self._on_reconnect,
                    disconnected_cb=self._on_disconnect,
                    error_cb=self._on_error,
                )
            except BusError as error:
                await self._on_error(error)
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                self._connected.set()
                self._failing = ""
                log.info("bus.connected")
                return

    async def _on_reconnect(self) -> None:
        log.info("bus.reconnected")
        self._failing = ""
        for callback in self._reconnected:
            await callback()

    async def _on_disconnect(self) -> None:
        log.log(logging.INFO if self._closing else logging.WARNING, "bus.disconnected")

    async def _on_error(self, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if reason != self._failing:
            self._failing = reason
            log.warning("bus.error", extra={"reason": reason})

    async def _ready(self, seconds: float) -> Client:
        if not self._connected.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._connected.wait()
            except TimeoutError as error:
                raise MailError(ErrorKind.UNAVAILABLE, "bus: not connected") from error
        return self._client

    # MailPublisher

    async def publish_mail(self, accepted: MailAccepted) -> int:
        """See `MailPublisher.publish_mail`."""
        payload = encode_value(accepted)
        if len(payload) > MAX_PAYLOAD_OCTETS:
            payload = encode_value(msgspec.structs.replace(accepted, scan=b""))
        headers = {Header.MSG_ID: str(accepted.queue_id), HEADER: accepted.traceparent}
        deadline = time.monotonic() + REPUBLISH_SECONDS
        while True:
            try:
                return await self._publish(STREAM_MAIL, SUBJECT_MAIL_ACCEPTED, payload, headers)
            except nats.js.errors.APIError as error:
                # The stream answered: it is full, or sealed. It will not change its mind within the session.
                raise MailError(ErrorKind.UNAVAILABLE, f"bus: {error.description}") from error
            except BusError as error:
                if time.monotonic() >= deadline:
                    raise MailError(ErrorKind.UNAVAILABLE, "bus: no acknowledgement") from error
                log.warning("bus.mail.republish", extra={"queue_id": accepted.queue_id, "reason": type(error).__name__})
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _publish(self, stream: str, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        client = await self._ready(PUBACK_SECONDS)
        ack = await client.jetstream().publish(subject, payload, PUBACK_SECONDS, stream, headers)
        return ack.seq

    # MailConsumer

    async def fetch_mail(self, limit: int, wait_seconds: float) -> Sequence[MailDelivery]:
        """See `MailConsumer.fetch_mail`."""
        client = await self._ready(wait_seconds)
        if self._mail is None:
            self._mail = PullConsumer(client, STREAM_MAIL, CONSUMER_DELIVERY, limit)
            await self._mail.open()
            self._reconnected.append(self._mail.forget_requests)
        return [_MailDelivery(message) for message in await self._mail.fetch(limit, wait_seconds)]

    async def mail_state(self) -> MailState:
        """See `MailConsumer.mail_state`."""
        return await read_state(await self._ready(PUBACK_SECONDS))

    async def read_mail(self, stream_sequence: int) -> MailDelivery | None:
        """See `MailConsumer.read_mail`."""
        return await read_message(await self._ready(PUBACK_SECONDS), stream_sequence)

    async def trim_mail(self) -> int:
        """See `MailConsumer.trim_mail`."""
        client = await self._ready(PUBACK_SECONDS)
        api = client.jetstream()
        try:
            floor = (await api.consumer_info(STREAM_MAIL, CONSUMER_DELIVERY)).ack_floor
            state = (await api.stream_info(STREAM_MAIL)).state
            low, high = state.first_seq, (floor.stream_seq if floor else 0) + 1
            limit = time.time() - REPLAY_WINDOW_HOURS * 3600
            while low < high:
                middle = (low + high) // 2
                found = (await api.get_msg(STREAM_MAIL, seq=middle)).time
                if found is not None and found.timestamp() < limit:
                    low = middle + 1
                else:
                    high = middle
            if low == state.first_seq:
                return 0
            await api.purge_stream(STREAM_MAIL, seq=low)
        except BusError as error:
            raise MailError(ErrorKind.UNAVAILABLE, f"bus: trim: {type(error).__name__}") from error
        return low - state.first_seq

    # EventBus

    async def publish_events(self, events: Sequence[Event]) -> None:
        """See `EventBus.publish_events`. The batch's id covers all its events: a repeated publish is no double."""
        if not events:
            return
        payload = encode_value(EventBatch(events=tuple(events)))
        if len(payload) > MAX_PAYLOAD_OCTETS and len(events) > 1:
            half = len(events) // 2
            await self.publish_events(events[:half])
            await self.publish_events(events[half:])
            return
        batch_id = hashlib.sha256("".join(event.event_id for event in events).encode()).hexdigest()
        try:
            await self._publish(STREAM_EVENT, SUBJECT_EVENT, payload, {Header.MSG_ID: batch_id})
        except BusError as error:
            raise MailError(ErrorKind.UNAVAILABLE, "bus: no acknowledgement") from error

    async def consume_events(self, handler: Callable[[Sequence[Event]], Awaitable[None]]) -> None:
        """See `EventBus.consume_events`."""
        while not self._connected.is_set():
            await self._connected.wait()
        consumer = PullConsumer(self._client, STREAM_EVENT, CONSUMER_ADMIN_API, 16)
        await consumer.open()
        self._reconnected.append(consumer.forget_requests)
        try:
            while True:
                for message in await consumer.fetch(16, 30.0):
                    await self._handle_events(message, handler)
        finally:
            self._reconnected.remove(consumer.forget_requests)
            await consumer.close()

    async def _handle_events(
        self, message: PulledMessage, handler: Callable[[Sequence[Event]], Awaitable[None]]
    ) -> None:
        try:
            batch = decode_value(message.payload, EventBatch)
        except MailError as error:
            log.error("bus.event.malformed", extra={"reason": error.detail, "stream_sequence": message.stream_sequence})
            await message.ack()
            return
        try:
            await handler(batch.events)
        except MailError as error:
            if message.attempt == 1:
                log.warning("bus.event.deferred", extra={"reason": str(error)})
            await message.retry(min(MAX_EVENT_RETRY_SECONDS, 2.0 ** min(message.attempt - 1, 16)))
        else:
            await message.ack()

    # Counting

    async def count(self, key: str, amount: int, window_seconds: int) -> int:
        """See `Counting.count`."""
        subject = rate_subject(key, window_seconds, int(time.time()))
        if not self._client.is_connected:
            raise MailError(ErrorKind.UNAVAILABLE, "bus: not connected")
        increment = {_INCREMENT: f"{amount:+d}"}
        try:
            ack = await self._client.jetstream().publish(subject, b"", COUNT_SECONDS, headers=increment)
        except BusError as error:
            raise MailError(ErrorKind.UNAVAILABLE, f"bus: count: {type(error).__name__}") from error
        if ack.val is None:
            raise MailError(ErrorKind.UNAVAILABLE, f"bus: count: {STREAM_RATES} is no stream of counters")
        return int(ack.val)

    # WakeUps

    async def wake(self, subject: str, value: msgspec.Struct) -> None:
        """See `WakeUps.wake`."""
        if not self._client.is_connected:
            return
        trace = current_trace()
        try:
            await self._client.publish(
                subject, encode_value(value), headers={HEADER: trace.format()} if trace else None
            )
        except BusError as error:
            log.info("bus.wake.lost", extra={"bus_subject": subject, "reason": type(error).__name__})

    async def listen(self, subject: str, kind: type[Value], handler: Handler[Value]) -> Callable[[], Awaitable[None]]:
        """See `WakeUps.listen`. Before the first connection it is only noted, and done when the bus is there."""

        async def on_message(message: Msg) -> None:
            try:
                value = decode_value(message.data, kind)
            except MailError as error:
                log.warning("bus.wake.malformed", extra={"bus_subject": subject, "reason": error.detail})
                return
            try:
                await handler(value)
            except MailError as error:
                log.warning("bus.wake.failed", extra={"bus_subject": subject, "reason": str(error)})

        if self._connected.is_set():
            return (await self._client.subscribe(subject, cb=on_message)).unsubscribe
        return _late_subscription(self._connected, self._client, subject, on_message)

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """See `WakeUps.on_reconnect`."""
        self._reconnected.append(callback)


def _late_subscription(
    connected: asyncio.Event, client: Client, subject: str, callback: Callable[[Msg], Awaitable[None]]
) -> Callable[[], Awaitable[None]]:
    """Subscribes as soon as the bus is there; returns the unsubscriber."""

    async def subscribe() -> None:
        await connected.wait()
        subscription = await client.subscribe(subject, cb=callback)
        unsubscribers.append(subscription.unsubscribe)

    unsubscribers: list[Callable[[], Awaitable[None]]] = []
    task = asyncio.create_task(subscribe(), name=f"bus-listen-{subject}")

    async def unsubscribe() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for undo in unsubscribers:
            await undo()

    return unsubscribe


class _MailDelivery:
    """A pulled message as delivery sees it."""

    def __init__(self, message: PulledMessage) -> None:
        self._message = message
        self.payload = message.payload
        self.stream_sequence = message.stream_sequence
        self.attempt = message.attempt
        self.stored_ns = stored_ns(message.reply)
        self.accepted = decode_mail(message.payload)
        if self.accepted is None:
            log.error("bus.mail.malformed", extra={"stream_sequence": message.stream_sequence})

    async def ack(self) -> None:
        """Waits until the bus has noted it."""
        await self._message.ack()

    async def retry(self, seconds: float) -> None:
        """Gives it back for later."""
        await self._message.retry(seconds)

    async def heartbeat(self) -> None:
        """Moves the ack deadline."""
        await self._message.heartbeat()
