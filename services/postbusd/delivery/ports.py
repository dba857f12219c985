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
    """When recorded, the stream's; when read, the number of the book (`ledger.values`), which is the same as long as
    the stream is the first one."""
    queue_id: QueueId
    accounted: Accounted
    accepted_ms: int
    detail: str = ""
    placements: tuple[Placement, ...] = ()
    traceparent: str = ""
    stored_ns: int = 0
    """When the stream took it, Unix nanoseconds; 0: not known."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that can't be delivered and must not be lost."""

    stream_sequence: int
    queue_id: QueueId
    reason: str
    payload: bytes
    """The `mail.accepted` as it came from the bus."""
    accepted_ms: int = 0
    placements: tuple[Placement, ...] = ()
    """Of the copies that could be placed."""
    traceparent: str = ""
    stored_ns: int = 0


class Ledger(Protocol):
    """The book of everything that the bus handed to us. Raises MailError: UNAVAILABLE."""

    async def record(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """Notes the entries; a sequence that is there already stays as it is, unless it was written off as missing.

        Returns the entries whose sequence stands there with another queue_id: an alarm. They are noted beside it.
        """
        ...

    async def hold(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Keeps dead letters and notes them as held, in one transaction; nothing when they are accounted for already.

        Returns those whose sequence stands there with another queue_id.
        """
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
