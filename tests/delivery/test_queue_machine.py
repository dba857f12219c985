"""Whatever is killed, away, refused or redelivered: no copy is lost, none is sent twice without a kill."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from postbus.contracts.delivery import Accounted, ChangeQueueRequest, QueueAction, QueueState
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.mail import PLAIN
from postbus.testing.outbound import Outbound
from postbus.testing.queue import ledger_entry, new_copy, queued_message
from postbusd.delivery.outbound.queue import Outgoing
from postbusd.delivery.outbound.scheduler import LEASE_MS, Scheduler
from postbusd.delivery.outbound.values import Outcome

Result = TypeVar("Result")
Key = tuple[str, str]

FINISHED = (QueueState.SENT, QueueState.FAILED, QueueState.CANCELLED)
RECIPIENTS = ("a@b.example", "b@b.example", "c@c.example", "d@d.example")
ANSWERS = {
    "taken": (Outcome.SENT, "250 2.0.0 ok"),
    "later": (Outcome.DEFERRED, "451 4.3.0 later"),
    "refused": (Outcome.FAILED, "550 5.1.1 no such user"),
}
LIFETIME_MS = 5 * 86_400_000


class OutgoingQueue(RuleBasedStateMachine):
    """Processes come and go, each with a scheduler of its own, over one queue."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.outbound = Outbound()
        self.queue = self.outbound.queue
        self.transmitter = self.outbound.transmitter
        self.messages: list[tuple[int, Outgoing]] = []
        self.kills: Counter[str] = Counter()
        """Handovers that were under way at a kill, by recipient."""
        self.ended: dict[Key, tuple[QueueState, int]] = {}
        self.processes = 0
        self.blob_id = self.run(self.outbound.blobs.put(PLAIN))
        self.scheduler = self.new_process()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    def new_process(self) -> Scheduler:
        self.processes += 1
        self.queue.locks = {f"process{self.processes}"}
        return self.outbound.new_scheduler(f"process{self.processes}")

    @rule(recipients=st.sets(st.sampled_from(RECIPIENTS), min_size=1), null=st.booleans(), held=st.booleans())
    def accept(self, recipients: set[str], null: bool, held: bool) -> None:
        number = len(self.messages) + 1
        now_ms = self.outbound.clock.now_ms()
        message = queued_message(
            f"Q{number}",
            blob_id=self.blob_id,
            blob_octets=len(PLAIN),
            accepted_ms=now_ms,
            expires_ms=now_ms + LIFETIME_MS,
        )
        path = "" if null else "alice@ours.example"
        copies = tuple(new_copy(each, reverse_path=path, held=held) for each in sorted(recipients))
        self.messages.append((number, Outgoing(message=message, copies=copies)))
        self.enter(number, self.messages[-1][1])

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        self.enter(*data.draw(st.sampled_from(self.messages)))

    def enter(self, number: int, outgoing: Outgoing) -> None:
        entry = ledger_entry(number, outgoing.message.queue_id)
        self.run(self.queue.enter([entry], [outgoing], self.outbound.clock.now_ms()))

    @rule(recipient=st.sampled_from(RECIPIENTS), kind=st.sampled_from(sorted(ANSWERS)))
    def remote_changes_its_mind(self, recipient: str, kind: str) -> None:
        self.transmitter.answers[recipient] = ANSWERS[kind]

    @rule()
    def work(self) -> None:
        self.run(self.scheduler.work_once())

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.outbound.clock.advance(seconds)

    @rule(blobs=st.booleans())
    def work_while_something_is_away(self, blobs: bool) -> None:
        away = MailError(ErrorKind.UNAVAILABLE, "away")
        if blobs:
            self.outbound.blobs.fail_with = away
        else:
            self.outbound.routes.fail_with = away
        self.outbound.clock.advance(61)
        self.run(self.outbound.handover.forget_routes())
        self.run(self.scheduler.work_once())
        self.outbound.blobs.fail_with = self.outbound.routes.fail_with = None

    @rule(seconds=st.integers(1, 100))
    def work_while_the_database_comes_and_goes(self, seconds: int) -> None:
        """It is away from a remote's answer on, for some seconds."""
        left = 0

        def cut() -> None:
            nonlocal left
            left = seconds
            self.queue.fail_with = MailError(ErrorKind.UNAVAILABLE, "database: away")

        def heal() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                self.queue.fail_with = None

        self.transmitter.before_report, self.outbound.while_waiting = cut, heal
        self.run(self.scheduler.work_once())
        self.transmitter.before_report = self.outbound.while_waiting = lambda: None

    @rule(at=st.integers(0, 3))
    def kill(self, at: int) -> None:
        """Between a remote's answer and its commit; the next process frees the leases."""
        left = at

        def die() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise asyncio.CancelledError

        before = {name: len(taken) for name, taken in self.transmitter.taken.items()}
        sent = Counter(key[1] for key, row in self.queue.rows.items() if row.state is QueueState.SENT)
        self.transmitter.before_report = die
        self.run(self.scheduler.work_once())
        self.transmitter.before_report = lambda: None
        now = Counter(key[1] for key, row in self.queue.rows.items() if row.state is QueueState.SENT)
        for name, taken in self.transmitter.taken.items():
            uncommitted = len(taken) - before.get(name, 0) - (now[name] - sent[name])
            assert uncommitted in {0, 1}
            self.kills[name] += uncommitted
        self.scheduler = self.new_process()
        suspects = self.run(self.queue.release_orphans("next", []))
        self.run(self.queue.release_orphans("next", suspects))

    @rule(action=st.sampled_from([QueueAction.RETRY, QueueAction.HOLD, QueueAction.RELEASE]))
    def administrate(self, action: QueueAction) -> None:
        self.run(self.outbound.control.change_queue(ChangeQueueRequest(action=action, actor="admin")))

    @rule(
        action=st.sampled_from([QueueAction.CANCEL, QueueAction.BOUNCE]),
        recipient=st.sampled_from(RECIPIENTS),
    )
    def end(self, action: QueueAction, recipient: str) -> None:
        request = ChangeQueueRequest(action=action, actor="admin", recipient=recipient)
        self.run(self.outbound.control.change_queue(request))

    @invariant()
    def every_copy_has_its_row(self) -> None:
        wanted = {(each.message.queue_id, copy.recipient) for _, each in self.messages for copy in each.copies}
        assert set(self.queue.rows) == wanted

    @invariant()
    def what_has_ended_stays_so(self) -> None:
        for key, row in self.queue.rows.items():
            if row.state in FINISHED:
                assert self.ended.setdefault(key, (row.state, row.attempts)) == (row.state, row.attempts)
                assert row.owner == ""
            else:
                assert key not in self.ended

    @invariant()
    def nobody_holds_a_lease_between_two_rounds(self) -> None:
        assert not [key for key, row in self.queue.rows.items() if row.owner]

    @invariant()
    def a_double_needs_a_kill(self) -> None:
        sent = Counter(key[1] for key, row in self.queue.rows.items() if row.state is QueueState.SENT)
        for name, taken in self.transmitter.taken.items():
            assert len(taken) == sent[name] + self.kills[name]

    @invariant()
    def failures_are_told_and_the_ledger_knows(self) -> None:
        reported = {row.last.get("report_id") for row in self.queue.rows.values()} - {"", None}
        assert reported == set(self.queue.reports)
        for key, row in self.queue.rows.items():
            told = row.last.get("report_id", "") != ""
            assert told == (row.state is QueueState.FAILED and row.copy.reverse_path != ""), key
        for number, outgoing in self.messages:
            rows = [self.queue.rows[(outgoing.message.queue_id, copy.recipient)] for copy in outgoing.copies]
            entry = self.queue.ledger.entries[number]
            over = all(row.state in FINISHED for row in rows)
            assert over == entry.detail.startswith("no copy is left")
            is_told = over and any(row.last.get("report_id") for row in rows)
            assert entry.accounted is (Accounted.DSN if is_told else Accounted.QUEUED)

    def teardown(self) -> None:
        """When all is well again, everything ends."""
        if not hasattr(self, "runner"):
            return
        try:
            self.transmitter.answers.clear()
            self.administrate(QueueAction.RELEASE)
            for _ in range(3):
                self.outbound.clock.advance(LEASE_MS / 1000 + LIFETIME_MS / 1000)
                self.work()
            assert all(row.state in FINISHED for row in self.queue.rows.values())
            self.a_double_needs_a_kill()
            self.failures_are_told_and_the_ledger_knows()
        finally:
            self.runner.close()


TestOutgoingQueue = OutgoingQueue.TestCase
TestOutgoingQueue.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
