"""Many mailboxes at once in schema `directory`: a few statements, however many rows there are.

What takes long is done in a thread: others are answered meanwhile. The rows' order is that of creation: "the oldest" is
the first.
"""

import asyncio
import uuid
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from postbus.contracts.bulk import MailboxRow, RowResult
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.address import Address, parse_address
from postbus.core.ids import MailboxId
from postbusd.directory.adapters.postgres_write_base import (
    GRANTED,
    MAILBOXES,
    PostgresWrites,
    WriteSession,
    page_of,
    read_mailbox,
)
from postbusd.directory.administration.import_rules import (
    Decided,
    Ground,
    ImportDomain,
    RowChange,
    addresses_of,
    decide_import,
    owners_of,
)
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.values import Act, Page, Written

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_DOMAINS = (
    "SELECT name, alias_of, default_quota_octets, quota_octets FROM directory.domain WHERE name = ANY($1::text[])"
)
_CLAIMS = """
SELECT c.domain, c.local_part, c.kind
FROM directory.address_claim c JOIN unnest($1::text[], $2::text[]) AS n (domain, local_part) USING (domain, local_part)
"""
_FIND_MAILBOXES = f"""{MAILBOXES}
JOIN unnest($1::text[], $2::text[]) AS n (domain, local_part) ON m.domain = n.domain AND m.local_part = n.local_part
"""
_ALIASES = """
SELECT a.domain, a.local_part, m.local_part || '@' || m.domain AS mailbox
FROM directory.alias a JOIN directory.mailbox m USING (mailbox_id)
JOIN unnest($1::text[], $2::text[]) AS n (domain, local_part) ON a.domain = n.domain AND a.local_part = n.local_part
UNION
SELECT a.domain, a.local_part, m.local_part || '@' || m.domain
FROM directory.alias a JOIN directory.mailbox m USING (mailbox_id) WHERE m.mailbox_id = ANY($3::uuid[])
"""
_OWNERS = {
    OwnerKind.USER: """
SELECT u.user_id AS id, u.username AS name,
    ARRAY(SELECT DISTINCT m.domain FROM directory.mailbox m WHERE m.owner_user = u.user_id) AS domains
FROM directory.user_account u WHERE u.username = ANY($1::text[])
""",
    OwnerKind.GROUP: """
SELECT group_id AS id, name, ARRAY[coalesce(domain, '')] AS domains
FROM directory.user_group WHERE name = ANY($1::text[])
""",
    OwnerKind.APP: """
SELECT app_id AS id, name, '{}'::text[] AS domains FROM directory.app WHERE name = ANY($1::text[])
""",
}
_PUT_MAILBOXES = """
INSERT INTO directory.mailbox (mailbox_id, local_part, domain, active, owner_user, owner_group, owner_app, created)
SELECT n.mailbox_id, n.local_part, n.domain, n.active, n.owner_user, n.owner_group, n.owner_app,
    now() + n.number * interval '1 microsecond'
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bool[], $5::uuid[], $6::uuid[], $7::uuid[]) WITH ORDINALITY
    AS n (mailbox_id, local_part, domain, active, owner_user, owner_group, owner_app, number)
ON CONFLICT (mailbox_id) DO UPDATE SET active = excluded.active, owner_user = excluded.owner_user,
    owner_group = excluded.owner_group, owner_app = excluded.owner_app
"""
_END_ALIASES = """
DELETE FROM directory.alias a USING unnest($1::text[], $2::text[]) AS n (domain, local_part)
WHERE a.domain = n.domain AND a.local_part = n.local_part
"""
_PUT_ALIASES = """
INSERT INTO directory.alias (domain, local_part, mailbox_id)
SELECT n.domain, n.local_part, m.mailbox_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS n (domain, local_part, of_domain, of_local_part)
JOIN directory.mailbox m ON m.domain = n.of_domain AND m.local_part = n.of_local_part
ON CONFLICT (domain, local_part) DO UPDATE SET mailbox_id = excluded.mailbox_id
"""
_EXPORT = """
SELECT m.local_part || '@' || m.domain AS address, m.active, coalesce(u.username, g.name, a.name) AS owner_name,
    CASE WHEN m.owner_user IS NOT NULL THEN 'user' WHEN m.owner_group IS NOT NULL THEN 'group' ELSE 'app' END
    AS owner_kind,
    ARRAY(
        SELECT l.local_part || '@' || l.domain FROM directory.alias l WHERE l.mailbox_id = m.mailbox_id
        ORDER BY (l.local_part || '@' || l.domain) COLLATE "C") AS aliases
FROM directory.mailbox m
LEFT JOIN directory.user_account u ON u.user_id = m.owner_user
LEFT JOIN directory.user_group g ON g.group_id = m.owner_group
LEFT JOIN directory.app a ON a.app_id = m.owner_app
WHERE (m.local_part || '@' || m.domain) COLLATE "C" > $1 AND ($2::text[] IS NULL OR m.domain = ANY($2))
ORDER BY (m.local_part || '@' || m.domain) COLLATE "C" LIMIT $3
"""


class PostgresImports(PostgresWrites):
    """The ImportStore."""

    async def import_mailboxes(
        self,
        rows: Sequence[RowChange | RowResult],
        made: frozenset[MailboxId] | None,
        act: Act,
        *,
        atomic: bool = False,
    ) -> Written[Decided]:
        """Decides and writes."""
        async with self._writing(act) as write:
            ground, owner_ids = await _load_ground(write.session, rows)
            decided = await asyncio.to_thread(decide_import, rows, ground, write.standing, made)
            changed = decided.changes and not (atomic and decided.refused)
            if changed and not act.condition.plan:
                await _write(write, decided, owner_ids)
            return await write.close(decided, changed=changed, detail=decided.describe())

    async def export_mailboxes(self, domains: Domains, after: str, limit: int) -> Page[MailboxRow]:
        """Mailboxes with an address above `after`, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(_EXPORT, after, domains, limit + 1)
        return page_of(
            [
                MailboxRow(
                    address=row["address"],
                    owner=Owner(kind=OwnerKind(row["owner_kind"]), name=row["owner_name"]),
                    aliases=tuple(row["aliases"]),
                    active=row["active"],
                )
                for row in rows
            ],
            limit,
        )


async def _load_ground(
    session: "Session", rows: Sequence[RowChange | RowResult]
) -> tuple[Ground, dict[Owner, uuid.UUID]]:
    addresses = addresses_of(rows)
    named = _columns(addresses)
    mailboxes = [read_mailbox(row) for row in await session.fetch(_FIND_MAILBOXES, *named)]
    claims = await session.fetch(_CLAIMS, *named)
    aliases = await session.fetch(_ALIASES, *named, [each.mailbox_id for each in mailboxes])
    kept = {f"{row['local_part']}@{row['domain']}": row["mailbox"] for row in aliases}
    owner_ids: dict[Owner, uuid.UUID] = {}
    owners: dict[Owner, frozenset[str]] = {}
    for kind, query in _OWNERS.items():
        names = [owner.name for owner in owners_of(rows) if owner.kind is kind]
        for row in await session.fetch(query, names) if names else ():
            owner = Owner(kind=kind, name=row["name"])
            owner_ids[owner], owners[owner] = row["id"], frozenset(row["domains"])
    ground = Ground(
        domains=await _load_domains(session, {address.domain for address in addresses}),
        claims={f"{row['local_part']}@{row['domain']}": row["kind"] for row in claims} | dict.fromkeys(kept, "alias"),
        mailboxes={each.address: each for each in mailboxes},
        aliases=kept,
        owners=owners,
    )
    return ground, owner_ids


async def _load_domains(session: "Session", names: Collection[str]) -> dict[str, ImportDomain]:
    found = {}
    for row in await session.fetch(_DOMAINS, sorted(names)):
        granted = await session.fetchrow(GRANTED, row["name"]) if row["quota_octets"] is not None else None
        found[row["name"]] = ImportDomain(
            alias_of=row["alias_of"] or "",
            default_quota_octets=row["default_quota_octets"],
            quota_octets=row["quota_octets"],
            granted=granted["granted"] if granted is not None else 0,
            unlimited=granted["unlimited"] if granted is not None else 0,
        )
    return found


async def _write(write: WriteSession, decided: Decided, owner_ids: dict[Owner, uuid.UUID]) -> None:
    """Aliases that end come first: their names are free for others then."""
    if decided.ended_aliases:
        await write.session.execute(_END_ALIASES, *_columns([parse_address(each) for each in decided.ended_aliases]))
    if decided.mailboxes:
        addresses = [parse_address(each.address) for each in decided.mailboxes]
        await write.session.execute(
            _PUT_MAILBOXES,
            [each.mailbox_id for each in decided.mailboxes],
            [each.local_part for each in addresses],
            [each.domain for each in addresses],
            [each.active for each in decided.mailboxes],
            *([_owner_id(each, kind, owner_ids) for each in decided.mailboxes] for kind in _OWNERS),
        )
    if decided.aliases:
        await write.session.execute(
            _PUT_ALIASES,
            *_columns([parse_address(each) for each in decided.aliases]),
            *_columns([parse_address(each) for each in decided.aliases.values()]),
        )


def _owner_id(mailbox: Mailbox, kind: OwnerKind, owner_ids: dict[Owner, uuid.UUID]) -> uuid.UUID | None:
    owner = mailbox.owner
    return owner_ids[owner] if owner is not None and owner.kind is kind else None


def _columns(addresses: Sequence[Address]) -> tuple[list[str], list[str]]:
    return [each.domain for each in addresses], [each.local_part for each in addresses]
