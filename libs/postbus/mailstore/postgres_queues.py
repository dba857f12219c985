"""index_pending, outbox and history on Postgres."""

from collections.abc import Sequence
from typing import Any

from postbus.core.ids import EmailId, MailboxId
from postbus.mailstore.backoff import retry_delay_ms
from postbus.mailstore.outbox import publish_rows
from postbus.mailstore.ports import Publish
from postbus.mailstore.postgres_read import stored_message
from postbus.mailstore.session import Session
from postbus.mailstore.values import Enqueued, PendingIndex

MAX_REASON_CHARACTERS = 500
ID_OCTETS = 16


class PostgresQueues:
    """Implements IndexQueue, Outbox and Upkeep."""

    def __init__(self, session: Session) -> None:
        """On the service's pool."""
        self._session = session

    async def pending(self, limit: int) -> list[PendingIndex]:
        """Rows that are due, the oldest first."""
        rows = await self._session.fetch(
            "SELECT * FROM mailstore.pending_v2($1, $2)", limit, self._session.clock.now_ms()
        )
        return [_pending(row) for row in rows]

    async def pending_of(self, mailbox_ids: Sequence[MailboxId], limit: int) -> list[PendingIndex]:
        """Rows of these mailboxes, due or not."""
        rows = await self._session.fetch("SELECT * FROM mailstore.pending_of_v2($1, $2)", list(mailbox_ids), limit)
        return [_pending(row) for row in rows]

    async def indexed(self, rows: Sequence[PendingIndex]) -> None:
        """Deletes the rows, unless they were enqueued anew meanwhile."""
        await self._session.fetch(
            "SELECT mailstore.indexed_v1($1, $2, $3)",
            [row.mailbox_id for row in rows],
            [row.email_id for row in rows],
            [row.enqueue for row in rows],
        )

    async def failed(self, row: PendingIndex, reason: str) -> None:
        """Counts an attempt; the row is due again later."""
        await self._session.fetch(
            "SELECT mailstore.index_failed_v1($1, $2, $3, $4, $5)",
            row.mailbox_id,
            row.email_id,
            row.enqueue,
            reason.replace("\0", " ")[:MAX_REASON_CHARACTERS],
            self._session.clock.now_ms() + retry_delay_ms(row.attempt + 1),
        )

    async def enqueue_all(self, after: Enqueued | None, limit: int) -> Enqueued | None:
        """The next piece of all messages."""
        rows = await self._session.fetch(
            "SELECT * FROM mailstore.enqueue_all_v1($1, $2, $3, $4)",
            after.mailbox_id if after else None,
            after.email_id if after else None,
            limit,
            self._session.clock.now_ms(),
        )
        if not rows:
            return None
        row = rows[0]
        return Enqueued(
            mailbox_id=MailboxId(row["r_mailbox_id"]), email_id=EmailId(row["r_email_id"]), messages=row["r_messages"]
        )

    async def message_ids(self, mailbox_id: MailboxId) -> list[bytes]:
        """The email_ids of a mailbox, as octets."""
        rows = await self._session.fetch("SELECT mailstore.message_ids_v1($1) AS ids", mailbox_id)
        packed = rows[0]["ids"] or b""
        return [packed[at : at + ID_OCTETS] for at in range(0, len(packed), ID_OCTETS)]

    async def enqueue(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> None:
        """Enqueues these messages."""
        now_ms = self._session.clock.now_ms()
        await self._session.fetch("SELECT mailstore.enqueue_v1($1, $2, $3)", mailbox_id, list(email_ids), now_ms)

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Claims, publishes and deletes in one transaction: what is not published stays."""
        async with self._session.transaction() as connection:
            rows = await connection.fetch("SELECT * FROM mailstore.claim_outbox_v1($1)", limit)
            done = await publish_rows([(row["r_outbox_id"], row["r_event"]) for row in rows], publish)
            if done:
                await connection.execute("SELECT mailstore.delete_outbox_v1($1)", done)
            return len(done)

    async def trim_history(self, before_ms: int, after: MailboxId | None, limit: int) -> MailboxId | None:
        """Forgets operation keys and change rows; a mailbox in use is passed over until the next round."""
        rows = await self._session.fetch(
            "SELECT mailstore.trim_history_v1($1, $2, $3) AS last", before_ms, after, limit
        )
        return MailboxId(str(rows[0]["last"])) if rows[0]["last"] else None


def _pending(row: Any) -> PendingIndex:  # asyncpg.Record
    return PendingIndex(
        mailbox_id=MailboxId(row["r_mailbox_id"]),
        email_id=EmailId(row["r_pending_id"]),
        enqueued_ms=row["r_enqueued_ms"],
        attempt=row["r_attempt"],
        message=stored_message(row) if row["r_email_id"] else None,
        enqueue=row["r_enqueue"],
        traceparent=row["r_traceparent"],
    )
