"""The bus as services see it. `postbus.bus.nats.NatsBus` implements all of it; `postbus.testing` has a fake."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from postbus.contracts.events import Event, MailAccepted

Value = TypeVar("Value", bound=msgspec.Struct)
Handler = Callable[[Value], Awaitable[None]]


class MailPublisher(Protocol):
    """The port of smtp-edge, and of delivery for its own DSNs."""

    async def publish_mail(self, accepted: MailAccepted) -> int:
        """The stream sequence of the durable message, republished with the same id for up to REPUBLISH_SECONDS.

        Raises MailError: UNAVAILABLE; the message may then still be on the stream, and a later publish with the same
        queue_id is no double.
        """
        ...


class MailDelivery(Protocol):
    """One `mail.accepted` in delivery's hands."""

    accepted: MailAccepted | None
    """None: it can't be decoded; `payload` goes to the dead letters."""
    payload: bytes
    stream_sequence: int
    attempt: int
    """1 at the first try."""
    stored_ns: int
    """When the stream took it, Unix nanoseconds: grows with the sequence, and never changes."""

    async def ack(self) -> None:
        """Done: the bus has noted it when this returns (double ack)."""
        ...

    async def retry(self, seconds: float) -> None:
        """Not before `seconds` again; only for an absent database."""
        ...

    async def heartbeat(self) -> None:
        """Still at it: moves the ack deadline."""
        ...


class MailState(msgspec.Struct, frozen=True, kw_only=True):
    """Stream MAIL and delivery's consumer at one moment (the consumer is read first)."""

    created_ms: int
    """Of the stream: Unix milliseconds. A stream that was made anew has another."""
    first_sequence: int
    last_sequence: int
    """The last one given out; 0: none."""
    ack_floor: int
    """Every sequence up to here is acknowledged."""
    deleted: int
    """Messages between first and last that the stream lost: 0, or the stream is damaged."""
    deleted_sequences: tuple[int, ...] = ()
    """Which ones, the first ten thousand."""
    last_stored_ns: int = 0
    """When the stream took its last message, Unix nanoseconds; 0: it holds none."""


class MailConsumer(Protocol):
    """The port of delivery: a durable pull consumer with max_deliver -1 and an explicit max_ack_pending."""

    async def fetch_mail(self, limit: int, wait_seconds: float) -> Sequence[MailDelivery]:
        """Up to `limit` messages, empty after `wait_seconds` without any. Raises MailError: UNAVAILABLE."""
        ...

    async def mail_state(self) -> MailState:
        """The stream and its consumer as they are now. Raises MailError: UNAVAILABLE."""
        ...

    async def read_mail(self, stream_sequence: int) -> MailDelivery | None:
        """A message that the stream still holds, beside the consumer: its `ack`, `retry` and `heartbeat` do nothing.

        None: the stream holds it no more. Raises MailError: UNAVAILABLE.
        """
        ...

    async def trim_mail(self) -> int:
        """Purges what lies below the ack floor and is older than the replay window; the number of messages purged."""
        ...


class EventBus(Protocol):
    """The event log's road: batches, durable."""

    async def publish_events(self, events: Sequence[Event]) -> None:
        """One durable batch. Raises MailError: UNAVAILABLE."""
        ...

    async def consume_events(self, handler: Callable[[Sequence[Event]], Awaitable[None]]) -> None:
        """Hands batches to `handler` until cancelled; acknowledges after it returns, redelivers when it raises."""
        ...


class WakeUps(Protocol):
    """Core NATS: may be lost, costs nothing to miss."""

    async def wake(self, subject: str, value: msgspec.Struct) -> None:
        """Publishes and forgets; never raises for an absent bus."""
        ...

    async def listen(self, subject: str, kind: type[Value], handler: Handler[Value]) -> Callable[[], Awaitable[None]]:
        """Calls `handler` for each value; returns the unsubscriber. A malformed payload is logged and skipped."""
        ...

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """After a reconnect wake-ups may have been missed: re-check."""
        ...


class Counting(Protocol):
    """Rates that hold for the whole installation, whichever process counts (architecture §2)."""

    async def count(self, key: str, amount: int, window_seconds: int) -> int:
        """Adds `amount` to the counter of `key` in the current window; its total after that.

        Windows are fixed: they begin at whole multiples of `window_seconds` of Unix time, and no longer than a day.
        `key` is one or more tokens of letters, digits, `-`, `_` and `:`, joined by dots. A count may be lost with the
        bus; it is never told twice. Raises MailError: UNAVAILABLE, at once while there is no connection.
        """
        ...


class Bus(MailPublisher, MailConsumer, EventBus, WakeUps, Counting, Protocol):
    """All of it."""
