"""The outgoing queue on real Postgres, in the rights of delivery's own role."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from postbus.contracts.delivery import QueueState
from postbus.core.ids import QueueId
from postbus.testing.queue import NOW_MS, ledger_entry, outgoing
from postbus.testing.queue_contract import UNTIL_MS, QueueContract, attempt_of, limits
from postbusd.delivery.adapters.postgres import PostgresLedger
from postbusd.delivery.adapters.postgres_queue import PostgresQueue
from postbusd.delivery.outbound.queue import Outcomes

if TYPE_CHECKING:
    from postbus.testing.installation import Database


@pytest.fixture
async def pool(database: "Database") -> AsyncIterator[asyncpg.Pool]:
    await database.execute(
        "TRUNCATE delivery.ledger, delivery.dead_letter, delivery.outgoing, delivery.outgoing_copy, delivery.outbox, "
        "delivery.report_outbox"
    )
    pool = await asyncpg.create_pool(
        database.dsn, user="postbus_delivery", password=database.password("delivery"), min_size=0, max_size=4
    )
    yield pool
    await pool.close()


@pytest.fixture
def queue(pool: asyncpg.Pool) -> PostgresQueue:
    return PostgresQueue(pool)


class TestPostgresQueue(QueueContract):
    @pytest.fixture
    def ledger(self, pool: asyncpg.Pool) -> PostgresLedger:
        return PostgresLedger(pool)


async def test_two_who_claim_at_once_share_the_copies(queue: PostgresQueue) -> None:
    await queue.enter([], [outgoing(f"Q{number}", "x@b.example") for number in range(60)], NOW_MS)
    claims = await asyncio.gather(*(queue.claim(f"owner{n}", NOW_MS, UNTIL_MS, limits()) for n in range(3)))
    ids = [each.message.queue_id for claimed in claims for each in claimed]
    assert len(ids) == len(set(ids))
    rest = await queue.claim("last", NOW_MS, UNTIL_MS, limits())
    assert len(ids) + len(rest) == 60


async def test_the_ledger_learns_of_the_end_whichever_copy_was_the_last(
    queue: PostgresQueue, pool: asyncpg.Pool
) -> None:
    """Transactions that end the last copies at the same time do not see each other's."""
    ids = [f"Q{number}" for number in range(30)]
    entries = [ledger_entry(number, queue_id) for number, queue_id in enumerate(ids)]
    await queue.enter(entries, [outgoing(queue_id, "x@b.example", "y@c.example") for queue_id in ids], NOW_MS)
    claimed = await queue.claim("me", NOW_MS, UNTIL_MS, limits())
    assert len(claimed) == 60
    outcomes = [Outcomes(attempts=(attempt_of(each, QueueState.SENT),)) for each in claimed]
    assert all(await asyncio.gather(*(queue.finish("me", each) for each in outcomes)))
    ledger = PostgresLedger(pool)
    told = {entry.detail for queue_id in ids if (entry := await ledger.find(QueueId(queue_id))) is not None}
    assert told == {"no copy is left to send: 2 sent"}


async def test_renewing_and_finishing_do_not_lock_each_other_out(queue: PostgresQueue) -> None:
    await queue.enter([], [outgoing("Q1", *(f"x{number}@b.example" for number in range(50)))], NOW_MS)
    claimed = await queue.claim("me", NOW_MS, UNTIL_MS, limits())
    tokens = [each.lease_token for each in claimed]
    outcomes = [
        Outcomes(attempts=tuple(attempt_of(each, QueueState.SENT) for each in reversed(claimed[start::5])))
        for start in range(5)
    ]
    async with asyncio.TaskGroup() as group:
        for each in outcomes:
            group.create_task(queue.finish("me", each))
            group.create_task(queue.renew("me", tokens, UNTIL_MS + 1))
    assert {entry.state for entry in await queue.entries(QueueId("Q1"))} == {QueueState.SENT}


async def test_an_owner_that_holds_its_lock_is_no_orphan(queue: PostgresQueue) -> None:
    await queue.enter([], [outgoing("Q1", "x@b.example")], NOW_MS)
    await queue.claim("alive", NOW_MS, UNTIL_MS, limits())
    holding = asyncio.create_task(queue.keep_lock("alive"))
    try:
        async with asyncio.timeout(10):
            while await queue.release_orphans("me", []):  # noqa: ASYNC110  # the lock has no event
                await asyncio.sleep(0.01)
        assert await queue.release_orphans("me", ["alive"]) == []
        assert await queue.claim("me", NOW_MS, UNTIL_MS, limits()) == []
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
