"""From `mail.accepted` to folders: once per mailbox, every message accounted for, whatever fails on the way."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.bus.codec import encode_value
from postbus.contracts.delivery import Accounted
from postbus.contracts.directory import MailboxTarget, Outcome, Resolution, ResolveReply, ResolveRequest
from postbus.contracts.events import EventType, ForwardPath, MailAccepted, Origin
from postbus.contracts.filter import CheckMessageReply, RecipientVerdict, Verdict
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId, QueueId
from postbus.mailstore.values import Append, AppendResult
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.bus import FakeBus, FakeMailDelivery
from postbus.testing.expansions import MemoryExpansions
from postbus.testing.ledger import MemoryLedger
from postbus.testing.mail import PLAIN, accepted_mail, forward_path
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.queue import MemoryQueue
from postbusd.delivery.expansion import Expander
from postbusd.delivery.journey import Site
from postbusd.delivery.outbound.entering import Lifetime
from postbusd.delivery.ports import DeadLetter
from postbusd.delivery.settings import DeliverySettings
from postbusd.delivery.worker import Metrics, Worker

ALICE = MailboxId("0190a000-0000-7000-8000-000000000001")
BOB = MailboxId("0190a000-0000-7000-8000-000000000002")


class Resolver:
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.mailbox_id = ALICE

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        target = MailboxTarget(mailbox_id=self.mailbox_id, address="alice@demo.example")
        return ResolveReply(
            resolutions=tuple(
                Resolution(forward_path=path, outcome=self.outcome, targets=(target,)) for path in request.forward_paths
            ),
            revision=1,
        )


class World:
    def __init__(self) -> None:
        self.bus = FakeBus()
        self.store = MemoryMailStore()
        self.blobs = MemoryBlobStore()
        self.ledger = MemoryLedger()
        self.queue_wakes: list[bool] = []
        self.queue = MemoryQueue(self.ledger)
        self.resolver = Resolver(Outcome.MAILBOX)
        self.expansions = MemoryExpansions()
        self.registry = CollectorRegistry()
        self.worker = Worker(
            bus=self.bus,
            store=self.store,
            blobs=self.blobs,
            ledger=self.ledger,
            queue=self.queue,
            wake_queue=lambda: self.queue_wakes.append(True),
            site=Site(mail_host="mail.ours.example", lifetime=Lifetime(hours=120)),
            expander=Expander(self.resolver, self.expansions, SystemClock()),
            clock=SystemClock(),
            settings=DeliverySettings(),
            metrics=Metrics(self.registry),
        )

    async def deliver(self, *mails: MailAccepted, attempt: int = 1) -> list[FakeMailDelivery]:
        deliveries = [FakeMailDelivery(encode_value(mail), n, attempt) for n, mail in enumerate(mails, 1)]
        await self.worker.deliver(deliveries)
        return deliveries

    async def messages(self, mailbox: MailboxId) -> dict[str, int]:
        return {f.name: f.messages for f in await self.store.list_folders(mailbox) if f.messages}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("postbusd.delivery.worker.AWAY_SECONDS", 0)
    world = World()
    for mailbox in (ALICE, BOB):
        await world.store.ensure_mailboxes([mailbox])
    return world


async def test_a_message_is_stored_accounted_told_and_acknowledged(world: World) -> None:
    (delivery,) = await world.deliver(accepted_mail("Q1", forward_path("alice@demo.example", ALICE)))
    assert delivery.acked
    assert await world.messages(ALICE) == {"INBOX": 1}
    entry = world.ledger.entries[1]
    assert (entry.queue_id, entry.accounted, entry.placements[0].folder) == ("Q1", Accounted.FOLDER, "INBOX")
    assert [subject for subject, _ in world.bus.wakes] == [f"folder.changed.{ALICE}", "index.wanted"]
    assert [event.type for event in world.store.outbox] == [EventType.DELIVERED]


async def test_the_prefix_starts_with_the_return_path(world: World) -> None:
    await world.deliver(accepted_mail("Q1", forward_path("alice@demo.example", ALICE)))
    (row,) = await world.store.pending(10)
    assert row.message is not None
    assert row.message.prefix.startswith(
        b"Return-Path: <ann@elsewhere.example>\r\nDelivered-To: alice@demo.example\r\nReceived: "
    )


async def test_two_paths_to_one_mailbox_store_one_copy(world: World) -> None:
    paths = (forward_path("alice@demo.example", ALICE), forward_path("info@demo.example", ALICE, BOB))
    await world.deliver(accepted_mail("Q1", *paths))
    assert await world.messages(ALICE) == {"INBOX": 1}
    assert await world.messages(BOB) == {"INBOX": 1}


async def test_a_redelivery_stores_nothing_and_is_acknowledged(world: World) -> None:
    mail = accepted_mail("Q1", forward_path("alice@demo.example", ALICE))
    await world.deliver(mail)
    (again,) = await world.deliver(mail, attempt=2)
    assert again.acked
    assert await world.messages(ALICE) == {"INBOX": 1}
    assert len(world.bus.wakes) == 2
    assert world.registry.get_sample_value("postbus_delivery_redelivered_messages_total") == 1


async def test_quarantine_goes_to_spam_for_those_whom_it_concerns(world: World) -> None:
    verdict = CheckMessageReply(
        verdict=Verdict.QUARANTINE,
        score=9.0,
        required=5.0,
        recipients=(RecipientVerdict(forward_path="bob@demo.example", verdict=Verdict.ACCEPT, score=1.0),),
    )
    paths = (forward_path("alice@demo.example", ALICE), forward_path("bob@demo.example", BOB))
    await world.deliver(accepted_mail("Q1", *paths, verdict=verdict))
    assert await world.messages(ALICE) == {"Spam": 1}
    assert await world.messages(BOB) == {"INBOX": 1}
    assert [event.type for event in world.store.outbox] == [EventType.QUARANTINED, EventType.DELIVERED]


@pytest.mark.parametrize("absent", ["store", "ledger"])
async def test_an_absent_database_leaves_the_message_on_the_bus(world: World, absent: str) -> None:
    mail = accepted_mail("Q1", forward_path("alice@demo.example", ALICE))
    part = getattr(world, absent)
    part.fail_with = MailError(ErrorKind.UNAVAILABLE, "database: away")
    (delivery,) = await world.deliver(mail, attempt=99)
    assert not delivery.acked
    assert delivery.retries == [30.0]
    part.fail_with = None
    (delivery,) = await world.deliver(mail, attempt=100)
    assert delivery.acked
    assert await world.messages(ALICE) == {"INBOX": 1}
    assert world.ledger.entries[1].accounted is Accounted.FOLDER


async def test_an_undecodable_message_is_held(world: World) -> None:
    delivery = FakeMailDelivery(b"\xff\xff", 5)
    await world.worker.deliver([delivery])
    assert delivery.acked
    assert world.ledger.letters[5].payload == b"\xff\xff"
    assert world.ledger.entries[5].accounted is Accounted.HELD


async def test_a_message_that_fails_for_itself_is_held_and_harms_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.store.append

    async def append(appends: Sequence[Append]) -> list[AppendResult]:
        if any(append.operation_key == "POISON" for append in appends):
            raise ZeroDivisionError
        return await real(appends)

    monkeypatch.setattr(world.store, "append", append)
    path = forward_path("alice@demo.example", ALICE)
    mails = [accepted_mail("Q1", path), accepted_mail("POISON", path), accepted_mail("Q3", path)]
    first, poison, third = await world.deliver(*mails)
    assert (first.acked, poison.acked, third.acked) == (True, False, True)
    assert len(poison.retries) == 1
    assert await world.messages(ALICE) == {"INBOX": 2}
    again = FakeMailDelivery(encode_value(mails[1]), 2, attempt=5)
    await world.worker.deliver([again])
    assert again.acked
    assert world.ledger.entries[2].accounted is Accounted.HELD


async def test_a_dead_letter_is_kept_whatever_it_says_of_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that is none, a name that is no text: they must not keep it on the bus for ever."""
    real = world.ledger.hold

    async def hold(letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        for letter in letters:
            if letter.accepted_ms >= 1 << 60 or "\0" in letter.queue_id or "\0" in letter.reason:
                raise MailError(ErrorKind.INVALID, "database: a value that can't be stored")
        return await real(letters)

    monkeypatch.setattr(world.ledger, "hold", hold)
    path = ForwardPath(
        address="x\0@demo.example",
        resolution=Resolution(forward_path="x", outcome=Outcome.REJECT, reason="no\0body"),
    )
    mails = [accepted_mail("Q1", path, accepted_ms=1 << 60), accepted_mail("Q\0", path)]
    first, second = await world.deliver(*mails, attempt=5)
    assert (first.acked, second.acked) == (True, True)
    assert [letter.queue_id for letter in world.ledger.letters.values()] == ["Q1", ""]
    assert [letter.payload for letter in world.ledger.letters.values()] == [encode_value(mail) for mail in mails]


async def test_a_vanished_mailbox_means_held_not_lost(world: World) -> None:
    gone = MailboxId("0190a000-0000-7000-8000-00000000dead")
    paths = (forward_path("alice@demo.example", ALICE), forward_path("gone@demo.example", gone))
    (delivery,) = await world.deliver(accepted_mail("Q1", *paths))
    assert delivery.acked
    assert await world.messages(ALICE) == {"INBOX": 1}
    assert world.ledger.letters[1].reason == "gone@demo.example: no_mailbox"
    assert world.ledger.entries[1].accounted is Accounted.HELD


async def test_a_message_that_leads_nowhere_is_held(world: World) -> None:
    nowhere = ForwardPath(address="x@demo.example", resolution=Resolution(forward_path="x", outcome=Outcome.REJECT))
    (delivery,) = await world.deliver(accepted_mail("Q1", nowhere), attempt=5)
    assert delivery.acked
    assert world.ledger.entries[1].accounted is Accounted.HELD


async def test_what_could_not_be_resolved_then_is_resolved_now(world: World) -> None:
    later = ForwardPath(
        address="alice@demo.example", resolution=Resolution(forward_path="alice@demo.example", outcome=Outcome.LATER)
    )
    world.resolver.outcome = Outcome.LATER
    (delivery,) = await world.deliver(accepted_mail("Q1", later), attempt=50)
    assert not delivery.acked
    world.resolver.outcome = Outcome.MAILBOX
    (delivery,) = await world.deliver(accepted_mail("Q1", later), attempt=51)
    assert delivery.acked
    assert await world.messages(ALICE) == {"INBOX": 1}


async def test_what_was_resolved_once_holds_for_every_later_pass(world: World) -> None:
    later = ForwardPath(
        address="alice@demo.example", resolution=Resolution(forward_path="alice@demo.example", outcome=Outcome.LATER)
    )
    mail = accepted_mail("Q1", later)
    world.ledger.fail_with = MailError(ErrorKind.UNAVAILABLE, "database: away")
    (delivery,) = await world.deliver(mail)
    assert not delivery.acked
    world.ledger.fail_with = None
    world.resolver.mailbox_id = BOB
    (delivery,) = await world.deliver(mail, attempt=2)
    assert delivery.acked
    assert await world.messages(ALICE) == {"INBOX": 1}
    assert await world.messages(BOB) == {}
    assert [placement.mailbox_id for placement in world.ledger.entries[1].placements] == [ALICE]


async def test_nothing_is_delivered_before_its_expansion_is_pinned(world: World) -> None:
    later = ForwardPath(
        address="alice@demo.example", resolution=Resolution(forward_path="alice@demo.example", outcome=Outcome.LATER)
    )
    world.expansions.fail_with = MailError(ErrorKind.UNAVAILABLE, "database: away")
    (delivery,) = await world.deliver(accepted_mail("Q1", later))
    assert not delivery.acked
    assert await world.messages(ALICE) == {}


async def test_copies_for_others_are_entered_once_and_told(world: World) -> None:
    remote = ForwardPath(
        address="x@b.example", resolution=Resolution(forward_path="x@b.example", outcome=Outcome.REMOTE)
    )
    mail = accepted_mail("Q1", forward_path("alice@demo.example", ALICE), remote)
    mail = msgspec.structs.replace(mail, origin=Origin.SUBMISSION)
    for attempt in (1, 2):
        (delivery,) = await world.deliver(mail, attempt=attempt)
        assert delivery.acked
    assert await world.messages(ALICE) == {"INBOX": 1}
    assert list(world.queue.rows) == [("Q1", "x@b.example")]
    assert world.ledger.entries[1].accounted is Accounted.QUEUED
    assert world.queue_wakes


@pytest.mark.parametrize("point", ["store.append", "bus.wake", "queue.enter before", "queue.enter after", "ack"])
async def test_dying_anywhere_on_the_way_loses_and_doubles_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    remote = ForwardPath(
        address="x@b.example", resolution=Resolution(forward_path="x@b.example", outcome=Outcome.REMOTE)
    )
    mail = accepted_mail("Q1", forward_path("alice@demo.example", ALICE), remote)
    mail = msgspec.structs.replace(mail, origin=Origin.SUBMISSION)
    delivery = FakeMailDelivery(encode_value(mail), 1, 1)
    place, _, moment = point.partition(" ")
    part, _, method = place.rpartition(".")
    owner = getattr(world, part) if part else delivery
    real = getattr(owner, method)

    async def die(*arguments: object) -> object:
        if moment != "before":
            await real(*arguments)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, die)
        with pytest.raises((asyncio.CancelledError, BaseExceptionGroup)):
            await world.worker.deliver([delivery])
    (again,) = await world.deliver(mail, attempt=2)
    assert again.acked
    assert await world.messages(ALICE) == {"INBOX": 1}
    assert list(world.queue.rows) == [("Q1", "x@b.example")]
    assert [event.type for event in world.queue.events] == [EventType.QUEUED]
    assert world.ledger.entries[1].accounted is Accounted.QUEUED


async def test_a_report_goes_where_the_domain_receives_its_mail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(request: ResolveRequest) -> ResolveReply:
        target = MailboxTarget(mailbox_id=ALICE, address="alice@demo.example")
        (path,) = request.forward_paths
        refused = Resolution(forward_path=path, outcome=Outcome.REJECT, targets=(target,), incoming=False)
        return ResolveReply(resolutions=(refused,), revision=1)

    monkeypatch.setattr(world.resolver, "resolve", resolve)
    later = ForwardPath(
        address="alice@demo.example", resolution=Resolution(forward_path="alice@demo.example", outcome=Outcome.LATER)
    )
    await world.deliver(msgspec.structs.replace(accepted_mail("Q1", later), origin=Origin.DSN))
    assert await world.messages(ALICE) == {}
    assert list(world.queue.rows) == [("Q1", "alice@demo.example")]


async def test_a_scan_that_did_not_travel_is_made_from_the_blob(world: World) -> None:
    blob_id = await world.blobs.put(PLAIN)
    mail = accepted_mail("Q1", forward_path("alice@demo.example", ALICE), blob_id=blob_id)
    (delivery,) = await world.deliver(msgspec.structs.replace(mail, scan=b""))
    assert delivery.acked
    (row,) = await world.store.pending(10)
    assert row.message is not None
    assert row.message.octets == len(row.message.prefix) + len(PLAIN)


async def test_the_loop_drains(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.worker.run())
        await world.bus.publish_mail(accepted_mail("Q1", forward_path("alice@demo.example", ALICE)))
        while not world.ledger.entries:
            await asyncio.sleep(0)
        await world.worker.drain()
        running.cancel()
    assert QueueId("Q1") == world.ledger.entries[1].queue_id
