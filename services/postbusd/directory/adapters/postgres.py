"""Schema `directory` in Postgres: all SQL of this service.

Every statement that answers a batch also reads the revision, in one snapshot. Writes change rows first and the
revision last: its row lock is held until the commit, so that revision order is commit order.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.directory import Domain, Mailbox
from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.mailstore.outbox import pack_event, publish_rows
from postbus.mailstore.ports import Publish
from postbus.runtime.database import connection
from postbusd.directory.values import (
    DomainPage,
    DomainWritten,
    Found,
    Key,
    Login,
    MailboxChange,
    MailboxPage,
    MailboxWritten,
)

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_FIND = """
SELECT r.revision, w.position, d.name, d.incoming, m.mailbox_id, m.local_part, m.domain, m.active, m.quota_octets
FROM directory.revision r
CROSS JOIN unnest($1::text[], $2::text[], $3::boolean[]) WITH ORDINALITY AS w(local_part, domain, system, position)
LEFT JOIN directory.domain d ON d.name = coalesce(
    nullif(w.domain, ''), (SELECT name FROM directory.domain WHERE incoming ORDER BY created, name LIMIT 1))
LEFT JOIN LATERAL (
    SELECT * FROM directory.mailbox
    WHERE NOT w.system AND domain = d.name AND local_part = w.local_part
    UNION ALL
    (SELECT * FROM directory.mailbox
     WHERE w.system AND domain = d.name AND active ORDER BY created, mailbox_id LIMIT 1)
) m ON true
"""
_LOAD_LOGIN = """
SELECT r.revision, m.*, c.secret_hash
FROM directory.revision r CROSS JOIN directory.mailbox m
LEFT JOIN directory.credential c ON c.mailbox_id = m.mailbox_id AND c.kind = 'password'
WHERE m.domain = $1 AND m.local_part = $2
"""
_PUT_DOMAIN = """
INSERT INTO directory.domain AS d (name, incoming) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET incoming = excluded.incoming WHERE d.incoming <> excluded.incoming
RETURNING 1
"""
_INSERT_MAILBOX = """
INSERT INTO directory.mailbox (mailbox_id, local_part, domain, active, quota_octets)
VALUES ($1, $2, $3, coalesce($4, true), nullif($5::bigint, 0))
ON CONFLICT (domain, local_part) DO NOTHING RETURNING *
"""
_UPDATE_MAILBOX = """
UPDATE directory.mailbox SET active = coalesce($3, active),
    quota_octets = CASE WHEN $4::bigint IS NULL THEN quota_octets ELSE nullif($4, 0) END
WHERE domain = $1 AND local_part = $2
RETURNING *
"""
_SELECT_MAILBOX = "SELECT * FROM directory.mailbox WHERE domain = $1 AND local_part = $2 FOR UPDATE"
_PUT_CREDENTIAL = """
INSERT INTO directory.credential (mailbox_id, kind, secret_hash) VALUES ($1, 'password', $2)
ON CONFLICT (mailbox_id, kind) DO UPDATE SET secret_hash = excluded.secret_hash, changed = now()
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


class PostgresDirectory:
    """The DirectoryRepository of directory; `pool` gives the pool of the service's own role."""

    def __init__(self, pool: Callable[[], Awaitable[asyncpg.Pool]]) -> None:
        self._pool = pool

    async def find(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Found]]:
        """Revision and answers of one snapshot, in one query."""
        async with self._connection() as session:
            rows = await session.fetch(
                _FIND, [key.local_part for key in keys], [key.domain for key in keys], [key.system for key in keys]
            )
        found = {
            keys[row["position"] - 1]: Found(
                domain=Domain(name=row["name"], incoming=row["incoming"]) if row["name"] is not None else None,
                mailbox=_mailbox(row) if row["mailbox_id"] is not None else None,
            )
            for row in rows
        }
        return rows[0]["revision"] if rows else 0, found

    async def load_login(self, local_part: str, domain: str) -> Login | None:
        """A mailbox with its password by its folded name."""
        async with self._connection() as session:
            row = await session.fetchrow(_LOAD_LOGIN, domain, local_part)
        if row is None:
            return None
        return Login(mailbox=_mailbox(row), password_hash=row["secret_hash"] or "", revision=row["revision"])

    async def revision(self) -> int:
        """The number of the last committed change."""
        async with self._connection() as session:
            value: int = await session.fetchval("SELECT revision FROM directory.revision")
        return value

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
                await session.execute(_PUT_CREDENTIAL, row["mailbox_id"], change.password_hash)
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

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator["Session"]:
        """A connection whose failures are MailErrors."""
        async with connection(await self._pool()) as session:
            yield session


async def _write_mailbox(session: "Session", change: MailboxChange) -> tuple[asyncpg.Record, bool, bool]:
    """The row as it is now, whether it was created, whether it differs from before."""
    row = await session.fetchrow(
        _INSERT_MAILBOX, change.mailbox_id, change.local_part, change.domain, change.active, change.quota_octets
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
    return Mailbox(
        mailbox_id=MailboxId(str(row["mailbox_id"])),
        address=f"{row['local_part']}@{row['domain']}",
        active=row["active"],
        quota_octets=row["quota_octets"],
    )
