"""Promises 1 and 2 at every await of the outgoing queue: claim, signature, transmission, commit, DSN.

Each kill has copies of its own: one that the remote takes, one that it refuses for good (so a DSN follows), one that it
defers. A process that dies between the remote's 250 and the commit sends that copy once more; everything else happens
exactly once.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from postbus.core.ids import BlobId, new_queue_id
from postbus.testing.delivery_world import World, kill_everywhere, opened_world, passed
from postbus.testing.dns_server import running_dns
from postbus.testing.kill_points import RESUMED, Zygote
from postbus.testing.queue import ledger_entry, new_copy, queued_message
from postbus.testing.sink import Sink, running_sink
from postbusd.delivery.adapters.postgres_queue import PostgresQueue
from postbusd.delivery.outbound.queue import Outgoing

if TYPE_CHECKING:
    from postbus.testing.installation import Database, Nats

CONTENT = b"From: alice@ours.example\r\nSubject: x\r\n\r\n" + b"A line of text.\r\n" * 5000
"""Long enough to be signed in a thread."""
TAKEN = "250 2.1.5 ok"
REFUSED = "550 5.1.1 no such user"
REPLIES = {"refused": REFUSED, "busy": "451 4.3.0 not now"}
PARTS = {"claim", "_route", "get_dkim_keys", "sign", "connect", "read", "finish", "report", "put", "relay_reports"}
PARK = """
WITH moved AS (DELETE FROM delivery.report_outbox RETURNING *) INSERT INTO parked SELECT * FROM moved
"""
UNPARK = "INSERT INTO delivery.report_outbox SELECT * FROM parked"
FIRST_SEQUENCE = 1 << 40
"""Of the ledger's rows: far beyond those of the stream, which the DSNs get."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        sink.answer = lambda address: REPLIES.get(address.partition("@")[0], TAKEN)
        yield sink


@pytest.fixture
async def world(database: "Database", nats: "Nats", zygote: Zygote, tmp_path: Path, sink: Sink) -> AsyncIterator[World]:
    with running_dns() as dns:
        dns.add("b.example", "MX", "10 mx.b.example.")
        dns.add("mx.b.example", "A", "127.0.0.1")
        facts = {"resolver": f"127.0.0.1:{dns.port}", "mx_port": sink.port}
        async with opened_world(database, nats, zygote, tmp_path, **facts) as world:
            await world.superuser.execute("CREATE TEMP TABLE parked (LIKE delivery.report_outbox)")
            yield world


@pytest.fixture
async def queue(database: "Database") -> AsyncIterator[PostgresQueue]:
    async with asyncpg.create_pool(
        database.dsn, user="postbus_delivery", password=database.password("delivery"), min_size=0, max_size=1
    ) as pool:
        yield PostgresQueue(pool)


class Copies:
    """What was entered for each kill."""

    def __init__(self, world: World, queue: PostgresQueue, blob_id: BlobId) -> None:
        self.world = world
        self._queue = queue
        self._blob_id = blob_id
        self.sent: list[str] = []
        self.deferred: list[str] = []

    async def enter(self) -> int:
        """Two messages: one to somebody and to nobody, one to somebody who is busy."""
        now_ms = time.time_ns() // 1_000_000
        for recipients, into in (
            (("x@b.example", "refused@b.example"), self.sent),
            (("busy@b.example",), self.deferred),
        ):
            queue_id = new_queue_id(now_ms)
            message = queued_message(
                queue_id,
                blob_id=self._blob_id,
                blob_octets=len(CONTENT),
                prefix=f"Message-ID: <{queue_id}>\r\n".encode(),
                expires_ms=now_ms + 86_400_000,
            )
            copies = tuple(new_copy(recipient) for recipient in recipients)
            entry = ledger_entry(FIRST_SEQUENCE + len(self.sent) + len(self.deferred), queue_id)
            await self._queue.enter([entry], [Outgoing(message=message, copies=copies)], now_ms)
            into.append(queue_id)
        return 0

    async def put_away(self) -> None:
        """What is not finished waits until all processes are dead."""
        await self.world.superuser.execute(
            "UPDATE delivery.outgoing_copy SET due_ms = due_ms + 1000000000000 WHERE state = 'waiting'"
        )
        await self.world.superuser.execute(PARK)

    async def bring_back(self) -> None:
        """All of it is due now."""
        await self.world.superuser.execute("UPDATE delivery.outgoing_copy SET due_ms = 0 WHERE state = 'waiting'")
        await self.world.superuser.execute(UNPARK)

    async def rows(self) -> dict[tuple[str, str], Any]:
        """Of the queue, by key."""
        found = await self.world.superuser.fetch("SELECT * FROM delivery.outgoing_copy")
        return {(row["queue_id"], row["recipient"]): row for row in found}


async def test_the_outgoing_queue(world: World, queue: PostgresQueue, sink: Sink) -> None:
    copies = Copies(world, queue, await world.blobs.put(CONTENT))
    resolves_to = {"alice@ours.example": str(world.alice)}
    places = await kill_everywhere(
        world, copies.enter, copies.put_away, (RESUMED,), action="hand_over", resolves_to=resolves_to
    )
    assert passed(places) >= PARTS
    sink.answer = lambda address: REFUSED if address.startswith("refused@") else TAKEN
    await copies.bring_back()
    await world.finish(action="finish", resolves_to=resolves_to)
    await assert_rows(copies)
    await assert_reports(world, copies)
    assert_remote(sink, copies, places)


async def assert_rows(copies: Copies) -> None:
    """Every copy has ended, and everything was told once."""
    rows = await copies.rows()
    assert {key: row["state"] for key, row in rows.items()} == {
        **{(queue_id, "x@b.example"): "sent" for queue_id in copies.sent},
        **{(queue_id, "refused@b.example"): "failed" for queue_id in copies.sent},
        **{(queue_id, "busy@b.example"): "sent" for queue_id in copies.deferred},
    }
    reports = [row["report_id"] for row in rows.values() if row["report_id"]]
    told = Counter(
        [("queued", queue_id) for queue_id, _ in rows]
        + [("delivered", queue_id) for queue_id in (*copies.sent, *copies.deferred, *reports)]
        + [("bounced", queue_id) for queue_id in copies.sent]
    )
    told.update(
        {("deferred", queue_id): rows[queue_id, "busy@b.example"]["attempts"] - 1 for queue_id in copies.deferred}
    )
    assert await copies.world.told() == +told


async def assert_reports(world: World, copies: Copies) -> None:
    """One DSN a refused copy, in its sender's mailbox once; the ledger tells of both."""
    reports = [row["report_id"] for row in (await copies.rows()).values() if row["state"] == "failed"]
    operations = await world.superuser.fetch(
        "SELECT operation_key FROM mailstore.operation WHERE mailbox_id = $1", world.alice
    )
    assert sorted(row["operation_key"] for row in operations) == sorted(reports)
    assert len(set(reports)) == len(copies.sent)
    count = "SELECT count(*) FROM mailstore.entry WHERE mailbox_id = $1"
    assert await world.superuser.fetchval(count, world.alice) == len(reports)
    assert Counter((await world.ledger()).values()) == Counter(
        [(queue_id, "dsn") for queue_id in copies.sent]
        + [(queue_id, "queued") for queue_id in copies.deferred]
        + [(queue_id, "folder") for queue_id in reports]
    )


def assert_remote(sink: Sink, copies: Copies, places: Sequence[str]) -> None:
    """Nothing is lost; what was sent twice was in the remote's hands when its sender died."""
    assert set(sink.messages) == {*copies.sent, *copies.deferred}
    assert {sink.messages[queue_id] for queue_id in copies.deferred} == {1}
    doubled = {places[number] for number, queue_id in enumerate(copies.sent) if sink.messages[queue_id] > 1}
    assert max(sink.messages.values()) == 2
    assert [place for place in doubled if "hand_over" not in place and "_commit" not in place] == []
