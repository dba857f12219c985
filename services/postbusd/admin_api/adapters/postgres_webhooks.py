"""Webhooks in schema `admin`: all their SQL."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.events import Event, EventType
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.adapters.postgres import add_events, read_event
from postbusd.admin_api.adapters.postgres_base import PostgresBase
from postbusd.admin_api.webhooks.rules import MAX_WEBHOOKS
from postbusd.admin_api.webhooks.values import (
    Claimed,
    Delivery,
    DeliveryState,
    Secrets,
    Verdict,
    Webhook,
    WebhookState,
    Work,
)

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_LOCK = 0x706F7374_686F6F6B  # "posthook": one writer of webhooks at a time
_STATE = """
SELECT w.*, (SELECT count(*) FROM admin.webhook_delivery d WHERE d.webhook_id = w.webhook_id AND NOT d.dead) AS waiting,
    (SELECT count(*) FROM admin.webhook_delivery d WHERE d.webhook_id = w.webhook_id AND d.dead) AS dead
FROM admin.webhook w
"""
_FIND = "SELECT * FROM admin.webhook WHERE name = $1"
_INSERT = """
INSERT INTO admin.webhook (name, url, types, domain, active, secret) VALUES ($1, $2, $3, $4, $5, $6)
"""
_REPLACE = """
UPDATE admin.webhook SET url = $2, types = $3, domain = $4, active = $5, failures = 0, paused_until_ms = 0
WHERE name = $1 AND (url, types, domain, active) IS DISTINCT FROM ($2, $3::text[], $4, $5)
"""
_ROTATE = """
UPDATE admin.webhook SET former_secret = secret, former_until_ms = $3, secret = $2 WHERE name = $1
"""
_CLAIM = """
WITH due AS (
    SELECT w.webhook_id FROM admin.webhook w
    WHERE w.active AND w.paused_until_ms <= $1 AND EXISTS (
        SELECT FROM admin.webhook_delivery d WHERE d.webhook_id = w.webhook_id AND NOT d.dead AND d.due_ms <= $1)
    ORDER BY w.last_ms, w.webhook_id LIMIT $3
), chosen AS (
    SELECT c.webhook_id, c.sequence FROM due CROSS JOIN LATERAL (
        SELECT d.webhook_id, d.sequence FROM admin.webhook_delivery d
        WHERE d.webhook_id = due.webhook_id AND NOT d.dead AND d.due_ms <= $1
        ORDER BY d.due_ms, d.sequence LIMIT $4 FOR UPDATE SKIP LOCKED) c
), leased AS (
    UPDATE admin.webhook_delivery d SET due_ms = $2 FROM chosen c
    WHERE d.webhook_id = c.webhook_id AND d.sequence = c.sequence
    RETURNING d.webhook_id, d.sequence, d.attempts
)
SELECT l.webhook_id, l.attempts, e.* FROM leased l JOIN admin.event e USING (sequence) ORDER BY l.webhook_id, e.sequence
"""
_SETTLE = """
WITH verdict AS (
    SELECT * FROM unnest($2::bigint[], $3::boolean[], $4::boolean[], $5::bigint[], $6::text[])
        AS v(sequence, told, dead, due_ms, outcome)
), gone AS (
    DELETE FROM admin.webhook_delivery d USING verdict v
    WHERE d.webhook_id = $1 AND d.sequence = v.sequence AND v.told
)
UPDATE admin.webhook_delivery d SET attempts = d.attempts + 1, dead = v.dead, due_ms = v.due_ms, outcome = v.outcome
FROM verdict v WHERE d.webhook_id = $1 AND d.sequence = v.sequence AND NOT v.told AND NOT d.dead
RETURNING d.dead
"""
_NOTE = """
UPDATE admin.webhook SET last_outcome = $2, last_ms = $3,
    failures = CASE WHEN $4 THEN failures + 1 WHEN $5 THEN 0 ELSE failures END,
    paused_until_ms = CASE WHEN $4 THEN greatest(paused_until_ms, $6) WHEN $5 THEN 0 ELSE paused_until_ms END
WHERE webhook_id = $1
"""
_EXPIRE = """
UPDATE admin.webhook_delivery d SET dead = true,
    outcome = CASE WHEN outcome = '' THEN 'could not be told in time' ELSE outcome END
FROM admin.event e WHERE e.sequence = d.sequence AND NOT d.dead AND e.at_ms < $1
"""


class PostgresWebhookStore(PostgresBase):
    """The WebhookStore."""

    async def put_webhook(self, webhook: Webhook, new_secret: bytes, event: Event) -> bool:
        """See `WebhookStore.put_webhook`."""
        values = (webhook.name, webhook.url, list(webhook.types), webhook.domain, webhook.active)
        async with self._writing() as session:
            if await session.fetchval(f"SELECT 1 FROM ({_FIND}) found", webhook.name) is not None:  # noqa: S608 (ours)
                if await session.execute(_REPLACE, *values) != "UPDATE 0":
                    await add_events(session, [event])
                return False
            if await session.fetchval("SELECT count(*) FROM admin.webhook") >= MAX_WEBHOOKS:
                raise MailError(ErrorKind.INVALID, f"name: there are {MAX_WEBHOOKS} webhooks, which is the most")
            await session.execute(_INSERT, *values, new_secret)
            await add_events(session, [event])
            return True

    async def rotate_secret(self, name: str, secret: bytes, former_until_ms: int, event: Event) -> None:
        """See `WebhookStore.rotate_secret`."""
        async with self._writing() as session:
            if await session.execute(_ROTATE, name, secret, former_until_ms) == "UPDATE 0":
                raise _absent(name)
            await add_events(session, [event])

    async def get_webhook(self, name: str) -> WebhookState:
        """See `WebhookStore.get_webhook`."""
        async with self._connection() as session:
            row = await session.fetchrow(f"{_STATE} WHERE w.name = $1", name)
        if row is None:
            raise _absent(name)
        return _state(row)

    async def list_webhooks(self, after: str, limit: int) -> tuple[WebhookState, ...]:
        """See `WebhookStore.list_webhooks`."""
        async with self._connection() as session:
            rows = await session.fetch(f"{_STATE} WHERE w.name > $1 ORDER BY w.name LIMIT $2", after, limit)
        return tuple(map(_state, rows))

    async def delete_webhook(self, name: str, event: Event) -> None:
        """See `WebhookStore.delete_webhook`."""
        async with self._writing() as session:
            if await session.execute("DELETE FROM admin.webhook WHERE name = $1", name) == "DELETE 0":
                raise _absent(name)
            await add_events(session, [event])

    async def find_secrets(self, name: str) -> Secrets:
        """See `WebhookStore.find_secrets`."""
        async with self._connection() as session:
            return _secrets(await _find(session, name))

    async def list_deliveries(self, name: str, *, dead: bool, after: int, limit: int) -> tuple[Delivery, ...]:
        """See `WebhookStore.list_deliveries`."""
        async with self._connection() as session:
            webhook = await _find(session, name)
            rows = await session.fetch(
                "SELECT d.due_ms, d.attempts, d.outcome, e.* FROM admin.webhook_delivery d "
                "JOIN admin.event e USING (sequence) "
                "WHERE d.webhook_id = $1 AND d.dead = $2 AND d.sequence > $3 ORDER BY d.sequence LIMIT $4",
                webhook["webhook_id"],
                dead,
                after,
                limit,
            )
        state = DeliveryState.DEAD if dead else DeliveryState.WAITING
        return tuple(
            Delivery(
                sequence=row["sequence"],
                event=read_event(row),
                state=state,
                attempts=row["attempts"],
                due_ms=row["due_ms"],
                outcome=row["outcome"],
            )
            for row in rows
        )

    async def change_dead(self, name: str, sequence: int | None, event: Event, *, retry: bool) -> int:
        """See `WebhookStore.change_dead`."""
        change = (
            "UPDATE admin.webhook_delivery SET dead = false, attempts = 0, due_ms = 0"
            if retry
            else "DELETE FROM admin.webhook_delivery"
        )
        async with self._writing() as session:
            webhook = await _find(session, name)
            rows = await session.fetch(
                f"{change} WHERE webhook_id = $1 AND dead AND ($2::bigint IS NULL OR sequence = $2) RETURNING 1",
                webhook["webhook_id"],
                sequence,
            )
            if sequence is not None and not rows:
                raise MailError(ErrorKind.NOT_FOUND, f"sequence: {name} has given up no event {sequence}")
            if rows:
                await add_events(session, [event])
        return len(rows)

    async def claim_work(self, now_ms: int, lease_ms: int, webhooks: int, deliveries: int) -> tuple[Work, ...]:
        """See `WebhookStore.claim_work`."""
        async with self._connection() as session, session.transaction():
            rows = await session.fetch(_CLAIM, now_ms, now_ms + lease_ms, webhooks, deliveries)
            ids = list({row["webhook_id"] for row in rows})
            found = await session.fetch("SELECT * FROM admin.webhook WHERE webhook_id = ANY($1::bigint[])", ids)
        return tuple(
            Work(
                webhook=_webhook(webhook),
                secrets=_secrets(webhook),
                failures=webhook["failures"],
                claimed=tuple(
                    Claimed(sequence=row["sequence"], attempts=row["attempts"], event=read_event(row))
                    for row in rows
                    if row["webhook_id"] == webhook["webhook_id"]
                ),
            )
            for webhook in found
        )

    async def settle(self, name: str, verdicts: Sequence[Verdict], unasked: Sequence[int], now_ms: int) -> int:
        """See `WebhookStore.settle`."""
        fields = ("sequence", "told", "dead", "due_ms", "outcome")
        columns = [[getattr(verdict, field) for verdict in verdicts] for field in fields]
        failed = [verdict for verdict in verdicts if not verdict.told]
        async with self._connection() as session, session.transaction():
            webhook_id = await session.fetchval("SELECT webhook_id FROM admin.webhook WHERE name = $1", name)
            dead = await session.fetch(_SETTLE, webhook_id, *columns)
            await session.execute(
                "UPDATE admin.webhook_delivery SET due_ms = 0 WHERE webhook_id = $1 AND sequence = ANY($2::bigint[])",
                webhook_id,
                list(unasked),
            )
            if verdicts:
                outcome = (failed or verdicts)[0].outcome
                pause = max((verdict.pause_until_ms for verdict in failed), default=0)
                told = len(failed) < len(verdicts)
                await session.execute(_NOTE, webhook_id, outcome, now_ms, bool(failed), told, pause)
        return sum(row["dead"] for row in dead)

    async def expire(self, before_ms: int) -> int:
        """See `WebhookStore.expire`."""
        async with self._connection() as session:
            done = await session.execute(_EXPIRE, before_ms)
        return int(done.rpartition(" ")[2])

    async def count_deliveries(self) -> tuple[int, int]:
        """See `WebhookStore.count_deliveries`."""
        async with self._connection() as session:
            row = await session.fetchrow(
                "SELECT count(*) FILTER (WHERE NOT dead) AS waiting, count(*) FILTER (WHERE dead) AS dead "
                "FROM admin.webhook_delivery"
            )
        return (row["waiting"], row["dead"]) if row is not None else (0, 0)

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator["Session"]:
        async with self._connection() as session, session.transaction():
            await session.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            yield session


async def _find(session: "Session", name: str) -> asyncpg.Record:
    row = await session.fetchrow(_FIND, name)
    if row is None:
        raise _absent(name)
    return row


def _absent(name: str) -> MailError:
    return MailError(ErrorKind.NOT_FOUND, f"name: there is no webhook {name}")


def _webhook(row: asyncpg.Record) -> Webhook:
    types = tuple(EventType(each) for each in row["types"])
    return Webhook(name=row["name"], url=row["url"], types=types, domain=row["domain"], active=row["active"])


def _secrets(row: asyncpg.Record) -> Secrets:
    return Secrets(current=row["secret"], former=row["former_secret"], former_until_ms=row["former_until_ms"])


def _state(row: asyncpg.Record) -> WebhookState:
    return WebhookState(
        webhook=_webhook(row),
        waiting=row["waiting"],
        dead=row["dead"],
        failures=row["failures"],
        paused_until_ms=row["paused_until_ms"],
        last_outcome=row["last_outcome"],
        last_ms=row["last_ms"],
    )
