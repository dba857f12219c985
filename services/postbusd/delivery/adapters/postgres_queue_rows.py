"""Rows of the outgoing queue and the values that they are."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from postbus.contracts.delivery import QueueEntry, QueueState
from postbus.contracts.events import MailAccepted, Origin
from postbus.core.ids import BlobId, QueueId
from postbusd.delivery.outbound.queue import Claimed, NewCopy, Outgoing, QueuedMessage

if TYPE_CHECKING:
    from postbus.runtime.database import Session

OPEN_STATES = ["waiting", "held"]
HELD_AFTER_RESTORE = "held after a restore: it may have been sent in the time that is lost"
"""Why a copy is held; `postbus queue release` lets it go."""
COPY_COLUMNS = "c.*, m.*"
SELECT_WANTED = """
SELECT c.queue_id, c.recipient FROM delivery.outgoing_copy c
WHERE c.state IN ('waiting', 'held') AND c.state = ANY($1::text[]) AND ($2 = '' OR c.queue_id = $2)
    AND ($3 = '' OR c.recipient = $3) AND ($4 = '' OR c.domain = $4)
"""
# Copies of one message may end in several transactions at once: without this each would see the others' still open.
_LOCK_MESSAGES = """
SELECT FROM delivery.outgoing WHERE queue_id = ANY($1::text[]) ORDER BY queue_id FOR NO KEY UPDATE
"""
_PUT_REPORT = """
INSERT INTO delivery.report_outbox (queue_id, accepted) VALUES ($1, $2) ON CONFLICT (queue_id) DO NOTHING
"""
_SETTLE = """
UPDATE delivery.ledger l
SET accounted = CASE WHEN t.reports IS NULL THEN 'queued' ELSE 'dsn' END,
    detail = 'no copy is left to send: ' || concat_ws(', ', nullif(t.sent, 0) || ' sent',
        nullif(t.failed, 0) || ' failed', nullif(t.cancelled, 0) || ' cancelled') || coalesce('; DSN ' || t.reports, '')
FROM unnest($1::text[]) AS e(queue_id)
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'sent') AS sent, count(*) FILTER (WHERE state = 'failed') AS failed,
        count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
        string_agg(DISTINCT report_id, ', ') FILTER (WHERE report_id <> '') AS reports
    FROM delivery.outgoing_copy c WHERE c.queue_id = e.queue_id
) t
WHERE l.queue_id = e.queue_id AND l.accounted = 'queued' AND NOT EXISTS (
    SELECT FROM delivery.outgoing_copy c WHERE c.queue_id = e.queue_id AND c.state IN ('waiting', 'held'))
"""
_PUT_MESSAGES = """
INSERT INTO delivery.outgoing (queue_id, origin, blob_id, blob_octets, prefix, body, smtputf8, ret, envid, message_id,
    accepted_ms, expires_ms, traceparent)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::text[], $7::boolean[],
    $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::text[])
ON CONFLICT (queue_id) DO NOTHING
"""
_PUT_COPIES = """
INSERT INTO delivery.outgoing_copy (queue_id, recipient, domain, reverse_path, route_domain, notify, orcpt, due_ms,
    state, last_reply)
SELECT g.queue_id, g.recipient, g.domain, g.reverse_path, g.route_domain,
    coalesce(string_to_array(nullif(g.notify, ''), ','), '{}'), g.orcpt, $8,
    CASE WHEN g.held OR r.restored THEN 'held' ELSE 'waiting' END, CASE WHEN r.restored THEN $10 ELSE '' END
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $9::boolean[])
    AS g(queue_id, recipient, domain, reverse_path, route_domain, notify, orcpt, held)
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM delivery.epoch e, delivery.outgoing m
                   WHERE m.queue_id = g.queue_id AND m.accepted_ms < e.restored_ms) AS restored
) r
ORDER BY g.queue_id, g.recipient
ON CONFLICT (queue_id, recipient) DO NOTHING RETURNING queue_id, recipient
"""


async def write_messages(session: "Session", messages: Sequence[QueuedMessage]) -> None:
    """Enters what is not there yet, in one order for all: whoever enters the same messages waits, no deadlock."""
    ordered = sorted(messages, key=lambda message: message.queue_id)
    await session.execute(
        _PUT_MESSAGES,
        *([getattr(message, name) for message in ordered] for name in QueuedMessage.__struct_fields__),
    )


async def write_copies(session: "Session", outgoing: Sequence[Outgoing], now_ms: int) -> set[tuple[str, str]]:
    """Enters what is not there yet; the keys of the new rows."""
    rows = [(each.message.queue_id, copy) for each in outgoing for copy in each.copies]
    new = await session.fetch(
        _PUT_COPIES,
        [queue_id for queue_id, _ in rows],
        [copy.recipient for _, copy in rows],
        [copy.domain for _, copy in rows],
        [copy.reverse_path for _, copy in rows],
        [copy.route_domain for _, copy in rows],
        [",".join(copy.notify) for _, copy in rows],
        [copy.orcpt for _, copy in rows],
        now_ms,
        [copy.held for _, copy in rows],
        HELD_AFTER_RESTORE,
    )
    return {(row["queue_id"], row["recipient"]) for row in new}


async def put_events(session: "Session", packed: Sequence[bytes]) -> None:
    """Rows of the event outbox."""
    if packed:
        await session.execute("INSERT INTO delivery.outbox (event) SELECT unnest($1::bytea[])", packed)


async def put_report(session: "Session", accepted: MailAccepted) -> None:
    """A message of our own, for the bus."""
    await session.execute(_PUT_REPORT, accepted.queue_id, msgspec.msgpack.encode(accepted))


async def settle(session: "Session", queue_ids: Collection[str]) -> None:
    """Says in the ledger what became of messages whose last copy has ended; one that is held there stays so."""
    if queue_ids:
        ordered = sorted(queue_ids)
        await session.execute(_LOCK_MESSAGES, ordered)
        await session.execute(_SETTLE, ordered)


def read_claimed(row: asyncpg.Record) -> Claimed:
    """A leased copy with its message."""
    return Claimed(
        message=QueuedMessage(
            queue_id=QueueId(row["queue_id"]),
            origin=Origin(row["origin"]),
            blob_id=BlobId(row["blob_id"]),
            blob_octets=row["blob_octets"],
            prefix=row["prefix"],
            body=row["body"],
            smtputf8=row["smtputf8"],
            ret=row["ret"],
            envid=row["envid"],
            message_id=row["message_id"],
            accepted_ms=row["accepted_ms"],
            expires_ms=row["expires_ms"],
            traceparent=row["traceparent"],
        ),
        copy=NewCopy(
            recipient=row["recipient"],
            domain=row["domain"],
            reverse_path=row["reverse_path"],
            route_domain=row["route_domain"],
            notify=tuple(row["notify"]),
            orcpt=row["orcpt"],
        ),
        attempts=row["attempts"],
        lease_token=row["lease_token"],
    )


def read_entry(row: asyncpg.Record) -> QueueEntry:
    """A copy as administrators see it."""
    return QueueEntry(
        queue_id=QueueId(row["queue_id"]),
        recipient=row["recipient"],
        reverse_path=row["reverse_path"],
        state=QueueState(row["state"]),
        accepted_ms=row["accepted_ms"],
        due_ms=row["due_ms"],
        attempts=row["attempts"],
        next_hop=row["next_hop"],
        last_reply=row["last_reply"],
        remote_host=row["remote_host"],
        tls=row["tls"],
        size_octets=row["blob_octets"] + len(row["prefix"]),
        message_id=row["message_id"],
        expires_ms=row["expires_ms"],
    )
