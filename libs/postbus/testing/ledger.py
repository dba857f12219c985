"""The fake of delivery's `Ledger` port and the contract that it shares with Postgres."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from postbus.contracts.delivery import Accounted, Placement
from postbus.core.errors import MailError
from postbus.core.ids import MailboxId, QueueId, new_queue_id
from postbusd.delivery.ports import DeadLetter, LedgerEntry

if TYPE_CHECKING:
    from postbusd.delivery.ports import Ledger


class MemoryLedger:
    """A ledger in a dict; `fail_with` makes it an absent database."""

    def __init__(self) -> None:
        self.entries: dict[int, LedgerEntry] = {}
        self.letters: dict[int, DeadLetter] = {}
        self.fail_with: MailError | None = None

    async def check(self) -> None:
        """Fails when told to."""
        if self.fail_with is not None:
            raise self.fail_with

    async def record(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """First come, first noted."""
        await self.check()
        return [
            entry
            for entry in entries
            if self.entries.setdefault(entry.stream_sequence, entry).queue_id != entry.queue_id
        ]

    async def hold(self, letters: Sequence[DeadLetter]) -> None:
        """Letter and entry."""
        await self.check()
        for letter in letters:
            self.letters.setdefault(letter.stream_sequence, letter)
            entry = LedgerEntry(
                stream_sequence=letter.stream_sequence,
                queue_id=letter.queue_id,
                accounted=Accounted.HELD,
                accepted_ms=0,
                detail=letter.reason,
            )
            self.entries.setdefault(letter.stream_sequence, entry)

    async def find(self, queue_id: QueueId) -> LedgerEntry | None:
        """By queue_id."""
        await self.check()
        return next((entry for entry in self.entries.values() if entry.queue_id == queue_id), None)


class LedgerContract:
    """Run on the fake in tests/ and on Postgres in integration/: subclasses give a fixture `ledger`."""

    @staticmethod
    def entry(sequence: int, queue_id: QueueId) -> LedgerEntry:
        """An entry with a placement."""
        placement = Placement(
            mailbox_id=MailboxId("0190a000-0000-7000-8000-000000000001"),
            address="alice@demo.example",
            folder="INBOX",
            uid=7,
        )
        return LedgerEntry(
            stream_sequence=sequence,
            queue_id=queue_id,
            accounted=Accounted.FOLDER,
            accepted_ms=1_795_000_000_123,
            placements=(placement,),
            traceparent="00-1-2-01",
        )

    async def test_an_entry_is_found_again(self, ledger: "Ledger") -> None:
        """All its fields survive."""
        entry = self.entry(1, new_queue_id(1))
        assert await ledger.record([entry]) == []
        assert await ledger.find(entry.queue_id) == entry
        assert await ledger.find(QueueId("NOBODY")) is None

    async def test_a_sequence_is_noted_once_and_a_clash_is_told(self, ledger: "Ledger") -> None:
        """The same message again is nothing; another one is an alarm."""
        entry, other = self.entry(2, new_queue_id(2)), self.entry(2, new_queue_id(3))
        assert await ledger.record([entry]) == []
        assert await ledger.record([entry]) == []
        assert await ledger.record([other]) == [other]
        assert await ledger.find(other.queue_id) is None

    async def test_a_dead_letter_is_accounted_as_held(self, ledger: "Ledger") -> None:
        """Held once, whatever comes later."""
        queue_id = new_queue_id(4)
        letter = DeadLetter(stream_sequence=4, queue_id=queue_id, reason="gone", payload=b"\x00raw")
        await ledger.hold([letter])
        await ledger.hold([letter])
        assert await ledger.record([self.entry(4, queue_id)]) == []
        found = await ledger.find(queue_id)
        assert found is not None
        assert (found.accounted, found.detail) == (Accounted.HELD, "gone")
