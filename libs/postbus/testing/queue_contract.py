"""What every `Queue` does: run on the fake in tests/ and on Postgres in integration/."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import pytest

from postbus.contracts.delivery import Accounted, ChangeQueueRequest, ListQueueRequest, QueueAction, QueueState
from postbus.contracts.events import Event, EventType, MailAccepted
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId
from postbus.testing.mail import accepted_mail, forward_path
from postbus.testing.queue import DAY_MS, NOW_MS, ledger_entry, new_copy, outgoing, queued_message
from postbusd.delivery.outbound.news import failed_event
from postbusd.delivery.outbound.queue import Attempt, Claimed, ClaimLimits, Counts, Outcomes, Outgoing

if TYPE_CHECKING:
    from postbusd.delivery.outbound.queue import Queue
    from postbusd.delivery.ports import Ledger

UNTIL_MS = NOW_MS + 900_000
ME, OTHER = "me", "other"


def attempt_of(claimed: Claimed, state: QueueState, due_ms: int = NOW_MS) -> Attempt:
    """What became of a claimed copy."""
    return Attempt(
        queue_id=claimed.message.queue_id,
        recipient=claimed.copy.recipient,
        lease_token=claimed.lease_token,
        state=state,
        due_ms=due_ms,
        next_hop="b.example",
        reply="250 2.0.0 ok" if state is QueueState.SENT else "450 4.2.0 later",
        status="2.0.0",
        remote_host="mx.b.example",
        tls="TLSv1.3",
    )


def limits(destinations: int = 10, *full: tuple[str, str]) -> ClaimLimits:
    """Of a claim."""
    return ClaimLimits(destinations=destinations, copies_each=100, full=full)


def action(kind: QueueAction, queue_id: str = "", recipient: str = "", domain: str = "") -> ChangeQueueRequest:
    """An administrator's request."""
    return ChangeQueueRequest(action=kind, actor="admin", queue_id=queue_id, recipient=recipient, domain=domain)


class QueueContract:
    """Subclasses give the fixtures `queue` and `ledger`, which belong together, both empty."""

    async def test_what_is_entered_is_claimed_once(self, queue: "Queue", ledger: "Ledger") -> None:
        """All fields survive; a second claim finds nothing."""
        made = outgoing("Q1", "x@b.example", "y@c.example")
        assert await queue.enter([ledger_entry(1, "Q1")], [made], NOW_MS) == []
        claimed = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        assert sorted(each.copy.recipient for each in claimed) == ["x@b.example", "y@c.example"]
        assert {each.message for each in claimed} == {made.message}
        assert {each.copy for each in claimed} == set(made.copies)
        assert await queue.claim(OTHER, NOW_MS, UNTIL_MS, limits()) == []
        found = await ledger.find(QueueId("Q1"))
        assert found is not None
        assert found.accounted is Accounted.QUEUED

    async def test_entering_again_changes_nothing(self, queue: "Queue") -> None:
        """A redelivery from the bus, before and after the copy was sent (promise 2)."""
        entries, made = [ledger_entry(1, "Q1")], [outgoing("Q1", "x@b.example")]
        await queue.enter(entries, made, NOW_MS)
        await queue.enter(entries, made, NOW_MS + 5)
        (claimed,) = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        assert await queue.finish(ME, Outcomes(attempts=(attempt_of(claimed, QueueState.SENT),)))
        await queue.enter(entries, made, NOW_MS)
        assert await queue.claim(ME, NOW_MS, UNTIL_MS, limits()) == []
        told = await relayed(queue)
        assert [event.type for event in told] == [EventType.QUEUED]

    async def test_claims_are_by_time_limit_and_destination(self, queue: "Queue") -> None:
        """The longest due first; nothing for a full destination, nothing before its time."""
        await queue.enter([], [outgoing("Q2", "x@b.example")], NOW_MS + 1)
        await queue.enter([], [outgoing("Q1", "x@c.example")], NOW_MS)
        await queue.enter([], [outgoing("Q3", "x@d.example")], NOW_MS + 99)
        (claimed,) = await queue.claim(ME, NOW_MS + 5, UNTIL_MS, limits(1, ("ours.example", "c.example")))
        assert claimed.copy.domain == "b.example"
        (claimed,) = await queue.claim(ME, NOW_MS + 5, UNTIL_MS, limits())
        assert claimed.copy.domain == "c.example"

    async def test_a_claim_is_a_batch_for_each_of_some_destinations(self, queue: "Queue") -> None:
        """However many copies wait for the first: nobody waits behind them."""
        await queue.enter([], [outgoing(f"Q{number}", "x@b.example") for number in range(5)], NOW_MS)
        await queue.enter([], [outgoing("Q5", "x@c.example", "y@d.example")], NOW_MS + 1)
        few = ClaimLimits(destinations=2, copies_each=3)
        claimed = await queue.claim(ME, NOW_MS + 1, UNTIL_MS, few)
        assert [f"{each.message.queue_id} {each.copy.domain}" for each in claimed] == [
            "Q0 b.example",
            "Q1 b.example",
            "Q2 b.example",
            "Q5 c.example",
        ]
        claimed = await queue.claim(ME, NOW_MS + 1, UNTIL_MS, few)
        assert [f"{each.message.queue_id} {each.copy.domain}" for each in claimed] == [
            "Q3 b.example",
            "Q4 b.example",
            "Q5 d.example",
        ]

    async def test_a_deferred_copy_comes_again_when_it_is_due(self, queue: "Queue") -> None:
        """With its attempts counted and its last reply kept."""
        await queue.enter([], [outgoing("Q1", "x@b.example")], NOW_MS)
        (claimed,) = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        later = NOW_MS + 60_000
        assert await queue.finish(ME, Outcomes(attempts=(attempt_of(claimed, QueueState.WAITING, later),)))
        assert await queue.claim(ME, later - 1, UNTIL_MS, limits()) == []
        (again,) = await queue.claim(ME, later, UNTIL_MS, limits())
        assert again.attempts == 1
        (entry,) = await queue.entries(QueueId("Q1"))
        assert (entry.last_reply, entry.remote_host, entry.tls) == ("450 4.2.0 later", "mx.b.example", "TLSv1.3")
        assert (entry.next_hop, entry.state, entry.due_ms) == ("b.example", QueueState.WAITING, later)

    async def test_who_lost_the_lease_commits_nothing(self, queue: "Queue") -> None:
        """Its end passed, another took it: neither state nor event nor report of the first is written."""
        await queue.enter([], [outgoing("Q1", "x@b.example", "y@b.example")], NOW_MS)
        first = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        second = await queue.claim(OTHER, UNTIL_MS, UNTIL_MS + 9, ClaimLimits(destinations=1, copies_each=1))
        late = Outcomes(
            attempts=tuple(attempt_of(each, QueueState.FAILED) for each in first),
            events=(failed_event(first[0], "550", NOW_MS),),
            report=accepted_mail("D1", forward_path("alice@ours.example")),
        )
        assert not await queue.finish(ME, late)
        assert {entry.state for entry in await queue.entries(QueueId("Q1"))} == {QueueState.WAITING}
        assert await queue.finish(OTHER, Outcomes(attempts=(attempt_of(second[0], QueueState.SENT),)))
        assert [event.type for event in await relayed(queue)] == [EventType.QUEUED, EventType.QUEUED]
        assert await reports(queue) == []

    async def test_leases_are_renewed_and_released(self, queue: "Queue") -> None:
        """By their owner only, and only those that it knows of."""
        await queue.enter([], [outgoing("Q1", "x@b.example", "y@b.example")], NOW_MS)
        claimed = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        await queue.renew(ME, [claimed[0].lease_token], UNTIL_MS + 1000)
        await queue.renew(OTHER, [each.lease_token for each in claimed], UNTIL_MS + 9000)
        (lapsed,) = await queue.claim(OTHER, UNTIL_MS, UNTIL_MS + 9, limits())
        assert lapsed.copy.recipient == claimed[1].copy.recipient
        assert await queue.release(OTHER) == 1
        assert await queue.release(ME) == 1
        assert len(await queue.claim(OTHER, NOW_MS, UNTIL_MS, limits())) == 2

    async def test_what_was_not_begun_is_given_back(self, queue: "Queue") -> None:
        """Those copies only, and only by who holds them."""
        await queue.enter([], [outgoing("Q1", "x@b.example", "y@b.example")], NOW_MS)
        claimed = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        await queue.give_back(OTHER, claimed, NOW_MS)
        assert await queue.claim(OTHER, NOW_MS, UNTIL_MS, limits()) == []
        await queue.give_back(ME, claimed[:1], NOW_MS + 7)
        assert await queue.claim(OTHER, NOW_MS + 6, UNTIL_MS, limits()) == []
        (again,) = await queue.claim(OTHER, NOW_MS + 7, UNTIL_MS, limits())
        assert again.copy == claimed[0].copy

    async def test_leases_of_the_dead_are_freed_at_the_second_look(self, queue: "Queue") -> None:
        """An owner without its lock is a suspect first."""
        await queue.enter([], [outgoing("Q1", "x@b.example")], NOW_MS)
        await queue.claim("dead", NOW_MS, UNTIL_MS, limits())
        suspects = await queue.release_orphans(ME, [])
        assert suspects == ["dead"]
        assert await queue.claim(ME, NOW_MS, UNTIL_MS, limits()) == []
        assert await queue.release_orphans(ME, suspects) == []
        assert len(await queue.claim(ME, NOW_MS, UNTIL_MS, limits())) == 1

    async def test_a_failure_its_event_and_its_report_are_one(self, queue: "Queue", ledger: "Ledger") -> None:
        """The ledger says so when the last copy has ended; the report is published once."""
        await queue.enter([ledger_entry(1, "Q1")], [outgoing("Q1", "x@b.example", "y@b.example")], NOW_MS)
        one, two = sorted(await queue.claim(ME, NOW_MS, UNTIL_MS, limits()), key=lambda each: each.copy.recipient)
        failed = Outcomes(
            attempts=(msgspec.structs.replace(attempt_of(one, QueueState.FAILED), report_id="D1"),),
            events=(failed_event(one, "550 no", NOW_MS),),
            report=accepted_mail("D1", forward_path("alice@ours.example")),
        )
        assert await queue.finish(ME, failed)
        assert await accounted(ledger, "Q1") == (Accounted.QUEUED, "")
        assert await queue.finish(ME, Outcomes(attempts=(attempt_of(two, QueueState.SENT),)))
        told = "no copy is left to send: 1 sent, 1 failed; DSN D1"
        assert await accounted(ledger, "Q1") == (Accounted.DSN, told)
        assert [mail.queue_id for mail in await reports(queue)] == ["D1"]
        assert await reports(queue) == []
        assert [event.type for event in await relayed(queue)][2:] == [EventType.BOUNCED]

    async def test_the_ledger_tells_how_the_last_copy_ended(self, queue: "Queue", ledger: "Ledger") -> None:
        """Queued stays queued where nobody was told; what is held for another reason stays held."""
        held = msgspec.structs.replace(ledger_entry(2, "Q2"), accounted=Accounted.HELD, detail="no_mailbox")
        made = [outgoing("Q1", "x@b.example", "y@b.example"), outgoing("Q2", "x@b.example")]
        await queue.enter([ledger_entry(1, "Q1"), held], made, NOW_MS)
        claimed = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        first, _, third = sorted(claimed, key=lambda each: (each.message.queue_id, each.copy.recipient))
        done = (attempt_of(first, QueueState.FAILED), attempt_of(third, QueueState.SENT))
        assert await queue.finish(ME, Outcomes(attempts=done))
        assert await accounted(ledger, "Q1") == (Accounted.QUEUED, "")
        assert await accounted(ledger, "Q2") == (Accounted.HELD, "no_mailbox")
        await queue.release(ME)
        assert (await queue.change(action(QueueAction.CANCEL), NOW_MS)).changed == 1
        assert await accounted(ledger, "Q1") == (Accounted.QUEUED, "no copy is left to send: 1 failed, 1 cancelled")

    async def test_how_long_the_oldest_copy_waits_is_known(self, queue: "Queue") -> None:
        """Held ones don't wait, finished ones don't."""
        for name, age_ms, held in (("Q1", 9000, True), ("Q2", 5000, False), ("Q3", 1000, False)):
            message = msgspec.structs.replace(queued_message(name), accepted_ms=NOW_MS - age_ms)
            copies = (new_copy("x@b.example", held=held),)
            await queue.enter([], [Outgoing(message=message, copies=copies)], NOW_MS)
        assert await queue.counts() == Counts(waiting=2, held=1, oldest_ms=NOW_MS - 5000)
        await queue.change(action(QueueAction.CANCEL), NOW_MS)
        assert await queue.counts() == Counts()

    async def test_a_copy_may_begin_held(self, queue: "Queue") -> None:
        """Until an administrator releases it."""
        copy = new_copy("x@b.example", held=True)
        await queue.enter([], [Outgoing(message=queued_message("Q1"), copies=(copy,))], NOW_MS)
        assert await queue.claim(ME, NOW_MS, UNTIL_MS, limits()) == []
        assert (await queue.counts()) == Counts(held=1)
        assert (await queue.change(action(QueueAction.RELEASE), NOW_MS)).changed == 1
        assert len(await queue.claim(ME, NOW_MS, UNTIL_MS, limits())) == 1

    async def test_a_report_that_the_bus_did_not_take_stays(self, queue: "Queue") -> None:
        """Published again later."""
        await queue.enter([], [outgoing("Q1", "x@b.example")], NOW_MS)
        (claimed,) = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        report = accepted_mail("D1", forward_path("alice@ours.example"))
        await queue.finish(ME, Outcomes(attempts=(attempt_of(claimed, QueueState.FAILED),), report=report))

        async def away(_: MailAccepted) -> int:
            raise MailError(ErrorKind.UNAVAILABLE, "bus: away")

        with pytest.raises(MailError):
            await queue.relay_reports(10, away)
        assert await reports(queue) == [report]

    async def test_administrators_hold_release_retry_and_cancel(self, queue: "Queue") -> None:
        """A dry run only counts; what is being sent is left alone."""
        await queue.enter([], [outgoing("Q1", "x@b.example"), outgoing("Q2", "y@c.example")], NOW_MS)
        dry = ChangeQueueRequest(action=QueueAction.HOLD, actor="admin", dry_run=True)
        assert (await queue.change(dry, NOW_MS)).changed == 2
        assert (await queue.counts()).held == 0
        assert (await queue.change(action(QueueAction.HOLD, domain="b.example"), NOW_MS)).changed == 1
        (claimed,) = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        assert claimed.copy.recipient == "y@c.example"
        reply = await queue.change(action(QueueAction.CANCEL), NOW_MS)
        assert (reply.changed, reply.busy) == (1, 1)
        assert {entry.state for entry in await queue.entries(QueueId("Q1"))} == {QueueState.CANCELLED}
        await queue.finish(ME, Outcomes(attempts=(attempt_of(claimed, QueueState.WAITING, NOW_MS + DAY_MS),)))
        assert (await queue.change(action(QueueAction.RETRY, queue_id="Q2"), NOW_MS)).changed == 1
        assert len(await queue.claim(ME, NOW_MS, UNTIL_MS, limits())) == 1

    async def test_what_is_taken_is_leased_held_or_not(self, queue: "Queue") -> None:
        """For returning it to its sender."""
        await queue.enter([], [outgoing("Q1", "x@b.example", "y@c.example")], NOW_MS)
        await queue.change(action(QueueAction.HOLD, recipient="x@b.example"), NOW_MS)
        bounce = action(QueueAction.BOUNCE, queue_id="Q1")
        first = await queue.take(ME, bounce, NOW_MS, UNTIL_MS, 1)
        assert [each.copy.recipient for each in first] == ["x@b.example"]
        assert [entry.state for entry in await queue.entries(QueueId("Q1"))] == [QueueState.HELD, QueueState.WAITING]
        taken = first + await queue.take(ME, bounce, NOW_MS, UNTIL_MS, 9)
        assert len(taken) == 2
        assert await queue.take(OTHER, bounce, NOW_MS, UNTIL_MS, 9) == []
        assert await queue.finish(ME, Outcomes(attempts=tuple(attempt_of(each, QueueState.FAILED) for each in taken)))
        assert await queue.take(ME, bounce, NOW_MS, UNTIL_MS, 9) == []

    async def test_the_list_pages_and_filters(self, queue: "Queue") -> None:
        """In the order of queue_id and recipient."""
        made = [outgoing(f"Q{number}", "x@b.example", "y@c.example") for number in range(3)]
        await queue.enter([], made, NOW_MS)
        seen, after = [], ""
        while True:
            page = await queue.page(ListQueueRequest(after=after, limit=4))
            seen += [(entry.queue_id, entry.recipient) for entry in page.entries]
            after = page.next_after
            if not after:
                break
        assert seen == [(f"Q{n}", name) for n in range(3) for name in ("x@b.example", "y@c.example")]
        assert page.waiting == 6
        assert len((await queue.page(ListQueueRequest(domain="c.example"))).entries) == 3
        claimed = await queue.claim(ME, NOW_MS, UNTIL_MS, ClaimLimits(destinations=1, copies_each=1))
        await queue.finish(ME, Outcomes(attempts=(attempt_of(claimed[0], QueueState.SENT),)))
        assert len((await queue.page(ListQueueRequest())).entries) == 5
        assert len((await queue.page(ListQueueRequest(finished=True))).entries) == 6

    async def test_old_messages_are_forgotten_whole(self, queue: "Queue") -> None:
        """Not while one of their copies is open or was finished lately."""
        await queue.enter([], [outgoing("Q1", "x@b.example"), outgoing("Q2", "x@b.example", "y@c.example")], NOW_MS)
        claimed = await queue.claim(ME, NOW_MS, UNTIL_MS, limits())
        sent = [each for each in claimed if each.copy.domain == "b.example"]
        await queue.finish(ME, Outcomes(attempts=tuple(attempt_of(each, QueueState.SENT) for each in sent)))
        assert await queue.trim(NOW_MS, 10) == 0
        assert await queue.trim(NOW_MS + 1, 10) == 1
        assert await queue.entries(QueueId("Q1")) == ()
        assert len(await queue.entries(QueueId("Q2"))) == 2


async def accounted(ledger: "Ledger", queue_id: str) -> tuple[Accounted, str]:
    """What the ledger says of a message."""
    found = await ledger.find(QueueId(queue_id))
    assert found is not None
    return found.accounted, found.detail


async def relayed(queue: "Queue") -> list[Event]:
    """All events that wait."""
    found: list[Event] = []

    async def publish(events: Sequence[Event]) -> None:
        found.extend(events)

    await queue.relay_events(100, publish)
    return found


async def reports(queue: "Queue") -> list[MailAccepted]:
    """All reports that wait."""
    found: list[MailAccepted] = []

    async def publish(accepted: MailAccepted) -> int:
        found.append(accepted)
        return 1

    await queue.relay_reports(100, publish)
    return found
