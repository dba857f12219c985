"""The outgoing queue in Postgres (schema `delivery`): who enters copies, who holds their leases."""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from postbus.contracts.delivery import ChangeQueueRequest, QueueState
from postbus.core.errors import MailError
from postbus.mailstore.outbox import pack_event
from postbus.runtime.database import connection
from postbusd.delivery.adapters.postgres import RECORD, clashing, ledger_columns
from postbusd.delivery.adapters.postgres_queue_books import PostgresQueueBooks
from postbusd.delivery.adapters.postgres_queue_rows import (
    COPY_COLUMNS,
    OPEN_STATES,
    SELECT_WANTED,
    put_events,
    put_report,
    read_claimed,
    settle,
    write_copies,
    write_messages,
)
from postbusd.delivery.outbound.news import queued_events
from postbusd.delivery.outbound.queue import Attempt, Claimed, ClaimLimits, Outcomes, Outgoing
from postbusd.delivery.ports import LedgerEntry

if TYPE_CHECKING:
    from postbus.runtime.database import Session

log = logging.getLogger(__name__)

LOCK_LOOK_SECONDS = 5.0
"""How often the connection that holds the owner's lock is looked at."""
LOCK_PAUSE_SECONDS = 1.0

MAX_CANDIDATES = 2000
"""Due copies that one claim looks at; what it leaves out comes with the next ones."""

# The planner cannot know how few the windows leave, and would read the whole table to join them.
_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
_CLAIM = f"""
WITH candidates AS (
    SELECT c.queue_id, c.recipient, c.route_domain, c.domain, c.due_ms FROM delivery.outgoing_copy c
    WHERE c.state = 'waiting' AND c.due_ms <= $2 AND c.lease_until_ms <= $2
        AND c.route_domain || ' ' || c.domain <> ALL ($6::text[])
    ORDER BY c.due_ms LIMIT {MAX_CANDIDATES}
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY route_domain, domain ORDER BY due_ms, queue_id, recipient) AS place,
        min(due_ms) OVER (PARTITION BY route_domain, domain) AS first_ms
    FROM candidates
), ranked AS (
    SELECT *, dense_rank() OVER (ORDER BY first_ms, route_domain, domain) AS rank FROM placed WHERE place <= $5
), chosen AS (
    SELECT c.queue_id, c.recipient FROM delivery.outgoing_copy c JOIN ranked r USING (queue_id, recipient)
    WHERE r.rank <= $4 AND c.state = 'waiting' AND c.due_ms <= $2 AND c.lease_until_ms <= $2
    FOR UPDATE OF c SKIP LOCKED
), claimed AS (
    UPDATE delivery.outgoing_copy c
    SET lease_owner = $1, lease_token = nextval('delivery.lease_token'), lease_until_ms = $3
    FROM chosen WHERE c.queue_id = chosen.queue_id AND c.recipient = chosen.recipient
    RETURNING c.*
)
SELECT {COPY_COLUMNS} FROM claimed c JOIN delivery.outgoing m USING (queue_id)
ORDER BY c.due_ms, c.queue_id, c.recipient
"""  # noqa: S608  # constants of this package
_FINISH = """
UPDATE delivery.outgoing_copy c
SET state = a.state, due_ms = a.due_ms, attempts = c.attempts + a.counts::integer, lease_owner = '', lease_until_ms = 0,
    next_hop = coalesce(nullif(a.next_hop, ''), c.next_hop), last_reply = a.reply, last_status = a.status,
    remote_host = a.remote_host, tls = a.tls, report_id = a.report_id
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::boolean[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[], $13::text[])
    AS a(queue_id, recipient, lease_token, state, due_ms, counts, next_hop, reply, status, remote_host, tls, report_id)
WHERE c.queue_id = a.queue_id AND c.recipient = a.recipient AND c.lease_owner = $1 AND c.lease_token = a.lease_token
    AND c.state IN ('waiting', 'held')
"""
_OTHER_OWNERS = "SELECT DISTINCT lease_owner FROM delivery.outgoing_copy WHERE lease_owner NOT IN ('', $1)"
_LOCK_IS_FREE = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"
_TAKE = f"""
WITH chosen AS (
    {SELECT_WANTED} AND c.lease_until_ms <= $8 ORDER BY c.queue_id, c.recipient LIMIT $7 FOR UPDATE OF c SKIP LOCKED
), claimed AS (
    UPDATE delivery.outgoing_copy c
    SET lease_owner = $5, lease_token = nextval('delivery.lease_token'), lease_until_ms = $6
    FROM chosen WHERE c.queue_id = chosen.queue_id AND c.recipient = chosen.recipient
    RETURNING c.*
)
SELECT {COPY_COLUMNS} FROM claimed c JOIN delivery.outgoing m USING (queue_id) ORDER BY c.queue_id, c.recipient
"""  # noqa: S608  # constants of this package
# Whoever holds a row's lock is about to end its lease: nobody waits for another here.
_OWNED = """
FROM (
    SELECT queue_id, recipient FROM delivery.outgoing_copy WHERE lease_owner = ANY($1::text[]) FOR UPDATE SKIP LOCKED
) o WHERE c.queue_id = o.queue_id AND c.recipient = o.recipient
"""
_RENEW = f"""
UPDATE delivery.outgoing_copy c SET lease_until_ms = $2 {_OWNED} AND c.lease_token = ANY($3::bigint[])
"""  # noqa: S608  # constants of this package
_RELEASE = f"UPDATE delivery.outgoing_copy c SET lease_owner = '', lease_until_ms = 0 {_OWNED}"  # noqa: S608  # constants of this package
_GIVE_BACK = """
UPDATE delivery.outgoing_copy SET lease_owner = '', lease_until_ms = 0, due_ms = greatest(due_ms, $3)
WHERE lease_owner = $1 AND lease_token = ANY($2::bigint[])
"""


class _LeaseLostError(Exception):
    """Rolls a transaction back."""


class PostgresQueue(PostgresQueueBooks):
    """Implements `Queue`."""

    _holds_lock = False
    _servers = 0
    """How many servers of the database there were before this one."""

    async def enter(
        self, entries: Sequence[LedgerEntry], outgoing: Sequence[Outgoing], now_ms: int
    ) -> list[LedgerEntry]:
        """See `QueueWriter.enter`."""
        async with connection(self._pool) as session, session.transaction():
            if outgoing:
                await write_messages(session, [each.message for each in outgoing])
                new = await write_copies(session, outgoing, now_ms)
                await put_events(session, [pack_event(event) for event in queued_events(outgoing, new, now_ms)])
            rows = await session.fetch(RECORD, *ledger_columns(entries))
        return clashing(entries, rows)

    async def claim(self, owner: str, now_ms: int, until_ms: int, limits: ClaimLimits) -> list[Claimed]:
        """See `QueueLeases.claim`."""
        full = [" ".join(names) for names in limits.full]
        async with connection(self._pool) as session, session.transaction():
            await session.execute(_BY_INDEX)
            rows = await session.fetch(_CLAIM, owner, now_ms, until_ms, limits.destinations, limits.copies_each, full)
        return [read_claimed(row) for row in rows]

    async def take(
        self, owner: str, request: ChangeQueueRequest, now_ms: int, until_ms: int, limit: int
    ) -> list[Claimed]:
        """See `QueueLeases.take`."""
        wanted = (OPEN_STATES, request.queue_id, request.recipient, request.domain)
        async with connection(self._pool) as session:
            rows = await session.fetch(_TAKE, *wanted, owner, until_ms, limit, now_ms)
        return [read_claimed(row) for row in rows]

    async def renew(self, owner: str, tokens: Sequence[int], until_ms: int) -> None:
        """See `QueueLeases.renew`."""
        async with connection(self._pool) as session:
            await session.execute(_RENEW, [owner], until_ms, tokens)

    async def give_back(self, owner: str, claimed: Sequence[Claimed], due_ms: int) -> None:
        """See `QueueLeases.give_back`."""
        async with connection(self._pool) as session:
            await session.execute(_GIVE_BACK, owner, [each.lease_token for each in claimed], due_ms)

    async def release(self, owner: str) -> int:
        """See `QueueLeases.release`."""
        async with connection(self._pool) as session:
            return await _release(session, [owner])

    async def finish(self, owner: str, outcomes: Outcomes) -> bool:
        """See `QueueLeases.finish`."""
        attempts = outcomes.attempts
        columns = [[getattr(attempt, name) for attempt in attempts] for name in Attempt.__struct_fields__]
        ended = {attempt.queue_id for attempt in attempts if attempt.state is not QueueState.WAITING}
        try:
            async with connection(self._pool) as session, session.transaction():
                done = await session.execute(_FINISH, owner, *columns)
                if int(done.rpartition(" ")[2]) != len(attempts):
                    raise _LeaseLostError
                await put_events(session, [pack_event(event) for event in outcomes.events])
                await settle(session, ended)
                if outcomes.report is not None:
                    await put_report(session, outcomes.report)
        except _LeaseLostError:
            return False
        return True

    async def release_orphans(self, owner: str, suspects: Sequence[str]) -> list[str]:
        """See `QueueLeases.release_orphans`."""
        async with connection(self._pool) as session, session.transaction():
            others = [row[0] for row in await session.fetch(_OTHER_OWNERS, owner)]
            orphaned = [other for other in others if await session.fetchval(_LOCK_IS_FREE, other)]
            dead = [other for other in orphaned if other in suspects]
            if dead:
                copies = await _release(session, dead)
                log.warning("delivery.queue.leases_freed", extra={"owners": dead, "copies": copies})
        return [other for other in orphaned if other not in dead]

    @property
    def holds_lock(self) -> bool:
        """See `QueueLeases.holds_lock`."""
        return self._holds_lock

    async def keep_lock(self, owner: str) -> None:
        """Holds the owner's lock for ever, taking it again when its connection was lost or its server is another."""
        while True:
            try:
                async with connection(self._pool) as session:
                    server = self._servers
                    await session.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", owner)
                    self._holds_lock = server == self._servers
                    while server == self._servers:
                        await asyncio.sleep(LOCK_LOOK_SECONDS)
                        await session.execute("SELECT 1")
                    await session.execute("SELECT pg_advisory_unlock_all()")
            except MailError as error:
                log.warning("delivery.queue.lock_lost", extra={"reason": str(error)})
            finally:
                self._holds_lock = False
            await asyncio.sleep(LOCK_PAUSE_SECONDS)

    def drop_lock(self) -> None:
        """The server is another one: a lock on the one before says nothing to anybody."""
        self._servers += 1
        self._holds_lock = False


async def _release(session: "Session", owners: Sequence[str]) -> int:
    """Ends all leases of these owners."""
    done = await session.execute(_RELEASE, owners)
    return int(done.rpartition(" ")[2])
