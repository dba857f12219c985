"""Writes to schema `directory`: the administrator's commands.

Rows are changed first and the revision last: its row lock is held until the commit, so that revision order is commit
order.
"""

from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.directory import Domain, Mailbox, Owner, OwnerKind
from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.mailstore.outbox import pack_event, publish_rows
from postbus.mailstore.ports import Publish
from postbusd.directory.adapters.postgres_session import PostgresSessions
from postbusd.directory.administration_values import (
    DomainPage,
    DomainWritten,
    MailboxChange,
    MailboxPage,
    MailboxWritten,
)

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_PUT_DOMAIN = """
INSERT INTO directory.domain AS d (name, incoming) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET incoming = excluded.incoming WHERE d.incoming <> excluded.incoming
RETURNING 1
"""
_INSERT_MAILBOX = """
INSERT INTO directory.mailbox (mailbox_id, local_part, domain, active, quota_octets, owner_user)
VALUES ($1, $2, $3, coalesce($4, true), nullif($5::bigint, 0), $6)
ON CONFLICT (domain, local_part) DO NOTHING RETURNING *
"""
_UPDATE_MAILBOX = """
UPDATE directory.mailbox SET active = coalesce($3, active),
    quota_octets = CASE WHEN $4::bigint IS NULL THEN quota_octets ELSE nullif($4, 0) END
WHERE domain = $1 AND local_part = $2
RETURNING *
"""
_SELECT_MAILBOX = "SELECT * FROM directory.mailbox WHERE domain = $1 AND local_part = $2 FOR UPDATE"
_PUT_USER = """
INSERT INTO directory.user_account (user_id, username) VALUES (gen_random_uuid(), $1)
ON CONFLICT (username) DO UPDATE SET username = excluded.username RETURNING user_id
"""
_PUT_CREDENTIAL = """
INSERT INTO directory.credential (user_id, kind, secret_hash) VALUES ($1, 'password', $2)
ON CONFLICT (user_id, kind) WHERE user_id IS NOT NULL DO UPDATE SET secret_hash = excluded.secret_hash, changed = now()
"""
_LIST_DOMAINS = """
SELECT name, incoming FROM directory.domain WHERE name COLLATE "C" > $1 ORDER BY name COLLATE "C" LIMIT $2
"""
_LIST_MAILBOXES = """
SELECT * FROM directory.mailbox
WHERE (local_part || '@' || domain) COLLATE "C" > $1 AND ($2 = '' OR domain = $2)
ORDER BY (local_part || '@' || domain) COLLATE "C" LIMIT $3
"""
_CLAIM_OUTBOX = "SELECT outbox_id, event FROM directory.outbox ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED"


class PostgresWriter(PostgresSessions):
    """The DirectoryWriter of directory."""

    async def put_domain(self, domain: Domain, event: Event) -> DomainWritten:
        """Creates or replaces a domain."""
        async with self._connection() as session, session.transaction():
            changed = await session.fetchval(_PUT_DOMAIN, domain.name, domain.incoming) is not None
            revision = await _close_write(session, event, changed=changed)
        return DomainWritten(changed=changed, revision=revision, domain=domain)

    async def put_mailbox(self, change: MailboxChange, event: Event) -> MailboxWritten:
        """Creates or changes the mailbox of that name."""
        async with self._connection() as session, session.transaction():
            if await session.fetchval("SELECT 1 FROM directory.domain WHERE name = $1", change.domain) is None:
                raise MailError(ErrorKind.NOT_FOUND, f"address: there is no domain {change.domain} here")
            row, created, changed = await _write_mailbox(session, change)
            if change.password_hash is not None:
                await session.execute(_PUT_CREDENTIAL, row["owner_user"], change.password_hash)
                changed = True
            revision = await _close_write(session, event, changed=changed)
        return MailboxWritten(changed=changed, revision=revision, mailbox=_mailbox(row), created=created)

    async def list_domains(self, after: str, limit: int) -> DomainPage:
        """Domains with a name above `after`, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(_LIST_DOMAINS, after, limit + 1)
        domains = tuple(Domain(name=row["name"], incoming=row["incoming"]) for row in rows[:limit])
        return DomainPage(domains=domains, more=len(rows) > limit)

    async def list_mailboxes(self, domain: str, after: str, limit: int) -> MailboxPage:
        """Mailboxes with an address above `after`, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(_LIST_MAILBOXES, after, domain, limit + 1)
        return MailboxPage(mailboxes=tuple(_mailbox(row) for row in rows[:limit]), more=len(rows) > limit)

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Claims up to `limit` events, hands them to `publish`, deletes them."""
        async with self._connection() as session, session.transaction():
            rows = await session.fetch(_CLAIM_OUTBOX, limit)
            done = await publish_rows([(row["outbox_id"], row["event"]) for row in rows], publish)
            if done:
                await session.execute("DELETE FROM directory.outbox WHERE outbox_id = ANY($1)", done)
        return len(done)


async def _write_mailbox(session: "Session", change: MailboxChange) -> tuple[asyncpg.Record, bool, bool]:
    """The row as it is now, whether it was created, whether it differs from before."""
    user_id = await session.fetchval(_PUT_USER, f"{change.local_part}@{change.domain}")
    row = await session.fetchrow(
        _INSERT_MAILBOX,
        change.mailbox_id,
        change.local_part,
        change.domain,
        change.active,
        change.quota_octets,
        user_id,
    )
    if row is not None:
        if change.password_hash is None:
            raise MailError(ErrorKind.INVALID, "password: a new mailbox needs one")
        return row, True, True
    if change.create_only:
        raise MailError(ErrorKind.ALREADY_EXISTS, "address: there is a mailbox of this name")
    before = await session.fetchrow(_SELECT_MAILBOX, change.domain, change.local_part)
    now = await session.fetchrow(_UPDATE_MAILBOX, change.domain, change.local_part, change.active, change.quota_octets)
    if before is None or now is None:
        raise MailError(ErrorKind.CONFLICT, "address: the mailbox is being deleted")
    return now, False, tuple(before) != tuple(now)


async def _close_write(session: "Session", event: Event, *, changed: bool) -> int:
    """The last statements of a writing transaction: the event, then the revision."""
    if not changed:
        unchanged: int = await session.fetchval("SELECT revision FROM directory.revision")
        return unchanged
    await session.execute("INSERT INTO directory.outbox (event) VALUES ($1)", pack_event(event))
    revision: int = await session.fetchval("UPDATE directory.revision SET revision = revision + 1 RETURNING revision")
    return revision


def _mailbox(row: asyncpg.Record) -> Mailbox:
    """The owner is, until the owner is a choice, the user of the same name."""
    return Mailbox(
        mailbox_id=MailboxId(str(row["mailbox_id"])),
        address=f"{row['local_part']}@{row['domain']}",
        active=row["active"],
        quota_octets=row["quota_octets"],
        owner=Owner(kind=OwnerKind.USER, name=f"{row['local_part']}@{row['domain']}"),
    )
