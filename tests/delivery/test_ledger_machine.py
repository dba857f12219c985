"""The books against a count by hand: whatever is delivered, lost, deleted, restored or made anew, the sum is exact."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from postbus.bus.ports import MailDelivery
from postbus.contracts.delivery import Accounted, GetLedgerReply, SettleLedgerRequest
from postbus.core.clock import SystemClock
from postbus.core.ids import QueueId
from postbus.testing.bus import FakeBus, FakeMailDelivery
from postbus.testing.ledger import MemoryBooks, MemoryLedger
from postbus.testing.ledger_letters import MemoryLetters
from postbus.testing.mail import accepted_mail
from postbus.testing.queue import MemoryQueue
from postbusd.delivery.ledger.audit import Auditor, Look
from postbusd.delivery.ledger.balance import replayable
from postbusd.delivery.ledger.bookkeeping import Bookkeeping
from postbusd.delivery.ledger.ports import Seen
from postbusd.delivery.ledger.values import FIRST_CLASH
from postbusd.delivery.ports import DeadLetter, LedgerEntry

Result = TypeVar("Result")
OUTCOMES = (Accounted.FOLDER, Accounted.QUEUED, Accounted.HELD)
EVERYTHING = 10_000


class Message(msgspec.Struct):
    """What is really so of one accepted message."""

    on_stream: bool = True
    accounted: Accounted | None = None
    sequence: int = 0


class Books(RuleBasedStateMachine):
    """One stream, several processes with messages in hand, one book."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.bus = FakeBus()
        self.ledger = MemoryLedger()
        self.books = MemoryBooks(self.ledger)
        self.auditor = Auditor(self.bus, self.books, SystemClock())
        letters = MemoryLetters(self.ledger, MemoryQueue(self.ledger))
        self.bookkeeping = Bookkeeping(self.auditor, self.books, letters, None)  # type: ignore[arg-type]  # not asked
        self.messages: dict[str, Message] = {}
        self.hands: list[FakeMailDelivery] = []
        self.trimmed = 0

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    @rule(count=st.integers(1, 6))
    def accept(self, count: int) -> None:
        for _ in range(count):
            queue_id = f"Q{len(self.messages) + 1}"
            sequence = self.run(self.bus.publish_mail(accepted_mail(queue_id)))
            self.messages[queue_id] = Message(sequence=sequence)

    @rule(count=st.integers(1, 8))
    def fetch(self, count: int) -> None:
        if len(self.bus.mail) > self.bus._fetched:
            self.hands += self._mine(self.run(self.bus.fetch_mail(count, 0)))

    @rule()
    def redeliver(self) -> None:
        self.hands += self.bus.redeliver_mail()

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), ack=st.booleans(), keep=st.booleans())
    def deliver(self, data: st.DataObject, outcome: Accounted, ack: bool, keep: bool) -> None:
        """Record, and acknowledge or die; any order, and again when it is kept in hand."""
        delivery = data.draw(st.sampled_from(self.hands))
        self._record(delivery, outcome)
        if ack:
            self.run(delivery.ack())
        if not keep:
            self.hands.remove(delivery)

    @rule()
    def trim_stream(self) -> None:
        floor = self.run(self.bus.mail_state()).ack_floor
        self.bus.purge_mail(floor + 1)
        for message in self.messages.values():
            message.on_stream = message.on_stream and message.sequence > floor

    @precondition(lambda self: self.ledger.entries)
    @rule(data=st.data())
    def delete_row(self, data: st.DataObject) -> None:
        """One that names its message: of the others the count by hand does not know which it was."""
        entries = self.ledger.entries.items()
        named = [
            number for number, entry in entries if self.ledger.trimmed_through < number < FIRST_CLASH and entry.queue_id
        ]
        if named:
            number = data.draw(st.sampled_from(named))
            queue_id = self.ledger.entries[number].queue_id
            self.ledger.delete(number)
            self.messages[queue_id].accounted = None

    @precondition(lambda self: self.bus.mail)
    @rule(data=st.data())
    def the_stream_loses_one(self, data: st.DataObject) -> None:
        self.look()
        held = [message for message in self.messages.values() if message.on_stream]
        if held:
            message = data.draw(st.sampled_from(held))
            message.on_stream = False
            self.bus.lost.add(message.sequence)

    @rule()
    def the_stream_is_made_anew(self) -> None:
        self.look()
        self.bus.remake_mail()
        self._forget_stream(0)

    @precondition(lambda self: len(self.bus.mail) > 1)
    @rule(data=st.data())
    def the_stream_goes_back(self, data: st.DataObject) -> None:
        self.look()
        newest = len(self.bus.mail) - 1
        last = data.draw(st.integers(min(max(self.bus.first_sequence - 1, 0), newest), newest))
        self.bus.restore_mail(last)
        self._forget_stream(last)

    @rule()
    def look(self) -> None:
        """As the keeper does: what is verified now is not looked at again."""
        look = self.check()
        seen = Seen(
            volume=len(look.reading.volumes),
            last_sequence=look.state.last_sequence,
            last_stored_ns=look.state.last_stored_ns,
            verified=look.balance.verified,
            deletions=look.reading.deletions,
        )
        assert self.run(self.books.note("me", 60, seen))

    @rule()
    def trim_ledger(self) -> None:
        """After months: nobody has anything in hand, what was recorded is acknowledged."""
        self.hands.clear()
        recorded = {each.sequence for each in self.messages.values() if each.on_stream and each.accounted is not None}
        self.bus.acked |= recorded
        while self.run(self.books.trim(self.ledger.now_ms + 1, 3)):
            pass

    @rule()
    def settle(self) -> None:
        self.check()
        reply = self.run(self.bookkeeping.settle_ledger(SettleLedgerRequest(actor="eve", reason="lost")))
        gone = [message for message in self.messages.values() if message.accounted is None and not message.on_stream]
        assert reply.missing == len(gone)
        for message in gone:
            message.accounted = Accounted.WRITTEN_OFF
        after = self.check().balance.reply
        assert not after.alarms
        assert not after.clashes

    @rule()
    def replay(self) -> None:
        """What is missing and on the stream is found there, and nothing else is."""
        look = self.check()
        sequences = replayable(look.balance, look.state, look.reading, look.balance.done, EVERYTHING)
        found = [self.run(self.bus.read_mail(sequence)) for sequence in sequences]
        assert None not in found
        missing = {
            queue_id
            for queue_id, message in self.messages.items()
            if message.accounted is None and message.on_stream and message.sequence <= look.state.ack_floor
        }
        assert {each.accepted.queue_id for each in found if each and each.accepted} == missing
        for each in found:
            assert each is not None
            self._record(each, Accounted.FOLDER)

    def check(self) -> Look:
        """The books and the count by hand."""
        look = self.run(self.auditor.look(EVERYTHING))
        reply = look.balance.reply
        counted = Counter(message.accounted for message in self.messages.values())
        unconsumed = sum(
            message.accounted is None and message.on_stream and message.sequence > look.state.ack_floor
            for message in self.messages.values()
        )
        assert reply.accepted == len(self.messages)
        assert {outcome: getattr(reply, outcome.value) for outcome in Accounted} == {
            outcome: counted[outcome] for outcome in Accounted
        }
        assert reply.unconsumed == unconsumed
        assert reply.missing_count == counted[None] - unconsumed == len(reply.missing)
        self._check_names(look, reply)
        return look

    def _check_names(self, look: Look, reply: GetLedgerReply) -> None:
        named = self.run(self.auditor.name_missing(look, EVERYTHING))
        floor = look.state.ack_floor
        held = {
            queue_id
            for queue_id, message in self.messages.items()
            if message.accounted is None and message.on_stream and message.sequence <= floor
        }
        assert {each.queue_id for each in named if each.queue_id} == held
        assert len(named) == reply.missing_count

    def _record(self, delivery: MailDelivery, outcome: Accounted) -> None:
        accepted = delivery.accepted
        assert accepted is not None
        message = self.messages[accepted.queue_id]
        if outcome is Accounted.HELD:
            letter = DeadLetter(
                stream_sequence=delivery.stream_sequence,
                queue_id=accepted.queue_id,
                reason="gone",
                payload=delivery.payload,
                stored_ns=delivery.stored_ns,
            )
            self.run(self.ledger.hold([letter]))
        else:
            entry = LedgerEntry(
                stream_sequence=delivery.stream_sequence,
                queue_id=QueueId(accepted.queue_id),
                accounted=outcome,
                accepted_ms=0,
                stored_ns=delivery.stored_ns,
            )
            self.run(self.ledger.record([entry]))
        if message.accounted in (None, Accounted.WRITTEN_OFF):
            message.accounted = outcome

    def _forget_stream(self, last: int) -> None:
        """What is in hand stays there; nobody hears its acks any more."""
        for delivery in self.hands:
            if delivery.stream_sequence > last:
                delivery.on_ack = None
        for message in self.messages.values():
            message.on_stream = message.on_stream and message.sequence <= last

    def _mine(self, deliveries: Sequence[MailDelivery]) -> list[FakeMailDelivery]:
        return [delivery for delivery in deliveries if isinstance(delivery, FakeMailDelivery)]

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            try:
                self.check()
            finally:
                self.runner.close()


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
