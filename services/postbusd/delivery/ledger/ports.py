"""What the books need of the database. All raise MailError: UNAVAILABLE."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from postbus.bus.ports import MailState
from postbus.contracts.events import Event
from postbus.core.ids import QueueId
from postbusd.delivery.ledger.values import Reading, Span, Survey, Volume
from postbusd.delivery.outbound.queue import Outgoing
from postbusd.delivery.ports import LedgerEntry


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What an administrator closes."""

    actor: str
    reason: str
    missing: tuple[Span, ...]
    """Numbers without a row that no stream holds any more; nobody knows their queue ids."""
    deleted: int
    """Messages lost inside the stream."""
    alarms: tuple[str, ...]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a keeper leaves to the next look."""

    volume: int
    last_sequence: int
    last_stored_ns: int
    verified: int
    deletions: int
    """Of the reading: who has read before others deleted rows has verified nothing."""


class Books(Protocol):
    """The port of who balances the books."""

    async def survey(self) -> Survey:
        """What the stream must have; ask before the stream's state."""
        ...

    async def open_volume(self, volume: Volume) -> bool:
        """Opens this volume unless somebody else has; its offset is found here. What its messages were recorded as
        before moves to their own numbers."""
        ...

    async def read(self, state: MailState, limit: int) -> Reading:
        """All of one snapshot, for a `state` that is older; up to `limit` open clashes."""
        ...

    async def note(self, keeper: str, seconds: float, seen: "Seen") -> bool:
        """Notes what was seen and verified; False and nothing noted while another keeper's lease lasts.

        Takes or renews the lease for `seconds`.
        """
        ...

    async def settle(self, settlement: Settlement) -> int:
        """Writes off what is missing still, closes clashes and alarms, keeps who and why; the number written off."""
        ...

    async def trim(self, before_ms: int, limit: int) -> bool:
        """Folds old rows into counts, `limit` numbers at a time; False: nothing is left to do."""
        ...


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as it is kept."""

    number: int
    queue_id: QueueId
    reason: str
    held_ms: int
    payload: bytes


class Letters(Protocol):
    """The port of who retries and discards dead letters."""

    async def page(self, after: int, limit: int) -> list[Letter]:
        """In the order of their numbers."""
        ...

    async def letter(self, number: int) -> Letter | None:
        """One of them."""
        ...

    async def count(self) -> int:
        """All of them."""
        ...

    async def amend(self, number: int, payload: bytes, reason: str) -> None:
        """Keeps where its forward_paths lead now, or why it still can't be delivered."""
        ...

    async def release(
        self, entry: LedgerEntry, outgoing: Sequence[Outgoing], events: Sequence[Event], now_ms: int
    ) -> bool:
        """It is accounted as `entry` says, by number, its outgoing copies are entered, the letter is gone: at once.

        False and nothing written: there is no such letter any more.
        """
        ...
