"""Outgoing copies from the queue to the remote's reply, and back to their sender."""

import asyncio
import email
import email.policy
from collections.abc import Sequence

import msgspec
import pytest

from postbus.contracts.delivery import ChangeQueueRequest, QueueAction, QueueState
from postbus.contracts.directory import MailboxTarget, Resolution
from postbus.contracts.directory import Outcome as Resolved
from postbus.contracts.events import Envelope, EventType, ForwardPath, MailAccepted, Origin
from postbus.contracts.filter import Verdict
from postbus.contracts.relays import Relay
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import BlobId, MailboxId
from postbus.testing.mail import PLAIN, accepted_mail, forward_path
from postbus.testing.outbound import Outbound, answer
from postbus.testing.queue import NOW_MS, new_copy, queued_message
from postbusd.delivery.outbound.entering import Lifetime, outgoing_prefix, plan_outgoing
from postbusd.delivery.outbound.handing import MAX_CONTENT_OCTETS
from postbusd.delivery.outbound.judging import POSTPONE_MS
from postbusd.delivery.outbound.ports import Load, Report
from postbusd.delivery.outbound.queue import NewCopy, Outcomes, Outgoing
from postbusd.delivery.outbound.scheduler import LEASE_MS
from postbusd.delivery.outbound.values import NextHop, Outcome, OutgoingMessage
from postbusd.delivery.settings import DeliverySettings

X, Y = "x@b.example", "y@b.example"
REFUSED = (Outcome.FAILED, "550 5.1.1 no such user")
LATER = (Outcome.DEFERRED, "451 4.3.0 later")


@pytest.fixture
def outbound() -> Outbound:
    return Outbound()


async def enter(outbound: Outbound, *copies: NewCopy, queue_id: str = "Q1", **changes: object) -> BlobId:
    blob_id = await outbound.blobs.put(PLAIN)
    message = queued_message(queue_id, blob_id=blob_id, blob_octets=len(PLAIN), **changes)
    await outbound.queue.enter([], [Outgoing(message=message, copies=copies)], NOW_MS)
    return blob_id


def state_of(outbound: Outbound, recipient: str, queue_id: str = "Q1") -> QueueState:
    return outbound.queue.rows[(queue_id, recipient)].state


def event_types(outbound: Outbound) -> list[EventType]:
    return [event.type for event in outbound.queue.events]


async def report_of(outbound: Outbound) -> tuple[MailAccepted, str]:
    (report,) = outbound.queue.reports.values()
    return report, (await outbound.blobs.get(report.blob_id)).decode()


async def test_a_copy_goes_out_signed_with_its_prefix(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X))
    await outbound.work()
    assert outbound.transmitter.taken[X] == [
        b"DKIM-Signature: d=ours.example\r\nReceived: from here\r\n" + PLAIN,
    ]
    assert state_of(outbound, X) is QueueState.SENT
    assert event_types(outbound) == [EventType.QUEUED, EventType.DELIVERED]
    assert outbound.transmitter.hops[0].name == "b.example"
    assert not outbound.queue.reports


async def test_copies_of_a_message_for_one_domain_are_one_transaction(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X), new_copy(Y), new_copy("z@c.example"))
    await outbound.work()
    assert sorted(hop.domain for hop in outbound.transmitter.hops) == ["b.example", "c.example"]
    assert {name: len(taken) for name, taken in outbound.transmitter.taken.items()} == {X: 1, Y: 1, "z@c.example": 1}


async def test_a_smart_host_takes_the_mail_of_its_domain(outbound: Outbound) -> None:
    outbound.routes.relay = Relay(host="smart.example")
    await enter(outbound, new_copy(X))
    await outbound.work()
    assert outbound.transmitter.hops[0].name == "smart.example:587"
    assert outbound.routes.asked == ["ours.example"]


async def test_a_failing_smart_host_is_told(outbound: Outbound) -> None:
    outbound.transmitter.relay_failed = True
    outbound.transmitter.answers = {X: LATER}
    await enter(outbound, new_copy(X))
    await outbound.work()
    assert event_types(outbound) == [EventType.QUEUED, EventType.DEFERRED, EventType.RELAY_FAILURE]


async def test_a_refusal_is_answered_by_a_report(outbound: Outbound) -> None:
    outbound.transmitter.answers = {X: REFUSED}
    await enter(outbound, new_copy(X), new_copy(Y))
    await outbound.work()
    report, text = await report_of(outbound)
    assert (report.origin, report.envelope.reverse_path) == (Origin.DSN, "")
    (path,) = report.envelope.forward_paths
    assert (path.address, path.resolution.outcome) == ("alice@ours.example", Resolved.LATER)
    parsed = email.message_from_string(text, policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    assert "Final-Recipient: rfc822; x@b.example" in text
    assert "Status: 5.1.1" in text
    assert "y@b.example" not in text.partition("message/rfc822")[0].partition("text/rfc822-headers")[0]
    assert "A plain one" in text
    assert "Hello there." not in text
    assert event_types(outbound) == [EventType.QUEUED, EventType.QUEUED, EventType.BOUNCED, EventType.DELIVERED]


async def test_ret_full_returns_the_whole_message(outbound: Outbound) -> None:
    outbound.transmitter.answers = {X: REFUSED}
    await enter(outbound, new_copy(X), ret="FULL")
    await outbound.work()
    assert "Hello there." in (await report_of(outbound))[1]


@pytest.mark.parametrize(
    ("notify", "reverse_path"), [(("NEVER",), "alice@ours.example"), (("SUCCESS", "DELAY"), "a@ours.example"), ((), "")]
)
async def test_nobody_is_told_who_does_not_want_it(
    outbound: Outbound, notify: tuple[str, ...], reverse_path: str
) -> None:
    outbound.transmitter.answers = {X: REFUSED}
    await enter(outbound, new_copy(X, notify=notify, reverse_path=reverse_path))
    await outbound.work()
    assert state_of(outbound, X) is QueueState.FAILED
    assert not outbound.queue.reports
    assert event_types(outbound)[-1] is EventType.BOUNCED


async def test_retries_come_later_each_time_until_the_end() -> None:
    outbound = Outbound(DeliverySettings(retry_seconds=(60.0, 600.0), queue_lifetime_hours=1))
    outbound.transmitter.answers = {X: LATER}
    await enter(outbound, new_copy(X), expires_ms=NOW_MS + 3_600_000)
    pauses = []
    for _ in range(20):
        await outbound.work()
        row = outbound.queue.rows[("Q1", X)]
        if row.state is not QueueState.WAITING:
            break
        pauses.append((row.due_ms - outbound.clock.now_ms()) / 1000)
        outbound.clock.advance(pauses[-1])
    assert 48 <= pauses[0] <= 72
    assert all(480 <= pause <= 720 for pause in pauses[1:])
    assert row.state is QueueState.FAILED
    assert outbound.clock.now_ms() <= NOW_MS + 3_600_000
    text = (await report_of(outbound))[1]
    assert "4.4.7" in text or "5.4.7" in text
    assert "451 4.3.0 later" in text


async def test_an_unknown_route_is_no_attempt(outbound: Outbound) -> None:
    outbound.routes.fail_with = MailError(ErrorKind.UNAVAILABLE, "directory: away")
    await enter(outbound, new_copy(X))
    await outbound.work()
    row = outbound.queue.rows[("Q1", X)]
    assert (row.attempts, row.due_ms, row.owner) == (0, NOW_MS + POSTPONE_MS, "")
    assert not outbound.transmitter.hops


async def test_a_process_that_dies_before_its_report_costs_one_double_at_most(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X))

    def die() -> None:
        raise asyncio.CancelledError

    outbound.transmitter.before_report = die
    await outbound.work()
    assert state_of(outbound, X) is QueueState.WAITING
    outbound.transmitter.before_report = lambda: None
    other = outbound.new_scheduler("other")
    await outbound.work(other)
    assert len(outbound.transmitter.taken[X]) == 1, "the lease protects it"
    outbound.clock.advance(LEASE_MS / 1000)
    await outbound.work(other)
    await outbound.work(other)
    assert len(outbound.transmitter.taken[X]) == 2
    assert state_of(outbound, X) is QueueState.SENT


async def test_an_outcome_waits_for_the_database(outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    await enter(outbound, new_copy(X))
    finish, failures = outbound.queue.finish, iter([True, True, False])

    async def finish_at_last(owner: str, outcomes: Outcomes) -> bool:
        if next(failures):
            raise MailError(ErrorKind.UNAVAILABLE, "database: away")
        return await finish(owner, outcomes)

    monkeypatch.setattr(outbound.queue, "finish", finish_at_last)
    await outbound.work()
    assert state_of(outbound, X) is QueueState.SENT
    assert len(outbound.transmitter.taken[X]) == 1


async def test_what_was_not_begun_is_due_again(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X))
    await enter(outbound, new_copy(X), queue_id="Q2")

    def steal_first() -> None:
        outbound.queue.rows[("Q1", X)].owner = "thief"

    outbound.transmitter.before_report = steal_first
    await outbound.work()
    second = outbound.queue.rows[("Q2", X)]
    assert (second.owner, second.state) == ("", QueueState.WAITING)


async def test_who_lost_its_lease_stops(outbound: Outbound) -> None:
    await enter(outbound, new_copy(X))
    await enter(outbound, new_copy(X), queue_id="Q2")

    def steal() -> None:
        for row in outbound.queue.rows.values():
            row.owner = "thief"

    outbound.transmitter.before_report = steal
    await outbound.work()
    assert len(outbound.transmitter.taken[X]) == 1
    assert state_of(outbound, X) is QueueState.WAITING


async def test_the_administrator_returns_mail_to_its_sender(outbound: Outbound) -> None:
    outbound.transmitter.answers = {X: LATER}
    await enter(outbound, new_copy(X), new_copy(Y))
    await outbound.work()
    request = ChangeQueueRequest(action=QueueAction.BOUNCE, actor="admin", queue_id="Q1")
    assert (await outbound.control.change_queue(msgspec.structs.replace(request, dry_run=True))).changed == 1
    assert state_of(outbound, X) is QueueState.WAITING
    assert (await outbound.control.change_queue(request)).changed == 1
    assert state_of(outbound, X) is QueueState.FAILED
    text = (await report_of(outbound))[1]
    assert "It was returned by the administrator of this mail system" in text
    assert "the other side objects to" not in text
    assert (await outbound.control.change_queue(request)).changed == 0


def remote(address: str) -> ForwardPath:
    return ForwardPath(
        address=address, resolution=Resolution(forward_path=address, outcome=Resolved.REMOTE), notify=("DELAY",)
    )


def submitted(*paths: ForwardPath, origin: Origin = Origin.SUBMISSION) -> MailAccepted:
    mail = accepted_mail("Q1", *paths)
    return msgspec.structs.replace(
        mail,
        origin=origin,
        envelope=Envelope(reverse_path="alice@ours.example", forward_paths=paths),
        verdict=msgspec.structs.replace(mail.verdict, author_domain="author.example"),
    )


def plan(mail: MailAccepted) -> Outgoing | None:
    return plan_outgoing(mail, "<m@x>", "mail.ours.example", Lifetime(hours=120))


def test_a_submission_leaves_by_its_authors_domain() -> None:
    made = plan(submitted(remote(X), forward_path("bob@ours.example", MailboxId("m"))))
    assert made is not None
    (copy,) = made.copies
    assert (copy.recipient, copy.domain, copy.route_domain) == (X, "b.example", "author.example")
    assert (copy.reverse_path, copy.notify) == ("alice@ours.example", ("DELAY",))
    assert made.message.expires_ms - made.message.accepted_ms == 5 * 86_400_000


def test_a_report_leaves_by_the_mail_host() -> None:
    made = plan(submitted(remote(X), origin=Origin.DSN))
    assert made is not None
    assert made.copies[0].route_domain == "mail.ours.example"


def test_our_verdict_stays_here() -> None:
    prefix = b"Received: a\r\n\tb\r\nX-Spam-Status: No,\r\n score=1\r\nX-Spam-Level: *\r\nDate: now\r\n"
    assert outgoing_prefix(prefix) == b"Received: a\r\n\tb\r\nDate: now\r\n"


def test_mail_from_outside_is_never_relayed() -> None:
    with pytest.raises(MailError, match="not relayed"):
        plan(submitted(remote(X), origin=Origin.SMTP))


def test_a_lists_copies_are_the_lists_own() -> None:
    target = MailboxTarget(mailbox_id=MailboxId("m"), address="bob@ours.example")
    path = ForwardPath(
        address="team@lists.example",
        resolution=Resolution(
            forward_path="team@lists.example",
            outcome=Resolved.LIST,
            targets=(target,),
            remotes=(X, Y),
            bounce_path="team-bounces@lists.example",
        ),
        notify=("SUCCESS",),
    )
    made = plan(submitted(path, remote(X), origin=Origin.SUBMISSION))
    assert made is not None
    by_recipient = {copy.recipient: copy for copy in made.copies}
    assert by_recipient[X].reverse_path == "alice@ours.example", "asked for by itself: once, as asked for"
    listed = by_recipient[Y]
    assert (listed.reverse_path, listed.route_domain) == ("team-bounces@lists.example", "lists.example")
    assert listed.notify == ()
    assert not listed.held
    spam = submitted(path)
    suspected = plan(
        msgspec.structs.replace(spam, verdict=msgspec.structs.replace(spam.verdict, verdict=Verdict.QUARANTINE))
    )
    assert suspected is not None
    assert all(copy.held for copy in suspected.copies), "no spam leaves in our name before somebody has seen it"
    from_outside = plan(submitted(path, origin=Origin.SMTP))
    assert from_outside is not None
    assert len(from_outside.copies) == 2


async def test_large_messages_are_in_memory_within_bounds(outbound: Outbound) -> None:
    """Twenty connections to slow hosts, each with a message that takes half of what all may have."""
    loaded: list[str] = []
    most = 0
    gate = asyncio.Event()

    async def transmit(next_hop: NextHop, messages: Sequence[OutgoingMessage], load: Load, report: Report) -> None:
        nonlocal most
        for message in messages:
            await load(message)
            loaded.append(message.queue_id)
            most = max(most, len(loaded))
            await gate.wait()
            loaded.remove(message.queue_id)
            results = [answer(each.address, Outcome.SENT, "250 2.0.0 ok") for each in message.recipients]
            assert await report(message, results)

    outbound.transmitter.transmit = transmit  # type: ignore[method-assign]
    blob_id = await outbound.blobs.put(PLAIN)
    for number in range(20):
        large = queued_message(f"Q{number}", blob_id=blob_id, blob_octets=MAX_CONTENT_OCTETS // 2)
        copies = (new_copy(f"x@d{number}.example"),)
        await outbound.queue.enter([], [Outgoing(message=large, copies=copies)], NOW_MS)
    small = queued_message("Q-small", blob_id=blob_id, blob_octets=len(PLAIN))
    await outbound.queue.enter([], [Outgoing(message=small, copies=(new_copy("x@small.example"),))], NOW_MS)
    work = asyncio.ensure_future(outbound.work())
    while len(loaded) < 3:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(loaded) == 3
    assert "Q-small" in loaded
    gate.set()
    await work
    assert most == 3
    assert {row.state for row in outbound.queue.rows.values()} == {QueueState.SENT}
