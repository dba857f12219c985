"""Promise 8 in delivery: a span a message in a batch; attempts of the queue in the message's trace, retries linked."""

from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.bus.codec import encode_value
from postbus.contracts.directory import ResolveReply, ResolveRequest
from postbus.contracts.events import MailAccepted
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.core.trace import TraceContext, current_trace, new_trace, parse_traceparent
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.bus import FakeBus, FakeMailDelivery
from postbus.testing.expansions import MemoryExpansions
from postbus.testing.ledger import MemoryLedger
from postbus.testing.mail import PLAIN, accepted_mail, forward_path
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.outbound import FakeSigner, Outbound
from postbus.testing.queue import NOW_MS, MemoryQueue, new_copy, queued_message
from postbus.testing.spans import KeptSpans, kept_spans
from postbusd.delivery.expansion import Expander
from postbusd.delivery.journey import Site
from postbusd.delivery.outbound.entering import Lifetime
from postbusd.delivery.outbound.queue import Outgoing
from postbusd.delivery.outbound.values import Outcome
from postbusd.delivery.settings import DeliverySettings
from postbusd.delivery.worker import Metrics, Worker

ALICE = MailboxId("0190a000-0000-7000-8000-000000000001")
BOB = MailboxId("0190a000-0000-7000-8000-000000000002")
X, Y = "x@b.example", "y@b.example"
PASSWORDLIKE = "451 4.3.0 later, said the secret remote"


@pytest.fixture
def kept() -> Iterator[KeptSpans]:
    with kept_spans() as found:
        yield found


class NoDirectory:
    """Everything was resolved at RCPT."""

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        raise AssertionError(request)


class World:
    def __init__(self) -> None:
        self.store = MemoryMailStore()
        self.ledger = MemoryLedger()
        self.worker = Worker(
            bus=FakeBus(),
            store=self.store,
            blobs=MemoryBlobStore(),
            ledger=self.ledger,
            queue=MemoryQueue(self.ledger),
            wake_queue=lambda: None,
            site=Site(mail_host="mail.ours.example", lifetime=Lifetime(hours=120)),
            expander=Expander(NoDirectory(), MemoryExpansions(), SystemClock()),
            clock=SystemClock(),
            settings=DeliverySettings(),
            metrics=Metrics(CollectorRegistry()),
        )

    async def deliver(self, *mails: MailAccepted, attempt: int = 1) -> None:
        await self.worker.deliver([FakeMailDelivery(encode_value(mail), n, attempt) for n, mail in enumerate(mails, 1)])


@pytest.fixture
async def world() -> World:
    world = World()
    for mailbox in (ALICE, BOB):
        await world.store.ensure_mailboxes([mailbox])
    return world


def traced(queue_id: str, *mailboxes: MailboxId) -> tuple[MailAccepted, TraceContext]:
    accept = new_trace()
    paths = [forward_path(f"{box[-1]}@demo.example", box) for box in mailboxes]
    return msgspec.structs.replace(accepted_mail(queue_id, *paths), traceparent=accept.format()), accept


async def test_each_message_of_a_batch_has_its_own_spans(world: World, kept: KeptSpans) -> None:
    one, first = traced("Q1", ALICE)
    two, second = traced("Q2", ALICE, BOB)
    await world.deliver(one, two)
    for queue_id, accept in (("Q1", first), ("Q2", second)):
        deliver = kept.named("delivery.deliver", queue_id=queue_id)
        assert (deliver.parent, deliver.attributes["outcome"]) == (accept, "folder")
        assert (deliver.attributes["batch_messages"], deliver.error) == (2, "")
        append = kept.named("mailstore.append", queue_id=queue_id)
        assert append.parent == deliver.context
        assert deliver.started_ns <= append.started_ns <= append.ended_ns <= deliver.ended_ns
    assert kept.named("mailstore.append", queue_id="Q2").attributes["copies"] == 2


async def test_what_follows_stands_below_the_delivery(world: World, kept: KeptSpans) -> None:
    mail, accept = traced("Q1", ALICE)
    await world.deliver(mail)
    deliver = kept.named("delivery.deliver").context
    (row,) = await world.store.pending(10)
    assert parse_traceparent(row.traceparent) == deliver
    assert parse_traceparent(world.ledger.entries[1].traceparent) == deliver
    assert parse_traceparent(world.store.outbox[0].traceparent) == deliver
    assert deliver.trace_id == accept.trace_id


async def test_a_pass_that_failed_is_told_with_the_kind_of_error(
    world: World, kept: KeptSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postbusd.delivery.worker.AWAY_SECONDS", 0)
    mail, accept = traced("Q1", ALICE)
    world.store.fail_with = MailError(ErrorKind.UNAVAILABLE, "database: away, password=secret")
    await world.deliver(mail)
    world.store.fail_with = None
    await world.deliver(mail, attempt=2)
    failed, done = kept.all_named("delivery.deliver")
    assert (failed.attributes["outcome"], failed.error) == ("deferred", "unavailable")
    assert (done.attributes["outcome"], done.attributes["attempt"]) == ("folder", 2)
    assert failed.parent == done.parent == accept
    assert "secret" not in str(kept.spans)


async def test_without_a_collector_the_trace_goes_on_and_the_index_is_not_asked_to_tell(world: World) -> None:
    mail, accept = traced("Q1", ALICE)
    await world.deliver(mail)
    (row,) = await world.store.pending(10)
    assert row.traceparent == ""
    assert world.ledger.entries[1].traceparent == accept.format()


async def enter(outbound: Outbound, queue_id: str, *recipients: str) -> TraceContext:
    deliver = new_trace()
    blob_id = await outbound.blobs.put(PLAIN)
    message = queued_message(queue_id, blob_id=blob_id, blob_octets=len(PLAIN), traceparent=deliver.format())
    copies = tuple(new_copy(recipient) for recipient in recipients)
    await outbound.queue.enter([], [Outgoing(message=message, copies=copies)], NOW_MS)
    return deliver


async def test_first_attempts_are_of_the_trace_and_messages_of_one_connection_apart(kept: KeptSpans) -> None:
    outbound = Outbound()
    traces = {queue_id: await enter(outbound, queue_id, X, Y) for queue_id in ("Q1", "Q2")}
    await outbound.work()
    for queue_id, deliver in traces.items():
        sent = kept.named("delivery.attempt", queue_id=queue_id)
        assert (sent.parent, sent.links) == (deliver, ())
        facts = {"outcome": "sent", "reply_code": "250", "remote_host": "mx.b.example", "copies": 2, "attempt": 1}
        assert facts.items() <= sent.attributes.items()


async def test_a_retry_is_a_trace_of_its_own_linked_to_the_first(kept: KeptSpans) -> None:
    outbound = Outbound()
    deliver = await enter(outbound, "Q1", X)
    outbound.transmitter.answers[X] = (Outcome.DEFERRED, PASSWORDLIKE)
    await outbound.work()
    outbound.transmitter.answers.clear()
    outbound.clock.advance(3600)
    await outbound.work()
    first, second = kept.all_named("delivery.attempt", queue_id="Q1")
    assert (first.parent, first.attributes["outcome"], first.attributes["reply_code"]) == (deliver, "deferred", "451")
    assert (second.parent, second.links, second.attributes["attempt"]) == (None, (deliver,), 2)
    assert second.context.trace_id != deliver.trace_id
    assert "secret" not in str(kept.spans)


async def test_content_is_loaded_and_signed_in_the_attempt_of_its_message(
    kept: KeptSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbound = Outbound()
    for queue_id in ("Q1", "Q2"):
        await enter(outbound, queue_id, X)
    seen: list[TraceContext | None] = []

    async def sign(_signer: FakeSigner, _domain: str, _content: bytes) -> bytes:
        seen.append(current_trace())
        return b""

    monkeypatch.setattr(FakeSigner, "sign", sign)
    await outbound.work()
    assert seen == [kept.named("delivery.attempt", queue_id=queue_id).context for queue_id in ("Q1", "Q2")]
