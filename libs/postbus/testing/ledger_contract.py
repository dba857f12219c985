"""What every `Ledger`, `Books` and `Letters` does: run on the fakes in tests/ and on Postgres in integration/."""

from typing import TYPE_CHECKING

import msgspec

from postbus.bus.ports import MailState
from postbus.contracts.delivery import Accounted, GetLedgerReply, Placement
from postbus.core.ids import MailboxId, QueueId, new_queue_id
from postbus.testing.queue import NOW_MS, outgoing
from postbusd.delivery.ledger.balance import balance
from postbusd.delivery.ledger.ports import Seen, Settlement
from postbusd.delivery.ledger.values import FIRST_CLASH, Span, Volume
from postbusd.delivery.ports import DeadLetter, LedgerEntry

if TYPE_CHECKING:
    from postbusd.delivery.ledger.ports import Books, Letters
    from postbusd.delivery.outbound.queue import Queue
    from postbusd.delivery.ports import Ledger

MADE_MS = 1_790_000_000_000
MADE_NS = MADE_MS * 1_000_000
LATER_MS = MADE_MS + 500_000
LATER_NS = LATER_MS * 1_000_000
DAY_MS = 86_400_000
KEEPER = "keeper"
EMPTY_LEDGER = """
TRUNCATE delivery.ledger, delivery.dead_letter, delivery.ledger_clash, delivery.ledger_volume, delivery.ledger_trimmed,
    delivery.ledger_settlement;
DELETE FROM delivery.ledger_book;
INSERT INTO delivery.ledger_book DEFAULT VALUES
"""
"""What a test begins with, in SQL."""


def mail_entry(
    sequence: int, queue_id: str = "", accounted: Accounted = Accounted.FOLDER, made_ns: int = MADE_NS
) -> LedgerEntry:
    """Of the message that a stream made at `made_ns` took as its `sequence`."""
    return LedgerEntry(
        stream_sequence=sequence,
        queue_id=QueueId(queue_id or f"Q{sequence}"),
        accounted=accounted,
        accepted_ms=1_795_000_000_123,
        stored_ns=made_ns + sequence,
    )


def dead_letter(sequence: int, queue_id: str = "", made_ns: int = MADE_NS) -> DeadLetter:
    """Of the same message."""
    return DeadLetter(
        stream_sequence=sequence,
        queue_id=QueueId(queue_id or f"Q{sequence}"),
        reason="gone",
        payload=b"\x00raw",
        stored_ns=made_ns + sequence,
    )


def mail_state(last: int, floor: int, created_ms: int = MADE_MS, **facts: object) -> MailState:
    """A stream that holds all that it has taken."""
    state = MailState(
        created_ms=created_ms,
        first_sequence=1,
        last_sequence=last,
        ack_floor=floor,
        deleted=0,
        last_stored_ns=created_ms * 1_000_000 + last,
    )
    return msgspec.structs.replace(state, **facts)


def first_volume(**facts: object) -> Volume:
    """Of the stream of `mail_state`."""
    volume = Volume(
        volume=1,
        created_ms=MADE_MS,
        begins=1,
        since_ns=0,
        offset=0,
        last_sequence=0,
        last_stored_ns=0,
        opened_ms=NOW_MS,
    )
    return msgspec.structs.replace(volume, **facts)


def second_volume(**facts: object) -> Volume:
    """Of a stream that was made anew at LATER_MS."""
    told = first_volume(volume=2, created_ms=LATER_MS, since_ns=LATER_NS, alarm="another stream")
    return msgspec.structs.replace(told, **facts)


async def read_books(books: "Books", state: MailState) -> GetLedgerReply:
    """The sum as it stands; it always adds up."""
    reply = balance(state, await books.read(state, 100), NOW_MS, 100).reply
    ended = reply.folder + reply.queued + reply.held + reply.dsn + reply.written_off
    assert reply.accepted == ended + reply.unconsumed + reply.missing_count
    assert min(reply.folder, reply.unconsumed, reply.missing_count) >= 0
    return reply


async def note_all(books: "Books", state: MailState, keeper: str = KEEPER) -> bool:
    """As a keeper's look does."""
    reading = await books.read(state, 100)
    seen = Seen(
        volume=len(reading.volumes),
        last_sequence=state.last_sequence,
        last_stored_ns=state.last_stored_ns,
        verified=balance(state, reading, NOW_MS, 0).verified,
        deletions=reading.deletions,
    )
    return await books.note(keeper, 60, seen)


def missing_numbers(reply: GetLedgerReply) -> list[int]:
    """As listed."""
    return [each.stream_sequence for each in reply.missing]


class LedgerContract:
    """Subclasses give a fixture `ledger`, empty."""

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
            stored_ns=1_795_000_000_123_456_789,
        )

    async def test_an_entry_is_found_again(self, ledger: "Ledger") -> None:
        """All its fields survive."""
        entry = self.entry(1, new_queue_id(1))
        assert await ledger.record([entry]) == []
        assert await ledger.find(entry.queue_id) == entry
        assert await ledger.find(QueueId("NOBODY")) is None

    async def test_a_sequence_is_noted_once_and_a_clash_beside_it(self, ledger: "Ledger") -> None:
        """The same message again is nothing; another one is an alarm, and accounted for by a number of its own."""
        entry, other = self.entry(2, new_queue_id(2)), self.entry(2, new_queue_id(3))
        assert await ledger.record([entry, entry]) == []
        assert await ledger.record([entry]) == []
        for _ in range(2):
            assert await ledger.record([other]) == [other]
        assert await ledger.find(entry.queue_id) == entry
        beside = await ledger.find(other.queue_id)
        assert beside is not None
        assert beside.stream_sequence >= FIRST_CLASH
        assert msgspec.structs.replace(beside, stream_sequence=2) == other

    async def test_two_messages_of_one_batch_may_clash(self, ledger: "Ledger") -> None:
        """As after a restore of the stream that happens while a batch is in hand."""
        entry, other = self.entry(2, new_queue_id(2)), self.entry(2, new_queue_id(3))
        assert await ledger.record([entry, other]) == [other]
        assert await ledger.find(entry.queue_id) == entry
        assert await ledger.find(other.queue_id) is not None

    async def test_a_dead_letter_is_accounted_as_held(self, ledger: "Ledger") -> None:
        """Held once, whatever comes later."""
        queue_id = new_queue_id(4)
        letter = dead_letter(4, queue_id)
        assert await ledger.hold([letter]) == []
        assert await ledger.hold([letter]) == []
        assert await ledger.record([self.entry(4, queue_id)]) == []
        found = await ledger.find(queue_id)
        assert found is not None
        assert (found.accounted, found.detail) == (Accounted.HELD, "gone")


class BooksContract:
    """Subclasses give the fixtures `ledger` and `books`, which belong together, both empty."""

    async def test_nobody_has_opened_the_book(self, ledger: "Ledger", books: "Books") -> None:
        """What older versions recorded is known."""
        survey = await books.survey()
        assert (survey.volumes, survey.highest) == ((), 0)
        await ledger.record([mail_entry(3)])
        survey = await books.survey()
        assert (survey.highest, survey.highest_stored_ns) == (3, MADE_NS + 3)
        assert await books.open_volume(first_volume())
        assert not await books.open_volume(first_volume())
        assert (await books.survey()).volumes == (first_volume(),)

    async def test_every_number_is_somewhere(self, ledger: "Ledger", books: "Books") -> None:
        """Rows by outcome, what is still on the bus, what is missing."""
        await books.open_volume(first_volume())
        await ledger.record([mail_entry(1), mail_entry(2, accounted=Accounted.QUEUED), mail_entry(5)])
        await ledger.hold([dead_letter(4)])
        reply = await read_books(books, mail_state(9, floor=5))
        assert (reply.folder, reply.queued, reply.held, reply.unconsumed) == (2, 1, 1, 4)
        assert missing_numbers(reply) == [3]
        assert reply.alarms == ()

    async def test_beyond_the_floor_a_row_counts_and_the_stream_has_the_rest(
        self, ledger: "Ledger", books: "Books"
    ) -> None:
        """Acknowledged out of order, purged and lost."""
        await books.open_volume(first_volume())
        await ledger.record([mail_entry(sequence) for sequence in (1, 2, 5, 7)])
        state = mail_state(10, floor=2, first_sequence=4, deleted=3, deleted_sequences=(5, 6, 9))
        reply = await read_books(books, state)
        assert (reply.folder, reply.unconsumed) == (4, 3)
        assert missing_numbers(reply) == [3, 6, 9]
        assert reply.alarms == ("the stream has lost 3 messages between its first and its last: it is damaged",)

    async def test_what_is_younger_than_the_state_does_not_count(self, ledger: "Ledger", books: "Books") -> None:
        """Accepted and delivered since."""
        await books.open_volume(first_volume())
        await ledger.record([mail_entry(sequence) for sequence in (1, 2, 3)])
        reply = await read_books(books, mail_state(2, floor=2))
        assert (reply.accepted, reply.folder) == (2, 2)

    async def test_what_was_verified_is_not_looked_at_again_but_counted(self, ledger: "Ledger", books: "Books") -> None:
        """The same sum before and after."""
        await books.open_volume(first_volume())
        await ledger.record([mail_entry(sequence) for sequence in (1, 2, 4)])
        await ledger.hold([dead_letter(3)])
        state = mail_state(6, floor=4)
        before = await read_books(books, state)
        assert await note_all(books, state)
        assert (await books.read(state, 0)).verified == 4
        assert await read_books(books, state) == before
        (volume,) = (await books.survey()).volumes
        assert (volume.last_sequence, volume.last_stored_ns) == (6, MADE_NS + 6)

    async def test_a_gap_is_not_verified(self, ledger: "Ledger", books: "Books") -> None:
        """Until the message is found: then all behind it is."""
        await books.open_volume(first_volume())
        await ledger.record([mail_entry(sequence) for sequence in (1, 3, 4)])
        state = mail_state(4, floor=4)
        await note_all(books, state)
        assert (await books.read(state, 0)).verified == 1
        await ledger.record([mail_entry(2)])
        await note_all(books, state)
        assert (await books.read(state, 0)).verified == 4

    async def test_one_keeper_at_a_time(self, books: "Books") -> None:
        """By a lease that the others see."""
        await books.open_volume(first_volume())
        state = mail_state(0, floor=0)
        assert await note_all(books, state)
        assert await note_all(books, state)
        assert not await note_all(books, state, "another")

    async def test_a_message_of_another_stream_gets_its_own_number(self, ledger: "Ledger", books: "Books") -> None:
        """Before and after the volume was opened; nothing of the past is lost, nothing is confused."""
        await books.open_volume(first_volume(last_sequence=6, last_stored_ns=MADE_NS + 6))
        await ledger.record([mail_entry(sequence) for sequence in (1, 2, 4)])
        await ledger.hold([dead_letter(5)])
        young = [mail_entry(sequence, f"N{sequence}", made_ns=LATER_NS) for sequence in range(1, 9)]
        assert await ledger.record([young[0], young[5]]) == [young[0]]
        assert await ledger.hold([dead_letter(2, "N2", LATER_NS)]) == [dead_letter(2, "N2", LATER_NS)]
        assert await books.open_volume(second_volume())
        assert await ledger.record(young[2:]) == []
        state = mail_state(8, floor=8, created_ms=LATER_MS)
        reply = await read_books(books, state)
        assert (reply.accepted, reply.folder, reply.held) == (6 + 8, 3 + 7, 2)
        assert missing_numbers(reply) == [3, 6]
        assert reply.alarms == ("another stream",)
        assert reply.clash_count == 0
        found = await ledger.find(QueueId("N2"))
        assert found is not None
        assert (found.stream_sequence, found.accounted) == (8, Accounted.HELD)

    async def test_a_message_of_the_older_stream_stays_with_its_own(self, ledger: "Ledger", books: "Books") -> None:
        """It was in somebody's hands when the stream was replaced."""
        await books.open_volume(first_volume(last_sequence=2, last_stored_ns=MADE_NS + 2))
        await books.open_volume(second_volume())
        assert await ledger.record([mail_entry(1), mail_entry(1, "N1", made_ns=LATER_NS)]) == []
        reply = await read_books(books, mail_state(1, floor=1, created_ms=LATER_MS))
        assert (reply.accepted, reply.folder) == (3, 2)
        assert missing_numbers(reply) == [2]

    async def test_a_stream_that_went_back_keeps_what_it_still_has(self, ledger: "Ledger", books: "Books") -> None:
        """Of ten messages it lost two; what came under their sequences is new."""
        await books.open_volume(first_volume(last_sequence=10, last_stored_ns=MADE_NS + 10))
        await ledger.record([mail_entry(sequence) for sequence in (1, 2, 3, 4, 5, 6, 9)])
        young = mail_entry(9, "N9", made_ns=LATER_NS)
        assert await ledger.record([young]) == [young]
        parted = second_volume(created_ms=MADE_MS, begins=9, since_ns=MADE_NS + 11, alarm="it went back")
        assert await books.open_volume(parted)
        assert await ledger.record([mail_entry(7)]) == []
        state = mail_state(10, floor=6)
        reply = await read_books(books, state)
        assert (reply.accepted, reply.folder, reply.unconsumed) == (12, 9, 2)
        assert missing_numbers(reply) == [10]

    async def test_a_third_volume_takes_its_messages_from_both_before(self, ledger: "Ledger", books: "Books") -> None:
        """It went back to its second message, then it was made anew; what came meanwhile had older numbers."""
        await books.open_volume(first_volume(last_sequence=4, last_stored_ns=MADE_NS + 4))
        await ledger.record([mail_entry(1), mail_entry(3)])
        await books.open_volume(
            second_volume(
                created_ms=MADE_MS, begins=3, since_ns=MADE_NS + 5, last_sequence=4, last_stored_ns=MADE_NS + 6
            )
        )
        await ledger.record([mail_entry(3, "M3", made_ns=MADE_NS + 2)])
        young = [mail_entry(sequence, f"N{sequence}", made_ns=LATER_NS) for sequence in (1, 2, 3, 4)]
        assert await ledger.record(young) == [young[0], young[2]]
        assert await books.open_volume(second_volume(volume=3))
        assert not await books.open_volume(second_volume(volume=3))
        reply = await read_books(books, mail_state(4, floor=4, created_ms=LATER_MS))
        assert (reply.accepted, reply.folder, reply.clash_count) == (4 + 2 + 4, 3 + 4, 0)
        assert missing_numbers(reply) == [2, 4, 6]
        assert [entry.stream_sequence for entry in [await ledger.find(QueueId("N4"))] if entry] == [10]

    async def test_settling_writes_off_and_closes(self, ledger: "Ledger", books: "Books") -> None:
        """Once; what turns up after all is accounted for as what it is."""
        await books.open_volume(first_volume(alarm="something"))
        await ledger.record([mail_entry(1), mail_entry(1, "OTHER"), mail_entry(4)])
        state = mail_state(4, floor=4, deleted=1, deleted_sequences=(3,))
        reply = await read_books(books, state)
        assert (reply.accepted, reply.clash_count, len(reply.alarms)) == (5, 1, 3)
        assert (reply.clashes[0].queue_id, reply.clashes[0].first_queue_id) == ("OTHER", "Q1")
        settlement = Settlement(
            actor="eve", reason="lost", missing=(Span(first=2, last=3),), deleted=1, alarms=reply.alarms
        )
        assert await books.settle(settlement) == 2
        assert await books.settle(settlement) == 0
        reply = await read_books(books, state)
        assert (reply.written_off, reply.clash_count, reply.alarms) == (2, 0, ())
        assert await ledger.record([mail_entry(3)]) == []
        reply = await read_books(books, state)
        assert (reply.written_off, reply.folder) == (1, 4)

    async def test_a_trim_keeps_the_sum_and_what_is_not_over(self, ledger: "Ledger", books: "Books") -> None:
        """Dead letters, and what is not verified."""
        await books.open_volume(first_volume())
        await ledger.record([mail_entry(1), mail_entry(2, accounted=Accounted.DSN), mail_entry(4), mail_entry(6)])
        await ledger.hold([dead_letter(3)])
        state = mail_state(6, floor=6)
        await note_all(books, state)
        before = await read_books(books, state)
        assert not await books.trim(NOW_MS - 365 * DAY_MS, 100)
        while await books.trim(NOW_MS + 365 * DAY_MS, 2):
            pass
        assert await read_books(books, state) == before
        assert [await ledger.find(QueueId(f"Q{n}")) is not None for n in (1, 2, 3, 4, 6)] == [
            False,
            False,
            True,
            False,
            True,
        ]
        clash = mail_entry(1, "AGAIN", made_ns=LATER_NS)
        assert await ledger.record([clash]) == [clash]


class LettersContract:
    """Subclasses give the fixtures `ledger`, `letters`, `books` and `queue`, which belong together, all empty."""

    async def test_pages_of_letters(self, ledger: "Ledger", letters: "Letters") -> None:
        """In the order of their numbers, with all that was kept."""
        await ledger.hold([dead_letter(sequence) for sequence in (3, 1, 2)])
        assert await letters.count() == 3
        first = await letters.page(0, 2)
        assert [(each.number, each.queue_id, each.reason, each.payload) for each in first] == [
            (1, "Q1", "gone", b"\x00raw"),
            (2, "Q2", "gone", b"\x00raw"),
        ]
        assert [each.number for each in await letters.page(2, 2)] == [3]
        assert await letters.letter(3) is not None
        assert await letters.letter(4) is None

    async def test_a_message_that_is_accounted_for_is_no_dead_letter(
        self, ledger: "Ledger", letters: "Letters"
    ) -> None:
        """Its mailbox was deleted after it had been stored, and the bus delivers it again."""
        await ledger.record([mail_entry(1)])
        assert await ledger.hold([dead_letter(1)]) == []
        assert await letters.count() == 0

    async def test_a_letter_that_clashes_is_kept_too(self, ledger: "Ledger", letters: "Letters") -> None:
        """By its own number, once."""
        await ledger.hold([dead_letter(1)])
        other = dead_letter(1, "OTHER")
        for _ in range(2):
            assert await ledger.hold([other]) == [other]
        first, second = await letters.page(0, 10)
        assert (first.queue_id, second.queue_id) == ("Q1", "OTHER")
        assert second.number >= FIRST_CLASH

    async def test_an_amended_letter_tells_its_new_reason(self, ledger: "Ledger", letters: "Letters") -> None:
        """In the ledger as well."""
        await ledger.hold([dead_letter(1)])
        await letters.amend(1, b"more", "still gone")
        letter, entry = await letters.letter(1), await ledger.find(QueueId("Q1"))
        assert letter is not None
        assert entry is not None
        assert (letter.payload, letter.reason, entry.detail) == (b"more", "still gone", "still gone")

    async def test_a_released_letter_is_accounted_with_its_copies(
        self, ledger: "Ledger", letters: "Letters", books: "Books", queue: "Queue"
    ) -> None:
        """At once, and once only."""
        await books.open_volume(first_volume())
        await ledger.hold([dead_letter(1)])
        entry = msgspec.structs.replace(mail_entry(1, accounted=Accounted.QUEUED), detail="retried")
        assert await letters.release(entry, (outgoing("Q1", "x@b.example"),), (), NOW_MS)
        assert not await letters.release(entry, (), (), NOW_MS)
        found = await ledger.find(QueueId("Q1"))
        assert found is not None
        assert (found.accounted, found.detail) == (Accounted.QUEUED, "retried")
        assert [each.recipient for each in await queue.entries(QueueId("Q1"))] == ["x@b.example"]
        assert await letters.count() == 0
        reply = await read_books(books, mail_state(1, floor=1))
        assert (reply.queued, reply.held) == (1, 0)
