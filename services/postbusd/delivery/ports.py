"""What delivery needs beyond the shared ports."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from postbus.contracts.delivery import Accounted, Placement
from postbus.contracts.directory import Resolution
from postbus.core.ids import QueueId


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """How one message of the stream was accounted for (promise 1)."""

    stream_sequence: int
    queue_id: QueueId
    accounted: Accounted
    accepted_ms: int
    detail: str = ""
    placements: tuple[Placement, ...] = ()
    traceparent: str = ""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that can't be delivered and must not be lost."""

    stream_sequence: int
    queue_id: QueueId
    reason: str
    payload: bytes
    """The `mail.accepted` as it came from the bus."""


class Ledger(Protocol):
    """The book of everything that the bus handed to us. Raises MailError: UNAVAILABLE."""

    async def record(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """Notes the entries; a sequence that is there already stays as it is.

        Returns the entries whose sequence stands there with another queue_id: an alarm.
        """
        ...

    async def hold(self, letters: Sequence[DeadLetter]) -> None:
        """Keeps dead letters and notes them as held, in one transaction."""
        ...

    async def find(self, queue_id: QueueId) -> LedgerEntry | None:
        """The entry of a message."""
        ...

    async def check(self) -> None:
        """Readiness."""
        ...


class Expansions(Protocol):
    """What delivery resolved itself, so that every later pass comes to the same destinations (architecture §3.5).

    Raises MailError: UNAVAILABLE.
    """

    async def find(self, queue_id: QueueId) -> tuple[Resolution, ...] | None:
        """What is pinned for a message, if anything is."""
        ...

    async def pin(self, queue_id: QueueId, resolutions: Sequence[Resolution], now_ms: int) -> tuple[Resolution, ...]:
        """Pins these unless others are pinned already; those that hold."""
        ...

    async def trim(self, before_ms: int) -> None:
        """Forgets what was pinned before, but for dead letters."""
        ...
