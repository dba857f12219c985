"""Connections, leases and ends: what the scheduler holds while remotes, the database or the process fail."""

import asyncio

import pytest

from postbus.contracts.delivery import Accounted, ChangeQueueRequest, QueueAction, QueueState
from postbus.contracts.events import EventType
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import BlobId
from postbus.testing.mail import PLAIN
from postbus.testing.outbound import Outbound
from postbus.testing.queue import NOW_MS, Row, ledger_entry, new_copy, queued_message
from postbusd.delivery.outbound.judging import POSTPONE_MS
from postbusd.delivery.outbound.queue import NewCopy, Outgoing
from postbusd.delivery.outbound.scheduler import LEASE_MS
from postbusd.delivery.outbound.values import Outcome
from postbusd.delivery.settings import DeliverySettings

X, Y, Z = "x@b.example", "y@b.example", "z@c.example"
REFUSED = (Outcome.FAILED, "550 5.1.1 no such user")
AWAY = MailError(ErrorKind.UNAVAILABLE, "database: away")


@pytest.fixture
def outbound() -> Outbound:
    return Outbound()


async def enter(outbound: Outbound, *copies: NewCopy, queue_id: str = "Q1", **changes: object) -> BlobId:
    blob_id = await outbound.blobs.put(PLAIN)
    message = queued_message(queue_id, blob_id=blob_id, blob_octets=len(PLAIN), **changes)
    entry = ledger_entry(len(outbound.queue.ledger.entries) + 1, queue_id)
    await outbound.queue.enter([entry], [Outgoing(message=message, copies=copies)], NOW_MS)
    return blob_id


def row_of(outbound: Outbound, recipient: str, queue_id: str = "Q1") -> Row:
    return outbound.queue.rows[(queue_id, recipient)]


async def settle() -> None:
    """Lets every task run until all wait."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_slow_destination_takes_its_share_and_no_more() -> None:
    outbound = Outbound(
        DeliverySettings(queue_connections=3, queue_connections_per_destination=2, queue_batch_copies=1)
    )
    gate = outbound.transmitter.gates["b.example"] = asyncio.Event()
    for number in range(9):
        await enter(outbound, new_copy(X), queue_id=f"Q{number}")
    await enter(outbound, new_copy(Z), queue_id="R1")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(outbound.scheduler.run())
        await settle()
        assert sum(row.owner != "" for row in outbound.queue.rows.values()) == 2
        assert row_of(outbound, Z, "R1").state is QueueState.SENT
        gate.set()
        await settle()
        running.cancel()
    assert {row.state for row in outbound.queue.rows.values()} == {QueueState.SENT}


async def test_without_its_lock_it_claims_nothing(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X))
    outbound.queue.holds_lock = False
    await outbound.work()
    assert not outbound.transmitter.hops
    outbound.queue.holds_lock = True
    await outbound.work()
    assert row_of(outbound, X).state is QueueState.SENT


async def test_content_that_cannot_be_had_is_no_attempt(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X))
    outbound.blobs.fail_with = MailError(ErrorKind.UNAVAILABLE, "blobs: away")
    await outbound.work()
    row = row_of(outbound, X)
    assert (row.state, row.attempts, row.due_ms) == (QueueState.WAITING, 0, NOW_MS + POSTPONE_MS)
    assert "blobs: away" in row.last["reply"]
    assert [event.type for event in outbound.queue.events] == [EventType.QUEUED]


async def test_a_lost_blob_ends_with_a_report_all_the_same(outbound: Outbound) -> None:
    blob_id = await enter(outbound, new_copy(X), expires_ms=NOW_MS + 1)
    del outbound.blobs.blobs[blob_id]
    await outbound.work()
    assert row_of(outbound, X).state is QueueState.FAILED
    assert len(outbound.queue.reports) == 1


async def test_a_report_that_cannot_be_stored_delays_only_the_failures(outbound: Outbound) -> None:
    outbound.transmitter.answers = {X: REFUSED}
    await enter(outbound, new_copy(X), new_copy(Y))
    outbound.blobs.puts_fail_with = MailError(ErrorKind.LIMIT, "free disk below the reserve")
    await outbound.work()
    assert row_of(outbound, Y).state is QueueState.SENT
    assert (row_of(outbound, X).state, row_of(outbound, X).attempts) == (QueueState.WAITING, 0)
    outbound.blobs.puts_fail_with = None
    outbound.clock.advance(POSTPONE_MS / 1000)
    await outbound.work()
    (report,) = outbound.queue.reports
    assert row_of(outbound, X).state is QueueState.FAILED
    assert len(outbound.transmitter.taken[Y]) == 1
    entry = outbound.queue.ledger.entries[1]
    assert (entry.accounted, report in entry.detail) == (Accounted.DSN, True)


async def test_a_commit_waits_for_the_database_and_gives_up_before_the_lease_ends(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X))

    def cut() -> None:
        outbound.queue.fail_with = AWAY

    outbound.transmitter.before_report = cut
    with pytest.raises(MailError):
        await outbound.work()  # the claim of the second round
    assert NOW_MS + 100_000 < outbound.clock.now_ms() < NOW_MS + LEASE_MS
    outbound.queue.fail_with = None
    outbound.transmitter.before_report = lambda: None
    assert row_of(outbound, X).owner == "me"
    await outbound.scheduler.give_back([])
    assert row_of(outbound, X).owner == "", "what is left is given back as soon as there is a database"


async def test_a_bug_in_the_transmitter_blocks_nothing(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X))

    def fail() -> None:
        raise ZeroDivisionError

    outbound.transmitter.before_report = fail
    await outbound.work()
    row = row_of(outbound, X)
    assert (row.owner, row.due_ms) == ("", NOW_MS + POSTPONE_MS)


async def test_a_drain_lets_the_remote_answer_and_frees_what_was_not_begun(outbound: Outbound) -> None:
    gate = outbound.transmitter.gates["b.example"] = asyncio.Event()
    await enter(outbound, new_copy(X))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(outbound.scheduler.run())
        await settle()
        draining = group.create_task(outbound.scheduler.drain())
        await enter(outbound, new_copy(Z), queue_id="Q2")
        outbound.scheduler.wake()
        await settle()
        assert not draining.done()
        gate.set()
        await draining
        running.cancel()
    assert row_of(outbound, X).state is QueueState.SENT
    late = row_of(outbound, Z, "Q2")
    assert (late.state, late.owner) == (QueueState.WAITING, "")


async def test_who_ends_during_a_commit_waits_for_it(outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    await enter(outbound, new_copy(X))
    finish, begun, go_on = outbound.queue.finish, asyncio.Event(), asyncio.Event()

    async def slow(owner: str, outcomes: object) -> bool:
        begun.set()
        await go_on.wait()
        return await finish(owner, outcomes)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(outbound.queue, "finish", slow)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(outbound.scheduler.run())
        await begun.wait()
        running.cancel()
        await settle()
        go_on.set()
    assert row_of(outbound, X).state is QueueState.SENT


async def test_what_an_administrator_holds_is_returned_but_never_sent(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X, held=True), new_copy(Y))
    outbound.blobs.puts_fail_with = MailError(ErrorKind.UNAVAILABLE, "blobs: away")
    bounce = ChangeQueueRequest(action=QueueAction.BOUNCE, actor="admin", recipient=X)
    with pytest.raises(MailError):
        await outbound.control.change_queue(bounce)
    row = row_of(outbound, X)
    assert (row.state, row.owner) == (QueueState.HELD, "")
    outbound.blobs.puts_fail_with = None
    assert (await outbound.control.change_queue(bounce)).changed == 1
    await outbound.work()
    assert (row.state, outbound.transmitter.taken[X]) == (QueueState.FAILED, [])
    entry = outbound.queue.ledger.entries[1]
    assert (entry.accounted, "1 sent, 1 failed; DSN" in entry.detail) == (Accounted.DSN, True)


async def test_many_are_returned_in_portions(outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postbusd.delivery.outbound.control.BOUNCE_COPIES", 2)
    for number in range(5):
        await enter(outbound, new_copy(X), queue_id=f"Q{number}")
    outbound.queue.rows[("Q3", X)].lease("other", 99, NOW_MS + LEASE_MS)
    reply = await outbound.control.change_queue(ChangeQueueRequest(action=QueueAction.BOUNCE, actor="admin"))
    assert (reply.changed, reply.busy) == (4, 1)
    assert len(outbound.queue.reports) == 4


async def test_a_bug_in_the_report_keeps_the_other_answers(outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    outbound.transmitter.answers = {X: REFUSED}
    await enter(outbound, new_copy(X), new_copy(Y))

    def fail(_: object) -> bytes:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("postbusd.delivery.outbound.reporting.build_report", fail)
        await outbound.work()
        first = row_of(outbound, X).due_ms
        outbound.clock.advance((first - NOW_MS) / 1000)
        await outbound.work()
    row = row_of(outbound, X)
    assert (row.state, row.attempts, row.owner) == (QueueState.WAITING, 2, "")
    assert row.due_ms - first > 2 * (first - NOW_MS) > 2 * POSTPONE_MS, "less and less often"
    outbound.clock.advance((row.due_ms - first) / 1000)
    await outbound.work()
    assert row.state is QueueState.FAILED
    assert (len(outbound.queue.reports), len(outbound.transmitter.taken[Y])) == (1, 1)


async def test_a_silent_destination_rests_with_all_its_copies() -> None:
    outbound = Outbound(DeliverySettings(queue_batch_copies=1, retry_seconds=(60.0, 300.0)))
    for number in range(20):
        await enter(outbound, new_copy(X), queue_id=f"Q{number:02}")
    await enter(outbound, new_copy(Z), queue_id="R1")
    outbound.transmitter.silent = {"b.example"}
    hops = outbound.transmitter.hops
    await outbound.work()
    assert sorted(hop.domain for hop in hops) == ["b.example", "c.example"]
    assert row_of(outbound, Z, "R1").state is QueueState.SENT
    hops.clear()
    outbound.clock.advance(59)
    await outbound.work()
    assert hops == []
    outbound.clock.advance(1)
    await outbound.work()
    assert len(hops) == 1, "one connection tries"
    outbound.clock.advance(299)
    await outbound.work()
    assert len(hops) == 1, "the rest is longer each time"
    outbound.transmitter.silent = set()
    await outbound.control.change_queue(ChangeQueueRequest(action=QueueAction.RETRY, actor="admin"))
    await outbound.work()
    outbound.clock.advance(3600)
    await outbound.work()
    assert {row.state for row in outbound.queue.rows.values()} == {QueueState.SENT}


async def test_a_host_that_answers_does_not_rest(outbound: Outbound) -> None:
    outbound.transmitter.answers = {X: (Outcome.DEFERRED, "451 4.4.1 later")}
    await enter(outbound, new_copy(X))
    await outbound.work()
    await enter(outbound, new_copy(Y), queue_id="Q2")
    await outbound.work()
    assert row_of(outbound, Y, "Q2").state is QueueState.SENT


async def test_leases_of_a_claim_whose_answer_was_lost_lapse(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(outbound, new_copy(X))
    claim = outbound.queue.claim

    async def claim_and_lose(*arguments: object) -> object:
        await claim(*arguments)  # type: ignore[arg-type]  # as they came
        raise AWAY

    with monkeypatch.context() as patch:
        patch.setattr(outbound.queue, "claim", claim_and_lose)
        with pytest.raises(MailError):
            await outbound.work()
    outbound.clock.advance(LEASE_MS / 2000)
    await outbound.scheduler.renew()
    outbound.clock.advance(LEASE_MS / 2000)
    await outbound.work()
    assert row_of(outbound, X).state is QueueState.SENT


async def test_a_lists_copies_carry_its_mark_and_nobody_elses(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X), new_copy(Z, reverse_path="team-bounces@ours.example"))
    await outbound.work()
    (direct,), (listed,) = outbound.transmitter.taken[X], outbound.transmitter.taken[Z]
    assert b"Delivered-To" not in direct
    signature, rest = direct[: direct.index(b"\n") + 1], direct[direct.index(b"\n") + 1 :]
    assert listed == signature + b"Delivered-To: team@ours.example\r\n" + rest
