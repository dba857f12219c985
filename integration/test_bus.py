"""The bus on a real nats-server: promises 1 and 2 begin here."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import pytest
from nats import connect

from postbus.bus.nats import NatsBus
from postbus.bus.ports import Counting
from postbus.bus.streams import ACK_WAIT_SECONDS, consumer_configs, ensure_streams
from postbus.bus.subjects import CONSUMER_DELIVERY, STREAM_MAIL
from postbus.contracts.events import Event, EventType, FolderChanged
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, MailboxId, ModSeq, new_queue_id, new_uuid7
from postbus.testing.counting_contract import CountingContract, unused_key
from postbus.testing.mail import accepted_mail, forward_path

if TYPE_CHECKING:
    from postbus.testing.installation import Nats

MAILBOX = MailboxId("0190a000-0000-7000-8000-000000000001")
PATH = forward_path("alice@demo.example", MAILBOX)


def queue_id() -> str:
    return new_queue_id(time.time_ns() // 1_000_000)


@contextlib.asynccontextmanager
async def connected(nats: "Nats", service: str, url: str = "") -> AsyncIterator[NatsBus]:
    bus = NatsBus(url or nats.url, service, nats.password(service))
    bus.start()
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def edge(nats: "Nats") -> AsyncIterator[NatsBus]:
    async with connected(nats, "smtp-edge") as bus:
        yield bus


@pytest.fixture
async def delivery(nats: "Nats") -> AsyncIterator[NatsBus]:
    async with connected(nats, "delivery") as bus:
        yield bus
        for message in await bus.fetch_mail(64, 0.05):
            await message.ack()


async def test_a_message_arrives_whole_and_a_repeated_publish_is_no_double(edge: NatsBus, delivery: NatsBus) -> None:
    mail = accepted_mail(queue_id(), PATH)
    sequence = await edge.publish_mail(mail)
    assert await edge.publish_mail(mail) == sequence
    (message,) = await delivery.fetch_mail(64, 5)
    assert (message.accepted, message.stream_sequence, message.attempt) == (mail, sequence, 1)
    await message.ack()
    assert await delivery.fetch_mail(64, 0.05) == []


async def test_what_is_not_acknowledged_comes_again(edge: NatsBus, delivery: NatsBus) -> None:
    await edge.publish_mail(accepted_mail(queue_id(), PATH))
    (message,) = await delivery.fetch_mail(64, 5)
    await message.heartbeat()
    await message.retry(0.01)
    (again,) = await delivery.fetch_mail(64, 5)
    assert again.attempt == 2
    await again.ack()


async def test_a_lone_message_comes_at_once_to_a_waiting_consumer(edge: NatsBus, delivery: NatsBus) -> None:
    waiting = asyncio.create_task(delivery.fetch_mail(64, 20))
    await asyncio.sleep(0.1)
    await edge.publish_mail(accepted_mail(queue_id(), PATH))
    async with asyncio.timeout(10):
        (message,) = await waiting
    await message.ack()


async def test_a_message_too_big_for_the_bus_travels_without_its_scan(edge: NatsBus, delivery: NatsBus) -> None:
    mail = msgspec.structs.replace(accepted_mail(queue_id(), PATH), scan=bytes(5 << 20))
    await edge.publish_mail(mail)
    (message,) = await delivery.fetch_mail(64, 5)
    assert message.accepted is not None
    assert message.accepted.scan == b""
    await message.ack()


async def test_only_smtp_edge_and_delivery_publish_mail(nats: "Nats", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postbus.bus.nats.PUBACK_SECONDS", 0.3)
    monkeypatch.setattr("postbus.bus.nats.REPUBLISH_SECONDS", 0.1)
    async with connected(nats, "imap-gateway") as intruder:
        with pytest.raises(MailError) as caught:
            await intruder.publish_mail(accepted_mail(queue_id(), PATH))
    assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_an_absent_bus_is_unavailable_and_its_return_is_noticed(
    nats: "Nats", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postbus.bus.nats.PUBACK_SECONDS", 0.2)
    monkeypatch.setattr("postbus.bus.nats.REPUBLISH_SECONDS", 0.3)
    async with connected(nats, "smtp-edge", "nats://127.0.0.1:1") as bus:
        with pytest.raises(MailError) as caught:
            await bus.check()
        assert caught.value.kind is ErrorKind.UNAVAILABLE
        with pytest.raises(MailError):
            await bus.publish_mail(accepted_mail(queue_id(), PATH))
        await bus.wake("index.wanted", FolderChanged(mailbox_id=MAILBOX, folder_ids=(), mod_seq=ModSeq(1)))


async def test_events_travel_in_batches_until_they_are_taken(nats: "Nats", delivery: NatsBus) -> None:
    events = [
        Event(event_id=new_uuid7(n), type=EventType.DELIVERED, at_ms=n, service="delivery", summary="s")
        for n in range(3)
    ]
    seen: list[Sequence[Event]] = []
    done = asyncio.Event()

    async def take(batch: Sequence[Event]) -> None:
        if batch[0].event_id not in {event.event_id for event in events}:
            return  # of another test
        seen.append(batch)
        if len(seen) == 1:
            raise MailError(ErrorKind.UNAVAILABLE, "not yet")
        done.set()

    await delivery.publish_events(events)
    await delivery.publish_events(events)
    async with connected(nats, "admin-api") as api:
        consuming = asyncio.create_task(api.consume_events(take))
        async with asyncio.timeout(10):
            await done.wait()
        await asyncio.sleep(0.1)
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
    assert seen == [tuple(events), tuple(events)]


async def test_wake_ups_reach_listeners_even_those_that_listened_before_the_connection(
    nats: "Nats", delivery: NatsBus
) -> None:
    heard: asyncio.Queue[FolderChanged] = asyncio.Queue()
    gateway = NatsBus(nats.url, "imap-gateway", nats.password("imap-gateway"))
    unsubscribe = await gateway.listen("folder.changed.>", FolderChanged, heard.put)
    gateway.start()
    value = FolderChanged(mailbox_id=MAILBOX, folder_ids=(FolderId(1),), mod_seq=ModSeq(5))
    async with asyncio.timeout(10):
        while heard.empty():
            await delivery.wake(f"folder.changed.{MAILBOX}", value)
            await asyncio.sleep(0.02)
    assert await heard.get() == value
    await unsubscribe()
    await gateway.close()


async def test_streams_keep_what_the_design_says(nats: "Nats") -> None:
    await ensure_streams(nats.url, "admin", nats.password("admin"))
    import nats as client_library

    client = await client_library.connect(nats.url, user="admin", password=nats.password("admin"))
    config = (await client.jetstream().stream_info("MAIL")).config
    consumer = (await client.jetstream().consumer_info("MAIL", "delivery")).config
    rates = (await client.jetstream().stream_info("RATES")).config
    await client.close()
    assert (rates.allow_msg_counter, rates.persist_mode, rates.storage) == (True, "async", "file")
    assert (rates.max_msgs_per_subject, rates.max_age, rates.discard) == (1, 86_400, "old")
    assert (config.discard, config.max_age, config.storage, config.deny_delete) == ("new", 0, "file", True)
    assert config.subjects == ["mail.accepted"]
    assert (consumer.max_deliver, consumer.ack_policy) == (-1, "explicit")
    assert consumer.max_ack_pending == 512


async def test_nothing_young_is_trimmed(edge: NatsBus, delivery: NatsBus) -> None:
    await edge.publish_mail(accepted_mail(queue_id(), PATH))
    (message,) = await delivery.fetch_mail(64, 5)
    await message.ack()
    assert await delivery.trim_mail() == 0


async def test_what_is_old_and_acknowledged_is_trimmed(
    edge: NatsBus, delivery: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await edge.publish_mail(accepted_mail(queue_id(), PATH))
    taken = 0
    while taken < 4:
        for message in await delivery.fetch_mail(4 - taken, 5):
            await message.ack()
            taken += 1
    monkeypatch.setattr("postbus.bus.nats.REPLAY_WINDOW_HOURS", -1)
    assert await delivery.trim_mail() >= 4
    assert len(await delivery.fetch_mail(64, 5)) == 1


class TestNatsCounting(CountingContract):
    @pytest.fixture
    async def counting(self, edge: NatsBus) -> Counting:
        await edge.publish_mail(accepted_mail(queue_id(), PATH))
        return edge


async def test_a_window_ends_and_services_count_together(nats: "Nats", edge: NatsBus) -> None:
    key = unused_key()
    async with connected(nats, "smtp-edge") as other:
        await other.publish_mail(accepted_mail(queue_id(), PATH))
        assert [await bus.count(key, 1, 86_400) for bus in (edge, other)] == [1, 2]
    await edge.count(key, 5, 1)
    for _ in range(100):
        if await edge.count(key, 1, 1) == 1:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("the window did not end")


async def test_counting_fails_at_once_without_the_bus_and_for_others(nats: "Nats", delivery: NatsBus) -> None:
    away = NatsBus(nats.url, "smtp-edge", nats.password("smtp-edge"))
    with pytest.raises(MailError) as error:
        await away.count("a", 1, 60)
    assert error.value.kind is ErrorKind.UNAVAILABLE
    await delivery.publish_mail(accepted_mail(queue_id(), PATH))
    with pytest.raises(MailError) as denied:
        await delivery.count("a", 1, 60)
    assert denied.value.kind is ErrorKind.UNAVAILABLE


async def test_the_state_of_the_mail_stream_and_a_message_read_beside_the_consumer(
    edge: NatsBus, delivery: NatsBus
) -> None:
    """Last sequence, ack floor and times agree with what is pulled."""
    before = await delivery.mail_state()
    mail = accepted_mail(queue_id(), PATH)
    sequence = await edge.publish_mail(mail)
    state = await delivery.mail_state()
    assert (state.last_sequence, state.deleted, state.deleted_sequences) == (sequence, 0, ())
    assert state.created_ms == before.created_ms
    assert state.ack_floor < sequence
    read = await delivery.read_mail(sequence)
    assert read is not None
    (pulled,) = await delivery.fetch_mail(1, 5.0)
    assert (read.accepted, read.payload, read.stored_ns) == (pulled.accepted, pulled.payload, pulled.stored_ns)
    assert state.last_stored_ns == pulled.stored_ns > state.created_ms * 1_000_000
    await read.ack()
    assert (await delivery.mail_state()).ack_floor < sequence
    await pulled.ack()
    assert await delivery.read_mail(sequence + 1) is None


async def test_nobody_else_reads_mail_from_the_stream(nats: "Nats", monkeypatch: pytest.MonkeyPatch) -> None:
    """Its content is delivery's alone: nats-server does not even answer."""
    monkeypatch.setattr("postbus.bus.mail_stream.API_SECONDS", 0.5)
    async with connected(nats, "indexer") as indexer:
        with pytest.raises(MailError) as refused:
            await indexer.mail_state()
    assert refused.value.kind is ErrorKind.UNAVAILABLE


async def test_a_consumer_of_an_older_version_gets_the_ack_wait_of_this_one(nats: "Nats") -> None:
    """What a killed process had in hand comes back after ACK_WAIT_SECONDS, also where 60 s were set before."""
    client = await connect(nats.url, user="admin", password=nats.password("admin"))
    try:
        api = client.jetstream()
        config = next(config for stream, config in consumer_configs() if stream == STREAM_MAIL)
        await api.add_consumer(STREAM_MAIL, config.evolve(ack_wait=60.0))
        assert (await api.consumer_info(STREAM_MAIL, CONSUMER_DELIVERY)).config.ack_wait == 60.0
        await ensure_streams(nats.url, "admin", nats.password("admin"))
        assert (await api.consumer_info(STREAM_MAIL, CONSUMER_DELIVERY)).config.ack_wait == ACK_WAIT_SECONDS
    finally:
        await client.close()
