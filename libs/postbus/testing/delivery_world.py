"""What trials of delivery begin with and leave behind: mailboxes, messages on the bus, and all that tells of them."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import nats as nats_client
from nats.aio.client import Client

from postbus.blobs.local import LocalBlobStore
from postbus.bus.codec import encode_value
from postbus.bus.streams import consumer_configs
from postbus.bus.subjects import CONSUMER_DELIVERY, STREAM_MAIL, SUBJECT_MAIL_ACCEPTED
from postbus.contracts.delivery import Placement
from postbus.contracts.events import Event, MailAccepted
from postbus.core.ids import MailboxId, new_mailbox_id
from postbus.mailstore.postgres import PostgresMailStore
from postbus.testing.delivery_trial import Servers, Trial
from postbus.testing.kill_points import MOMENTS, Ending, Zygote

if TYPE_CHECKING:
    from postbus.testing.installation import Database, Nats

TABLES = (
    "delivery.ledger, delivery.dead_letter, delivery.outgoing, delivery.outgoing_copy, delivery.outbox, "
    "delivery.report_outbox, mailstore.outbox"
)
DELIVERY = "postbus.testing.delivery_trial:run_trial"
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
    blobs: LocalBlobStore

    async def publish(self, mail: MailAccepted | bytes) -> int:
        """As smtp-edge does; the stream sequence."""
        payload = mail if isinstance(mail, bytes) else encode_value(mail)
        ack = await self.bus.jetstream().publish(SUBJECT_MAIL_ACCEPTED, payload)
        return int(ack.seq)

    async def configure_consumer(self, **changes: Any) -> None:
        """Changes delivery's consumer; without changes back to what it has to be."""
        config = next(config for stream, config in consumer_configs() if stream == STREAM_MAIL)
        await self.bus.jetstream().add_consumer(STREAM_MAIL, config.evolve(**changes))

    def run(self, trial: Trial, died_at: Sequence[str] | None = None, moments: tuple[str, ...] = MOMENTS) -> Ending:
        """One process of delivery."""
        return self.zygote.run(DELIVERY, msgspec.msgpack.encode(trial), died_at, moments)

    async def forget_dead(self) -> None:
        """Until the bus has seen that nobody waits for messages: it would send them to a process that has just died."""
        api = self.bus.jetstream()
        while (await api.consumer_info(STREAM_MAIL, CONSUMER_DELIVERY)).num_waiting:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.002)

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


async def kill_everywhere(
    world: World,
    begin: Callable[[], Any],
    after: Callable[[], Any] | None = None,
    moments: tuple[str, ...] = MOMENTS,
    **facts: Any,
) -> list[str]:
    """Kills process after process, each where none died before, until one finishes; the places of death.

    `begin` is awaited before each process and tells how many messages it is to take; `after` is awaited behind it.
    """
    places: list[str] = []
    while len(places) < MOST_POINTS:
        await world.forget_dead()
        trial = Trial(servers=world.servers, messages=await begin(), **facts)
        ending = await asyncio.to_thread(world.run, trial, places, moments)
        if after is not None:
            await after()
        if not ending.killed:
            return places
        places.append(ending.place)
    raise AssertionError("it never finishes")


def passed(places: Sequence[str]) -> set[str]:
    """Functions that somebody died in."""
    return {call.split(":")[1] for place in places for call in place.partition(" ")[2].split(" > ") if ":" in call}


@contextlib.asynccontextmanager
async def opened_world(
    database: "Database", nats: "Nats", zygote: Zygote, folder: Path, **facts: Any
) -> AsyncIterator[World]:
    """Empty tables, two mailboxes, a consumer that is left alone; `facts` are the servers' others."""
    await database.execute(f"TRUNCATE {TABLES}")
    servers = Servers(
        data_dir=str(folder),
        secrets_dir=str(database.layout.secrets),
        postgres_dsn=database.dsn,
        nats_url=nats.url,
        **facts,
    )
    (folder / "blobs").mkdir()
    alice, bob = new_mailbox_id(1), new_mailbox_id(2)
    async with asyncpg.create_pool(
        database.dsn, user="postbus_directory", password=database.password("directory"), min_size=0, max_size=1
    ) as pool:
        await PostgresMailStore(pool).ensure_mailboxes([alice, bob])
    superuser = await asyncpg.connect(database.dsn, user="postgres", password=database.password("superuser"))
    bus = await nats_client.connect(nats.url, user="admin", password=nats.password("admin"))
    blobs = LocalBlobStore(folder / "blobs", 0)
    world = World(servers=servers, superuser=superuser, bus=bus, zygote=zygote, blobs=blobs, alice=alice, bob=bob)
    await bus.jetstream().purge_stream(STREAM_MAIL)
    await world.configure_consumer(ack_wait=UNDISTURBED_SECONDS, max_ack_pending=MANY)
    try:
        yield world
    finally:
        await world.configure_consumer()
        await bus.close()
        await superuser.close()
