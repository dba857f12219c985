"""The outgoing queue after a restore: it starts held, and what is delivered again is held too (architecture §3)."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.delivery import ChangeQueueRequest, ListQueueRequest, QueueAction, QueueState
from postbus.core.ids import QueueId
from postbus.mailstore.epoch import Epoch
from postbus.testing.queue import NOW_MS, outgoing
from postbus.testing.queue_contract import UNTIL_MS, attempt_of, limits
from postbusd.delivery.adapters import postgres_restore
from postbusd.delivery.adapters.postgres_queue import PostgresQueue
from postbusd.delivery.adapters.postgres_queue_rows import HELD_AFTER_RESTORE
from postbusd.delivery.adapters.postgres_restore import QueueEpochs
from postbusd.delivery.outbound.queue import Outcomes, Outgoing

if TYPE_CHECKING:
    from postbus.testing.installation import Database

FIRST = Epoch(number=1)
FAILOVER = Epoch(number=2, reason="failover")
RESTORED_MS = NOW_MS + 5000
RESTORE = Epoch(number=3, restored=3, restored_ms=RESTORED_MS, reason="restore")


class World:
    """A queue and what holds it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.queue = PostgresQueue(pool)
        self.registry = CollectorRegistry()
        self._epochs = QueueEpochs(self.queue, self.registry)

    async def begin(self, epoch: Epoch, before: Epoch | None = None) -> None:
        async with self.pool.acquire() as connection:
            await self._epochs.begin(epoch, before, connection)  # type: ignore[arg-type]  # of a pool: a proxy

    async def states(self) -> dict[tuple[str, str], tuple[QueueState, str]]:
        page = await self.queue.page(ListQueueRequest(finished=True, limit=1000))
        return {(each.queue_id, each.recipient): (each.state, each.last_reply) for each in page.entries}


def accepted(queue_id: str, accepted_ms: int) -> Outgoing:
    made = outgoing(queue_id, "x@b.example")
    return msgspec.structs.replace(made, message=msgspec.structs.replace(made.message, accepted_ms=accepted_ms))


@pytest.fixture
async def world(database: "Database") -> AsyncIterator[World]:
    await database.execute(
        "TRUNCATE delivery.epoch, delivery.ledger, delivery.outgoing, delivery.outgoing_copy, delivery.outbox, "
        "delivery.report_outbox"
    )
    async with asyncpg.create_pool(
        database.dsn, user="postbus_delivery", password=database.password("delivery"), min_size=0, max_size=4
    ) as pool:
        yield World(pool)
    await database.execute("TRUNCATE delivery.epoch")


async def test_a_first_start_and_a_failover_hold_nothing(world: World) -> None:
    await world.begin(FIRST)
    await world.queue.enter([], [outgoing("Q1", "x@b.example")], NOW_MS)
    await world.begin(FAILOVER, FIRST)
    assert await world.states() == {("Q1", "x@b.example"): (QueueState.WAITING, "")}
    assert len(await world.queue.claim("me", NOW_MS, UNTIL_MS, limits())) == 1


async def test_after_a_restore_all_that_waits_is_held_until_it_is_released(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases of before are over; what ended stays ended; once a restore, however often a process connects."""
    monkeypatch.setattr(postgres_restore, "PIECE_COPIES", 3)
    await world.begin(FIRST)
    await world.queue.enter([], [outgoing("Q1", *(f"x{n}@b.example" for n in range(7)))], NOW_MS)
    await world.queue.enter([], [outgoing("Q2", "sent@c.example", "leased@c.example")], NOW_MS)
    claimed = {each.copy.recipient: each for each in await world.queue.claim("gone", NOW_MS, UNTIL_MS, limits())}
    sent = attempt_of(claimed["sent@c.example"], QueueState.SENT)
    assert await world.queue.finish("gone", Outcomes(attempts=(sent,)))
    await world.begin(RESTORE)
    found = await world.states()
    assert found.pop(("Q2", "sent@c.example"))[0] is QueueState.SENT
    assert len(found) == 8
    assert set(found.values()) == {(QueueState.HELD, HELD_AFTER_RESTORE)}
    assert world.registry.get_sample_value("postbus_delivery_restore_held_copies_total") == 8
    late = attempt_of(claimed["leased@c.example"], QueueState.SENT)
    assert not await world.queue.finish("gone", Outcomes(attempts=(late,)))
    reply = await world.queue.change(ChangeQueueRequest(action=QueueAction.RELEASE, actor="admin"), RESTORED_MS)
    assert (reply.changed, reply.busy) == (8, 0)
    await world.begin(RESTORE)
    assert len(await world.queue.claim("me", RESTORED_MS, RESTORED_MS + 1000, limits())) == 8


async def test_mail_of_before_the_restore_that_is_delivered_again_is_held_too(world: World) -> None:
    """The bus replays what the database has lost: that may have been sent; what is accepted from now on was not."""
    await world.begin(FIRST)
    await world.begin(RESTORE)
    await world.queue.enter([], [accepted("Qold", RESTORED_MS - 1), accepted("Qnew", RESTORED_MS)], RESTORED_MS)
    assert await world.states() == {
        ("Qold", "x@b.example"): (QueueState.HELD, HELD_AFTER_RESTORE),
        ("Qnew", "x@b.example"): (QueueState.WAITING, ""),
    }


async def test_a_copy_of_an_older_version_is_held_too(world: World) -> None:
    """Its queue knows no epoch yet."""
    await world.queue.enter([], [outgoing("Q1", "x@b.example")], NOW_MS)
    await world.begin(RESTORE)
    assert (await world.states())["Q1", "x@b.example"][0] is QueueState.HELD


async def test_tokens_of_leases_are_not_given_again(world: World) -> None:
    """Who still works on a copy that he leased before a failover must not take a later lease for his own."""
    await world.begin(FIRST)
    await world.queue.enter([], [outgoing("Q1", "x@b.example", "y@c.example")], NOW_MS)
    claimed = await world.queue.claim("me", NOW_MS, UNTIL_MS, limits())
    await world.queue.give_back("me", claimed, NOW_MS)
    await world.begin(FAILOVER, FIRST)
    again = await world.queue.claim("me", NOW_MS, UNTIL_MS, limits())
    assert min(each.lease_token for each in again) > max(each.lease_token for each in claimed) + 900_000


async def test_a_lock_on_another_server_counts_for_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nothing is claimed; it is taken again on the new server."""
    monkeypatch.setattr("postbusd.delivery.adapters.postgres_queue.LOCK_LOOK_SECONDS", 0.01)
    monkeypatch.setattr("postbusd.delivery.adapters.postgres_queue.LOCK_PAUSE_SECONDS", 0.01)
    seen: list[bool] = []
    drop_lock = world.queue.drop_lock

    def observed() -> None:
        drop_lock()
        seen.append(world.queue.holds_lock)

    monkeypatch.setattr(world.queue, "drop_lock", observed)
    holding = asyncio.create_task(world.queue.keep_lock("me"))
    try:
        async with asyncio.timeout(10):
            for epoch, before in ((FAILOVER, FIRST), (RESTORE, FAILOVER)):
                while not world.queue.holds_lock:  # noqa: ASYNC110  # the lock has no event
                    await asyncio.sleep(0.005)
                await world.begin(epoch, before)
            while not world.queue.holds_lock:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert await world.queue.release_orphans("other", []) == []
        assert seen == [False, False]
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


async def test_who_kept_the_ledger_before_keeps_nobody_from_it(world: World) -> None:
    """What is missing after a failover is delivered again at the next look, not when a lease of the copy lapses."""
    await world.begin(FIRST)
    await world.pool.execute("UPDATE delivery.ledger_book SET keeper_until = 'infinity'")
    lapsed = "SELECT keeper_until < now() FROM delivery.ledger_book"
    await world.begin(FIRST)
    assert not await world.pool.fetchval(lapsed)
    await world.begin(FAILOVER, FIRST)
    assert await world.pool.fetchval(lapsed)


async def test_the_queue_says_why(world: World) -> None:
    await world.begin(FIRST)
    await world.queue.enter([], [outgoing("Q1", "x@b.example")], NOW_MS)
    await world.begin(RESTORE)
    [entry] = await world.queue.entries(QueueId("Q1"))
    assert entry.last_reply == HELD_AFTER_RESTORE
    assert entry.remote_host == ""
