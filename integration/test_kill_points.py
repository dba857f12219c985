"""Promises 1 and 2 at every await: delivery dies by SIGKILL at each of them in turn, and loses and doubles nothing.

Each kill has messages of its own, one for every path that there is. What the dead left behind is finished afterwards
by one clean run, by redelivery from the bus and by the leases that end with their process; then every message must be
where it belongs exactly once.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import nats as nats_client
import pytest
from nats.aio.client import Client

from postbus.blobs.local import LocalBlobStore
from postbus.bus.codec import encode_value
from postbus.bus.streams import consumer_configs
from postbus.bus.subjects import STREAM_MAIL, SUBJECT_MAIL_ACCEPTED
from postbus.contracts.delivery import Placement
from postbus.contracts.directory import Outcome, Resolution
from postbus.contracts.events import Event, ForwardPath, MailAccepted, Origin
from postbus.core.ids import MailboxId, new_mailbox_id, new_queue_id
from postbus.mailstore.postgres import PostgresMailStore
from postbus.testing.delivery_trial import Servers, Trial
from postbus.testing.kill_points import NEVER, Zygote, running_zygote
from postbus.testing.mail import PLAIN, accepted_mail, forward_path

if TYPE_CHECKING:
    from postbus.testing.installation import Database, Nats

TABLES = (
    "delivery.ledger, delivery.dead_letter, delivery.outgoing, delivery.outgoing_copy, delivery.outbox, "
    "delivery.report_outbox, mailstore.outbox"
)
UNDISTURBED_SECONDS = 300.0
"""The ack wait while processes die: nothing comes again before all of them are dead."""
REDELIVERY_SECONDS = 0.3
"""Enough for the server to put everything that nobody acknowledged back in the line."""
MANY = 100_000
MOST_POINTS = 2000
_QUEUE_ID = re.compile(rb"\bid (\S+)")


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Servers, mailboxes, and the process that is forked and killed."""

    servers: Servers
    superuser: asyncpg.Connection
    bus: Client
    zygote: Zygote
    alice: MailboxId
    bob: MailboxId
    blob_id: str

    async def publish(self, mail: MailAccepted | bytes) -> int:
        """As smtp-edge does; the stream sequence."""
        payload = mail if isinstance(mail, bytes) else encode_value(mail)
        ack = await self.bus.jetstream().publish(SUBJECT_MAIL_ACCEPTED, payload)
        return int(ack.seq)

    async def configure_consumer(self, **changes: Any) -> None:
        """Changes delivery's consumer; without changes back to what it has to be."""
        config = next(config for stream, config in consumer_configs() if stream == STREAM_MAIL)
        await self.bus.jetstream().add_consumer(STREAM_MAIL, config.evolve(**changes))

    def run(self, trial: Trial, kill_at: int = NEVER) -> Any:
        """One process of delivery."""
        return self.zygote.run(msgspec.msgpack.encode(trial), kill_at)

    async def finish(self, **facts: Any) -> None:
        """The clean run: what the dead had in hand is delivered again at once."""
        await self.configure_consumer(ack_wait=0.1, max_ack_pending=MANY)
        await asyncio.sleep(REDELIVERY_SECONDS)
        await self.configure_consumer(ack_wait=UNDISTURBED_SECONDS, max_ack_pending=MANY)
        await asyncio.to_thread(self.run, Trial(servers=self.servers, **facts))

    async def stored(self) -> Counter[tuple[str, str]]:
        """(queue_id, mailbox) of every entry."""
        rows = await self.superuser.fetch(
            "SELECT prefix, mailbox_id FROM mailstore.entry JOIN mailstore.message USING (mailbox_id, email_id) "
            "WHERE mailbox_id = ANY($1)",
            [self.alice, self.bob],
        )
        found = ((_QUEUE_ID.search(row["prefix"]), str(row["mailbox_id"])) for row in rows)
        return Counter((match[1].decode(), mailbox) for match, mailbox in found if match is not None)

    async def told(self) -> Counter[tuple[str, str]]:
        """(type, queue_id) of every event in the outboxes."""
        rows = await self.superuser.fetch(
            "SELECT event FROM delivery.outbox UNION ALL SELECT event FROM mailstore.outbox"
        )
        events = (msgspec.msgpack.decode(row["event"], type=Event) for row in rows)
        return Counter((event.type.value, event.queue_id) for event in events)

    async def ledger(self) -> dict[int, tuple[str, str]]:
        """queue_id and account by stream sequence."""
        rows = await self.superuser.fetch("SELECT stream_sequence, queue_id, accounted FROM delivery.ledger")
        return {row["stream_sequence"]: (row["queue_id"], row["accounted"]) for row in rows}

    async def accounted_places(self) -> Counter[tuple[str, str]]:
        """(queue_id, mailbox) of every copy that the ledger tells of."""
        rows = await self.superuser.fetch("SELECT queue_id, placements FROM delivery.ledger WHERE placements <> ''")
        return Counter(
            (row["queue_id"], str(placement.mailbox_id))
            for row in rows
            for placement in msgspec.msgpack.decode(row["placements"], type=tuple[Placement, ...])
        )

    async def held(self) -> set[int]:
        """Stream sequences of the dead letters."""
        rows = await self.superuser.fetch("SELECT stream_sequence FROM delivery.dead_letter")
        return {row["stream_sequence"] for row in rows}


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with running_zygote("postbus.testing.delivery_trial:run_trial") as zygote:
        yield zygote


@pytest.fixture
async def world(database: "Database", nats: "Nats", zygote: Zygote, tmp_path: Any) -> AsyncIterator[World]:
    await database.execute(f"TRUNCATE {TABLES}")
    servers = Servers(
        data_dir=str(tmp_path),
        secrets_dir=str(database.layout.secrets),
        postgres_dsn=database.dsn,
        nats_url=nats.url,
    )
    (tmp_path / "blobs").mkdir()
    blob_id = await LocalBlobStore(tmp_path / "blobs", 0).put(PLAIN)
    alice, bob = new_mailbox_id(1), new_mailbox_id(2)
    async with asyncpg.create_pool(
        database.dsn, user="postbus_directory", password=database.password("directory"), min_size=0, max_size=1
    ) as pool:
        for mailbox in (alice, bob):
            await PostgresMailStore(pool).ensure_mailbox(mailbox)
    superuser = await asyncpg.connect(database.dsn, user="postgres", password=database.password("superuser"))
    bus = await nats_client.connect(nats.url, user="admin", password=nats.password("admin"))
    world = World(servers=servers, superuser=superuser, bus=bus, zygote=zygote, alice=alice, bob=bob, blob_id=blob_id)
    await world.configure_consumer(ack_wait=UNDISTURBED_SECONDS, max_ack_pending=MANY)
    try:
        yield world
    finally:
        await world.configure_consumer()
        await bus.close()
        await superuser.close()


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """The messages of one kill, and what must become of them."""

    mails: list[MailAccepted | bytes]
    sequences: list[int]
    placed: dict[str, list[str]]
    """Mailboxes by queue_id."""
    queued: dict[str, list[str]]
    """Recipients elsewhere by queue_id."""
    accounted: list[str]
    """By message, as the ledger has to say."""


def make_everything(world: World) -> Round:
    """A message for every path through the worker."""
    made = Round(mails=[], sequences=[], placed={}, queued={}, accounted=[])
    alice = forward_path("alice@demo.example", world.alice)
    info = forward_path("info@demo.example", world.bob, world.alice)
    gone = forward_path("gone@demo.example", new_mailbox_id(3))
    remote = ForwardPath(
        address="x@b.example", resolution=Resolution(forward_path="x@b.example", outcome=Outcome.REMOTE)
    )
    team = ForwardPath(
        address="team@demo.example",
        resolution=msgspec.structs.replace(
            info.resolution,
            outcome=Outcome.LIST,
            remotes=("y@c.example", "z@c.example"),
            bounce_path="team-bounces@demo.example",
        ),
    )
    both = [str(world.alice), str(world.bob)]
    _add(made, world, [alice], placed=both[:1], accounted="folder")
    _add(made, world, [alice, info], placed=both, accounted="folder")
    _add(made, world, [alice, remote], placed=both[:1], queued=["x@b.example"], accounted="queued")
    _add(made, world, [team], placed=both, queued=["y@c.example", "z@c.example"], accounted="queued")
    _add(made, world, [remote], queued=["x@b.example"], accounted="queued")
    _add(made, world, [_later("someone@demo.example")], placed=both[:1], accounted="folder")
    _add(made, world, [alice], placed=both[:1], accounted="folder", scan=b"")
    _add(made, world, [alice], accounted="held", scan=b"\x01no scan")
    _add(made, world, [gone, alice], placed=both[:1], accounted="held")
    _add(made, world, [gone, remote], queued=["x@b.example"], accounted="held")
    made.mails.append(b"\xff\xffno mail.accepted")
    made.accounted.append("held")
    return made


def _later(address: str) -> ForwardPath:
    return ForwardPath(address=address, resolution=Resolution(forward_path=address, outcome=Outcome.LATER))


def _add(
    made: Round,
    world: World,
    paths: Sequence[ForwardPath],
    *,
    accounted: str,
    placed: Sequence[str] = (),
    queued: Sequence[str] = (),
    **changes: Any,
) -> None:
    queue_id = new_queue_id(time.time_ns() // 1_000_000)
    mail = accepted_mail(queue_id, *paths, blob_id=world.blob_id)  # type: ignore[arg-type]
    mail = msgspec.structs.replace(
        mail, origin=Origin.SUBMISSION, prefix=f"Received: here id {queue_id}\r\n".encode(), **changes
    )
    made.mails.append(mail)
    made.accounted.append(accounted)
    made.placed[queue_id] = list(placed)
    made.queued[queue_id] = list(queued)


def make_local(world: World) -> Round:
    """Nothing that leaves: the ledger is written by itself."""
    made = Round(mails=[], sequences=[], placed={}, queued={}, accounted=[])
    for mailbox in (world.alice, world.bob):
        _add(made, world, [forward_path("x@demo.example", mailbox)], placed=[str(mailbox)], accounted="folder")
    return made


def make_poisoned(world: World) -> Round:
    """One that the database refuses at the last step, since its time is none: then each goes by itself."""
    made = make_local(world)
    path = forward_path("x@demo.example", world.alice)
    _add(made, world, [path], placed=[str(world.alice)], accounted="held", accepted_ms=1 << 62)
    return made


def make_unresolved(world: World) -> Round:
    """A report, whose recipient is looked up by delivery."""
    made = Round(mails=[], sequences=[], placed={}, queued={}, accounted=[])
    _add(made, world, [_later("someone@demo.example")], accounted="folder")
    return made


async def kill_everywhere(world: World, make: Callable[[World], Round], **facts: Any) -> tuple[list[Round], list[str]]:
    """Dies at the first point, then the second …, until a process finishes; the rounds, and the places of death."""
    rounds: list[Round] = []
    places: list[str] = []
    for kill_at in range(1, MOST_POINTS):
        rounds.append(make(world))
        rounds[-1].sequences[:] = await asyncio.gather(*(world.publish(mail) for mail in rounds[-1].mails))
        trial = Trial(servers=world.servers, action="deliver", messages=len(rounds[-1].mails), **facts)
        ending = await asyncio.to_thread(world.run, trial, kill_at)
        if not ending.killed:
            return rounds, places
        places.append(ending.place)
    raise AssertionError("it never finishes")


async def test_incoming_mail(world: World) -> None:
    """Every path through the worker, also a list's expansion, a dead letter, and what is resolved only now."""
    here = {"someone@demo.example": str(world.alice)}
    rounds, places = await kill_everywhere(world, make_everything, resolves_to=here)
    await world.finish(action="drain", resolves_to=here)
    await assert_each_once(world, rounds)
    assert passed(places) >= {"_resolve", "_hold", "_store", "enter", "ack"}


async def test_mail_that_stays_here(world: World) -> None:
    rounds, places = await kill_everywhere(world, make_local)
    await world.finish(action="drain")
    await assert_each_once(world, rounds)
    assert passed(places) >= {"_store", "record", "ack"}


async def test_a_batch_that_the_database_refuses(world: World) -> None:
    rounds, places = await kill_everywhere(world, make_poisoned)
    await world.finish(action="drain")
    await assert_each_once(world, rounds)
    assert passed(places) >= {"_store_singly", "_put_aside", "_hold", "record"}


async def test_a_directory_that_changes_between_two_passes(world: World) -> None:
    """What was resolved at the first pass holds: one copy, and the ledger tells where it is."""
    here, there = {"someone@demo.example": str(world.alice)}, {"someone@demo.example": str(world.bob)}
    rounds, _ = await kill_everywhere(world, make_unresolved, resolves_to=here)
    await world.finish(action="drain", resolves_to=there)
    stored = await world.stored()
    assert stored == await world.accounted_places()
    assert Counter(queue_id for queue_id, _ in stored) == Counter(
        queue_id for each in rounds for queue_id in each.placed
    )


def passed(places: Sequence[str]) -> set[str]:
    """Functions that somebody died in."""
    return {call.split(":")[1] for place in places for call in place.partition(" ")[2].split(" > ") if ":" in call}


async def assert_each_once(world: World, rounds: Sequence[Round]) -> None:
    """In folders, queue, ledger and dead letters; and told once."""
    placed = Counter((queue_id, mailbox) for each in rounds for queue_id, mailbox in _flat(each.placed))
    queued = {pair for each in rounds for pair in _flat(each.queued)}
    accounts = {
        sequence: (mail.queue_id if isinstance(mail, MailAccepted) else "", accounted)
        for each in rounds
        for sequence, mail, accounted in zip(each.sequences, each.mails, each.accounted, strict=True)
    }
    assert await world.stored() == placed
    rows = await world.superuser.fetch("SELECT queue_id, recipient FROM delivery.outgoing_copy")
    assert {(row["queue_id"], row["recipient"]) for row in rows} == queued
    assert await world.ledger() == accounts
    held = {queue_id for queue_id, accounted in accounts.values() if accounted == "held"}
    assert await world.accounted_places() == Counter(key for key in placed if key[0] not in held)
    assert await world.held() == {sequence for sequence, (_, accounted) in accounts.items() if accounted == "held"}
    assert await world.told() == Counter(
        [("delivered", queue_id) for queue_id, _ in placed] + [("queued", queue_id) for queue_id, _ in queued]
    )


def _flat(found: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    return ((queue_id, one) for queue_id, several in found.items() for one in several)
