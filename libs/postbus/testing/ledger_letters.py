"""The fake of delivery's `Letters`."""

from collections.abc import Sequence

import msgspec

from postbus.contracts.events import Event
from postbus.testing.ledger import MemoryLedger
from postbus.testing.queue import MemoryQueue
from postbusd.delivery.ledger.ports import Letter
from postbusd.delivery.outbound.queue import Outgoing
from postbusd.delivery.ports import LedgerEntry


class MemoryLetters:
    """Over the ledger's letters; events and outgoing copies go to the queue's."""

    def __init__(self, ledger: MemoryLedger, queue: MemoryQueue) -> None:
        self._ledger = ledger
        self._queue = queue

    async def page(self, after: int, limit: int) -> list[Letter]:
        """By number."""
        await self._ledger.check()
        return [self._read(number) for number in sorted(self._ledger.letters) if number > after][:limit]

    async def letter(self, number: int) -> Letter | None:
        """One."""
        await self._ledger.check()
        return self._read(number) if number in self._ledger.letters else None

    async def count(self) -> int:
        """All."""
        await self._ledger.check()
        return len(self._ledger.letters)

    async def amend(self, number: int, payload: bytes, reason: str) -> None:
        """Letter and row."""
        await self._ledger.check()
        if number in self._ledger.letters:
            letter = self._ledger.letters[number]
            self._ledger.letters[number] = msgspec.structs.replace(letter, payload=payload, reason=reason)
            self._ledger.entries[number] = msgspec.structs.replace(self._ledger.entries[number], detail=reason)

    async def release(
        self, entry: LedgerEntry, outgoing: Sequence[Outgoing], events: Sequence[Event], now_ms: int
    ) -> bool:
        """Row, copies, events; the letter goes."""
        await self._ledger.check()
        number = entry.stream_sequence
        if self._ledger.letters.pop(number, None) is None:
            return False
        if outgoing:
            await self._queue.enter([], outgoing, now_ms)
        self._queue.events.extend(events)
        row = self._ledger.entries[number]
        self._ledger.put(
            number,
            msgspec.structs.replace(
                row,
                accounted=entry.accounted,
                detail=entry.detail,
                placements=entry.placements or row.placements,
            ),
        )
        for each in outgoing:
            self._queue.settle(each.message.queue_id)
        return True

    def _read(self, number: int) -> Letter:
        letter = self._ledger.letters[number]
        return Letter(
            number=number,
            queue_id=letter.queue_id,
            reason=letter.reason,
            held_ms=self._ledger.held_ms[number],
            payload=letter.payload,
        )
