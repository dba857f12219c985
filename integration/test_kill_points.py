"""Promises 1 and 2 at every await: delivery dies by SIGKILL at each of them in turn, and loses and doubles nothing.

Each kill has messages of its own, one for every path that there is. What the dead left behind is finished afterwards
by one clean run, by redelivery from the bus; then every message must be where it belongs exactly once.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from postbus.contracts.directory import Outcome, Resolution
from postbus.contracts.events import ForwardPath, MailAccepted, Origin
from postbus.core.ids import BlobId, new_mailbox_id, new_queue_id
from postbus.testing.delivery_world import World, kill_everywhere, opened_world, passed
from postbus.testing.kill_points import RESUMED, Zygote
from postbus.testing.mail import PLAIN, accepted_mail, forward_path

if TYPE_CHECKING:
    from postbus.testing.installation import Database, Nats


@pytest.fixture
async def world(database: "Database", nats: "Nats", zygote: Zygote, tmp_path: Path) -> AsyncIterator[World]:
    async with opened_world(database, nats, zygote, tmp_path) as world:
        yield world


class Expected:
    """What was published, and what must become of it."""

    def __init__(self, world: World, blob_id: BlobId) -> None:
        self.world = world
        self.blob_id = blob_id
        self.placed: Counter[tuple[str, str]] = Counter()
        """(queue_id, mailbox)."""
        self.queued: set[tuple[str, str]] = set()
        """(queue_id, recipient)."""
        self.accounts: dict[int, tuple[str, str]] = {}
        """queue_id and account by stream sequence."""
        self.hidden: set[str] = set()
        """queue_ids whose places the ledger can't tell."""
        self._waiting: list[tuple[MailAccepted | bytes, str, str]] = []

    def add_poison(self) -> None:
        """What nobody can decode."""
        self._waiting.append((b"\xff\xffno mail.accepted", "", "held"))

    def add(
        self, *paths: ForwardPath, to: Sequence[str] = (), away: Sequence[str] = (), account: str, **changes: Any
    ) -> str:
        """A message that has to come `to` these mailboxes, and `away` to these recipients; its queue_id."""
        queue_id = new_queue_id(time.time_ns() // 1_000_000)
        mail = accepted_mail(queue_id, *paths, blob_id=self.blob_id)
        prefix = f"Received: here id {queue_id}\r\n".encode()
        mail = msgspec.structs.replace(mail, origin=Origin.SUBMISSION, prefix=prefix, **changes)
        self.placed.update((queue_id, mailbox) for mailbox in to)
        self.queued.update((queue_id, recipient) for recipient in away)
        self._waiting.append((mail, queue_id, account))
        return queue_id

    async def publish(self) -> int:
        """Puts them on the bus; how many."""
        waiting, self._waiting = self._waiting, []
        sequences = await asyncio.gather(*(self.world.publish(mail) for mail, _, _ in waiting))
        self.accounts.update({n: (key, account) for n, (_, key, account) in zip(sequences, waiting, strict=True)})
        return len(waiting)

    async def assert_each_once(self) -> None:
        """In folders, queue, ledger and dead letters; and told once."""
        world = self.world
        assert await world.stored() == self.placed
        rows = await world.superuser.fetch("SELECT queue_id, recipient FROM delivery.outgoing_copy")
        assert {(row["queue_id"], row["recipient"]) for row in rows} == self.queued
        assert await world.ledger() == self.accounts
        assert await world.accounted_places() == Counter(key for key in self.placed if key[0] not in self.hidden)
        assert await world.held() == {n for n, (_, account) in self.accounts.items() if account == "held"}
        told = [("delivered", queue_id) for queue_id, _ in self.placed] + [("queued", key) for key, _ in self.queued]
        assert await world.told() == Counter(told)


@pytest.fixture
async def expected(world: World) -> Expected:
    return Expected(world, await world.blobs.put(PLAIN))


def later(address: str) -> ForwardPath:
    return ForwardPath(address=address, resolution=Resolution(forward_path=address, outcome=Outcome.LATER))


def publish_everything(expected: Expected) -> Callable[[], Any]:
    """A message for every path through the worker."""
    here, there = str(expected.world.alice), str(expected.world.bob)
    alice = forward_path("alice@demo.example", expected.world.alice)
    info = forward_path("info@demo.example", expected.world.bob, expected.world.alice)
    gone = forward_path("gone@demo.example", new_mailbox_id(3))
    remote = ForwardPath(
        address="x@b.example", resolution=Resolution(forward_path="x@b.example", outcome=Outcome.REMOTE)
    )
    members = msgspec.structs.replace(
        info.resolution, outcome=Outcome.LIST, remotes=("y@c.example", "z@c.example"), bounce_path="t-b@demo.example"
    )
    team = ForwardPath(address="team@demo.example", resolution=members)

    async def publish() -> int:
        expected.add(alice, to=[here], account="folder")
        expected.add(alice, info, to=[here, there], account="folder")
        expected.add(alice, remote, to=[here], away=["x@b.example"], account="queued")
        expected.add(team, to=[here, there], away=members.remotes, account="queued")
        expected.add(remote, away=["x@b.example"], account="queued")
        expected.add(later("someone@demo.example"), to=[here], account="folder")
        expected.add(alice, to=[here], account="folder", scan=b"")
        expected.add(alice, account="held", scan=b"\x01no scan")
        expected.add(gone, alice, to=[here], account="held")
        expected.add(gone, remote, away=["x@b.example"], account="held")
        expected.add_poison()
        return await expected.publish()

    return publish


async def test_incoming_mail(world: World, expected: Expected) -> None:
    """Every path through the worker: also a list's expansion, dead letters, and what is resolved only now."""
    resolves_to = {"someone@demo.example": str(world.alice)}
    places = await kill_everywhere(world, publish_everything(expected), action="deliver", resolves_to=resolves_to)
    await world.finish(action="drain", resolves_to=resolves_to)
    await expected.assert_each_once()
    assert passed(places) >= {"find", "_resolve", "pin", "_hold", "_store", "enter", "ack"}


async def test_mail_that_stays_here(world: World, expected: Expected) -> None:
    async def publish() -> int:
        for mailbox in (world.alice, world.bob):
            expected.add(forward_path("x@demo.example", mailbox), to=[str(mailbox)], account="folder")
        return await expected.publish()

    places = await kill_everywhere(world, publish, action="deliver")
    await world.finish(action="drain")
    await expected.assert_each_once()
    assert passed(places) >= {"_store", "record", "ack"}


async def test_a_batch_that_the_database_refuses(world: World, expected: Expected) -> None:
    """At the last step, since the time of one message is none: then each goes by itself."""
    path = forward_path("alice@demo.example", world.alice)

    async def publish() -> int:
        expected.add(path, to=[str(world.alice)], account="folder")
        expected.hidden.add(expected.add(path, to=[str(world.alice)], account="held", accepted_ms=1 << 62))
        return await expected.publish()

    places = await kill_everywhere(world, publish, moments=(RESUMED,), action="deliver")
    await world.finish(action="drain")
    await expected.assert_each_once()
    assert passed(places) >= {"_store_singly", "_put_aside", "_hold", "record"}


async def test_a_directory_that_changes_between_two_passes(world: World, expected: Expected) -> None:
    """What was resolved at the first pass holds: one copy, and the ledger tells where it is."""
    here, there = {"someone@demo.example": str(world.alice)}, {"someone@demo.example": str(world.bob)}

    async def publish() -> int:
        expected.add(later("someone@demo.example"), account="folder")
        return await expected.publish()

    await kill_everywhere(world, publish, action="deliver", resolves_to=here)
    await world.finish(action="drain", resolves_to=there)
    stored = await world.stored()
    assert stored == await world.accounted_places()
    assert Counter(queue_id for queue_id, _ in stored) == Counter(
        queue_id for queue_id, _ in expected.accounts.values()
    )
    assert {mailbox for _, mailbox in stored} == {str(world.alice), str(world.bob)}
