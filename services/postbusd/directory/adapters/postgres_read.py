"""Reads of schema `directory`: what Resolve, Authenticate and FindRoute ask.

Every statement that answers a batch also reads the revision, in one snapshot.
"""

from collections.abc import Sequence

import asyncpg

from postbus.contracts.directory import OwnerKind, Relay, RelaySecurity
from postbus.core.ids import MailboxId
from postbusd.directory.adapters.postgres_session import PostgresSessions
from postbusd.directory.ports import MAX_CANDIDATES
from postbusd.directory.values import (
    Credential,
    DomainFacts,
    Found,
    Key,
    KeyKind,
    Login,
    MailboxFacts,
    StoredRoute,
)

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
SELECT r.revision, m.mailbox_id, m.local_part, m.domain, m.active, m.quota_octets,
    CASE WHEN m.owner_user IS NOT NULL THEN 'user' WHEN m.owner_group IS NOT NULL THEN 'group' ELSE 'app' END AS owner,
    c.name, c.secret_hash, c.active AS owner_active
FROM directory.revision r CROSS JOIN directory.mailbox m
LEFT JOIN LATERAL (
    SELECT u.username AS name, k.secret_hash, u.active, 0 AS rank
    FROM directory.user_account u JOIN directory.credential k ON k.user_id = u.user_id AND k.kind = 'password'
    WHERE u.user_id = m.owner_user
    UNION ALL
    (SELECT u.username, k.secret_hash, u.active, row_number() OVER (ORDER BY u.active DESC, k.tag IS NULL, u.username)
     FROM directory.group_member g JOIN directory.user_account u USING (user_id)
     JOIN directory.credential k ON k.user_id = u.user_id AND k.kind = 'password'
     WHERE g.group_id = m.owner_group AND (k.tag IS NULL OR k.tag = $3)
     ORDER BY 4 LIMIT $4)
    UNION ALL
    SELECT a.name, k.secret_hash, a.active, 0
    FROM directory.app a JOIN directory.credential k ON k.app_id = a.app_id AND k.kind = 'generated'
    WHERE a.app_id = m.owner_app
) c ON true
WHERE m.domain = $1 AND m.local_part = $2
ORDER BY c.rank
"""
_FIND_ROUTE = """
SELECT r.revision, d.name, d.relay_host, d.relay_port, d.relay_security, d.relay_username, d.relay_password_sealed
FROM directory.revision r LEFT JOIN directory.domain d ON d.name = ANY($1::text[])
ORDER BY length(d.name) DESC NULLS LAST LIMIT 1
"""


class PostgresReader(PostgresSessions):
    """The DirectoryReader of directory."""

    async def find(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Found]]:
        """Revision and answers of one snapshot, in one query."""
        async with self._connection() as session:
            rows = await session.fetch(
                _FIND,
                [key.local_part for key in keys],
                [key.domain for key in keys],
                [key.kind is KeyKind.SYSTEM for key in keys],
            )
        found = {
            keys[row["position"] - 1]: Found(
                domain=DomainFacts(name=row["name"], incoming=row["incoming"]) if row["name"] is not None else None,
                mailbox=_mailbox(row) if row["mailbox_id"] is not None else None,
            )
            for row in rows
        }
        return rows[0]["revision"] if rows else 0, found

    async def load_login(self, local_part: str, domain: str, tag: int) -> Login | None:
        """A mailbox with what opens it, by its folded name."""
        async with self._connection() as session:
            rows = await session.fetch(_LOAD_LOGIN, domain, local_part, tag, MAX_CANDIDATES)
        if not rows:
            return None
        return Login(
            mailbox=_mailbox(rows[0]),
            owner_kind=OwnerKind(rows[0]["owner"]),
            credentials=tuple(
                Credential(name=row["name"], secret_hash=row["secret_hash"], active=row["owner_active"])
                for row in rows
                if row["name"] is not None
            ),
            revision=rows[0]["revision"],
        )

    async def find_route(self, names: Sequence[str]) -> StoredRoute:
        """The way out of the longest of these domains that is ours."""
        async with self._connection() as session:
            row = (await session.fetch(_FIND_ROUTE, names))[0]
        if row["name"] is None:
            return StoredRoute(revision=row["revision"])
        return StoredRoute(
            domain=row["name"],
            relay=_relay(row),
            password_sealed=row["relay_password_sealed"],
            revision=row["revision"],
        )

    async def revision(self) -> int:
        """The number of the last committed change."""
        async with self._connection() as session:
            value: int = await session.fetchval("SELECT revision FROM directory.revision")
        return value


def _mailbox(row: asyncpg.Record) -> MailboxFacts:
    return MailboxFacts(
        mailbox_id=MailboxId(str(row["mailbox_id"])),
        address=f"{row['local_part']}@{row['domain']}",
        active=row["active"],
        quota_octets=row["quota_octets"],
    )


def _relay(row: asyncpg.Record) -> Relay | None:
    if row["relay_host"] is None:
        return None
    return Relay(
        host=row["relay_host"],
        port=row["relay_port"],
        security=RelaySecurity(row["relay_security"]),
        username=row["relay_username"],
    )
