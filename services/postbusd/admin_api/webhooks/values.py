"""What webhooks are made of."""

import enum

import msgspec

from postbus.contracts.events import Event, EventType


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where which events are told."""

    name: str
    url: str
    types: tuple[EventType, ...] = ()
    """Empty: all."""
    domain: str = ""
    """Only events of this domain; empty: all."""
    active: bool = True
    """Off: events of that time are not told later."""


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What messages are signed with; sealed in the store."""

    current: bytes
    former: bytes | None = None
    """The one before a rotation."""
    former_until_ms: int = 0


class WebhookState(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook and how it is doing."""

    webhook: Webhook
    waiting: int
    dead: int
    failures: int
    """In a row."""
    paused_until_ms: int
    """0: not paused."""
    last_outcome: str
    """Of the last attempt; empty: there was none."""
    last_ms: int


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """An event that this process is to tell now."""

    sequence: int
    attempts: int
    """That failed before."""
    event: Event


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What one webhook has to tell."""

    webhook: Webhook
    secrets: Secrets
    failures: int
    claimed: tuple[Claimed, ...]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a receiver."""

    headers: tuple[tuple[str, str], ...]
    """Beside those of HTTP itself."""
    body: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request."""

    status: int
    """Of HTTP; 0: there was no answer."""
    text: str
    """For administrators: what the receiver said, or why there was no answer."""
    retry_after_seconds: float = 0.0

    @property
    def is_told(self) -> bool:
        """The receiver has it."""
        return 200 <= self.status < 300


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to write of an attempt."""

    sequence: int
    told: bool
    dead: bool = False
    due_ms: int = 0
    outcome: str = ""
    pause_until_ms: int = 0
    """Of the whole webhook; 0: it goes on."""


class DeliveryState(enum.StrEnum):
    """Of what is still to be told."""

    WAITING = "waiting"
    DEAD = "dead"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a webhook has not told yet, or has given up."""

    sequence: int
    event: Event
    state: DeliveryState
    attempts: int
    due_ms: int
    outcome: str
