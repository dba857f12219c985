"""Reads of schema `directory`: what Resolve, Authenticate and FindRoute ask.

Every statement that answers a batch also reads the revision, in one snapshot.
"""

from collections.abc import Sequence

import asyncpg
import msgspec

from postbus.contracts.app_passwords import Access
from postbus.contracts.owners import OwnerKind
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.ids import MailboxId
from postbusd.directory.adapters.postgres_session import PostgresSessions
from postbusd.directory.ports import MAX_CANDIDATES
from postbusd.directory.values import (
    Credential,
    DomainFacts,
    Found,
    Key,
    ListFacts,
    Login,
    MailboxFacts,
    Member,
    Opening,
    StoredRoute,
)

_COLUMNS = """m.mailbox_id, m.local_part, m.domain, m.active AND NOT o.suspended AS active,
        nullif(coalesce(m.quota_octets, o.default_quota_octets), 0) AS quota_octets"""
_DOMAIN = "JOIN directory.domain o ON o.name = m.domain"
"""Of a mailbox m."""
_FIND = f"""
SELECT (SELECT revision FROM directory.revision) AS revision, w.position, t.name, d.incoming, t.masquerading,
    d.suspended OR t.suspended AS suspended, t.max_message_octets, f.*
FROM unnest((SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::text[]))
    WITH ORDINALITY AS w(local_part, domain, kind, position)
LEFT JOIN directory.domain d ON d.name = coalesce(
    nullif(w.domain, ''), (SELECT name FROM directory.domain WHERE incoming ORDER BY created, name LIMIT 1))
LEFT JOIN directory.domain t ON t.name = coalesce(d.alias_of, d.name)
LEFT JOIN LATERAL (
    SELECT 'mailbox' AS step, {_COLUMNS}, '' AS rank,
        false AS members_only, NULL::text[] AS local_parts, NULL::text[] AS domains, NULL::boolean[] AS ours
    FROM directory.mailbox m {_DOMAIN}
    WHERE w.kind IN ('name', 'base') AND m.domain = t.name AND m.local_part = w.local_part
    UNION ALL
    SELECT 'mailbox', {_COLUMNS}, '', false, NULL, NULL, NULL
    FROM directory.mailbox m {_DOMAIN}
    WHERE (w.kind = 'system' OR w.kind = 'bounces' AND EXISTS (
        SELECT FROM directory.mailing_list l WHERE l.domain = t.name AND l.local_part = w.local_part))
        AND m.mailbox_id = coalesce(
            (SELECT b.mailbox_id FROM directory.user_account u
             JOIN directory.mailbox b ON b.owner_user = u.user_id AND b.active
             JOIN directory.domain p ON p.name = b.domain AND NOT p.suspended
             WHERE u.superadmin AND u.active ORDER BY u.created, u.user_id, b.created, b.mailbox_id LIMIT 1),
            (SELECT b.mailbox_id FROM directory.mailbox b
             WHERE b.domain = t.name AND b.active AND NOT t.suspended ORDER BY b.created, b.mailbox_id LIMIT 1))
    UNION ALL
    SELECT 'alias', {_COLUMNS}, '', false, NULL, NULL, NULL
    FROM directory.alias a JOIN directory.mailbox m USING (mailbox_id) {_DOMAIN}
    WHERE w.kind IN ('name', 'base') AND a.domain = t.name AND a.local_part = w.local_part AND NOT a.wildcard
    UNION ALL
    SELECT 'wildcard', {_COLUMNS}, '', false, NULL, NULL, NULL
    FROM (
        SELECT a.mailbox_id FROM directory.alias a
        WHERE w.kind = 'name' AND a.domain = t.name AND a.wildcard AND w.local_part LIKE a.like_pattern
            AND a.anchor = ANY (ARRAY(
                SELECT '<' || left(w.local_part, n) FROM generate_series(0, length(w.local_part)) n
                UNION ALL
                SELECT '>' || right(w.local_part, n) FROM generate_series(1, length(w.local_part)) n))
        ORDER BY a.literal_characters DESC, length(a.local_part), a.local_part COLLATE "C" LIMIT 1
    ) best JOIN directory.mailbox m USING (mailbox_id) {_DOMAIN}
    UNION ALL
    SELECT 'group', m.mailbox_id, m.local_part, m.domain, m.active, m.quota_octets, u.username, false, NULL, NULL, NULL
    FROM directory.user_group g
    LEFT JOIN directory.group_member e USING (group_id)
    LEFT JOIN directory.user_account u ON u.user_id = e.user_id AND u.active
    LEFT JOIN LATERAL (
        SELECT {_COLUMNS} FROM directory.mailbox m {_DOMAIN}
        WHERE m.owner_user = u.user_id AND m.active AND NOT o.suspended ORDER BY m.created, m.mailbox_id LIMIT 1
    ) m ON true
    WHERE w.kind = 'name' AND g.domain = t.name AND g.local_part = w.local_part
    UNION ALL
    SELECT 'list', NULL, l.local_part, l.domain, l.active, NULL, '', l.members_only, e.local_parts, e.domains, e.ours
    FROM directory.mailing_list l
    LEFT JOIN LATERAL (
        SELECT array_agg(x.local_part ORDER BY x.domain COLLATE "C", x.local_part COLLATE "C") AS local_parts,
            array_agg(x.domain ORDER BY x.domain COLLATE "C", x.local_part COLLATE "C") AS domains,
            array_agg(coalesce(o.incoming, false) ORDER BY x.domain COLLATE "C", x.local_part COLLATE "C") AS ours
        FROM directory.list_member x LEFT JOIN directory.domain o ON o.name = x.domain WHERE x.list_id = l.list_id
    ) e ON true
    WHERE w.kind = 'name' AND l.domain = t.name AND l.local_part = w.local_part
    UNION ALL
    SELECT 'list_group', m.mailbox_id, m.local_part, m.domain, m.active, m.quota_octets, u.username, false,
        NULL, NULL, NULL
    FROM directory.mailing_list l
    JOIN directory.list_group h USING (list_id)
    JOIN directory.group_member e USING (group_id)
    JOIN directory.user_account u ON u.user_id = e.user_id AND u.active
    JOIN LATERAL (
        SELECT {_COLUMNS} FROM directory.mailbox m {_DOMAIN}
        WHERE m.owner_user = u.user_id AND m.active AND NOT o.suspended ORDER BY m.created, m.mailbox_id LIMIT 1
    ) m ON true
    WHERE w.kind = 'name' AND l.domain = t.name AND l.local_part = w.local_part
    UNION ALL
    SELECT 'catch_all', {_COLUMNS}, m.local_part || '@' || m.domain, false, NULL, NULL, NULL
    FROM directory.catch_all c JOIN directory.mailbox m USING (mailbox_id) {_DOMAIN}
    WHERE w.kind <> 'base' AND c.domain = t.name AND m.active AND NOT o.suspended
    UNION ALL
    SELECT 'sender', s.mailbox_id, s.local_part, s.domain, true, NULL, s.mailbox_id::text, false, NULL, NULL, NULL
    FROM directory.send_as s
    WHERE w.kind = 'name' AND s.domain = t.name AND s.local_part = w.local_part
) f ON true
"""  # noqa: S608  our own text
"""The arrays stand in sub-selects so that no plan depends on their length: Postgres then keeps one plan, and planning
would cost more than the query."""
_LOAD_LOGIN = f"""
SELECT r.revision, {_COLUMNS}, m.pop3,
    CASE WHEN m.owner_user IS NOT NULL THEN 'user' WHEN m.owner_group IS NOT NULL THEN 'group' ELSE 'app' END AS owner,
    c.name, c.secret_hash, c.active AS owner_active, c.app_password, c.scopes, c.expires_ms, c.second_factor
FROM directory.revision r CROSS JOIN directory.mailbox m {_DOMAIN}
LEFT JOIN LATERAL (
    SELECT u.username AS name, k.secret_hash, u.active, 0 AS rank,
        '' AS app_password, NULL::text[] AS scopes, NULL::bigint AS expires_ms, EXISTS (
            SELECT FROM directory.second_factor s WHERE s.user_id = u.user_id AND s.confirmed IS NOT NULL
        ) AS second_factor
    FROM directory.user_account u JOIN directory.credential k ON k.user_id = u.user_id AND k.kind = 'password'
    WHERE u.user_id = m.owner_user
    UNION ALL
    (SELECT u.username, k.secret_hash, u.active,
        row_number() OVER (ORDER BY u.active DESC, k.tag IS NULL, u.username COLLATE "C"), '', NULL, NULL, EXISTS (
            SELECT FROM directory.second_factor s WHERE s.user_id = u.user_id AND s.confirmed IS NOT NULL)
     FROM directory.group_member g JOIN directory.user_account u USING (user_id)
     JOIN directory.credential k ON k.user_id = u.user_id AND k.kind = 'password'
     WHERE g.group_id = m.owner_group AND (k.tag IS NULL OR k.tag = $3)
     ORDER BY 4 LIMIT $4)
    UNION ALL
    SELECT u.username, p.secret_index, u.active, 0, p.name, p.scopes,
        floor(extract(epoch FROM p.expires) * 1000)::bigint, false
    FROM directory.app_password p JOIN directory.user_account u USING (user_id)
    WHERE p.secret_index = $5 AND (u.user_id = m.owner_user OR EXISTS (
        SELECT FROM directory.group_member g WHERE g.group_id = m.owner_group AND g.user_id = u.user_id))
    UNION ALL
    SELECT a.name, k.secret_hash, a.active, 0, '', NULL, NULL, false
    FROM directory.app a JOIN directory.credential k ON k.app_id = a.app_id AND k.kind = 'generated'
    WHERE a.app_id = m.owner_app
) c ON true
WHERE m.domain = $1 AND m.local_part = $2
ORDER BY c.rank
"""  # noqa: S608  our own text
_LOAD_OPENINGS = """
SELECT (SELECT revision FROM directory.revision) AS revision, m.mailbox_id,
    nullif(coalesce(m.quota_octets, m.default_quota_octets), 0) AS quota_octets, c.digests
FROM unnest((SELECT $1::uuid[]), (SELECT $2::text[])) WITH ORDINALITY AS w(mailbox_id, member, position)
LEFT JOIN LATERAL (
    SELECT b.*, o.default_quota_octets FROM directory.mailbox b JOIN directory.domain o ON o.name = b.domain
    WHERE b.mailbox_id = w.mailbox_id AND b.active AND NOT o.suspended
) m ON true
LEFT JOIN LATERAL (
    SELECT array_agg(d) AS digests FROM (
        SELECT unnest(array_remove(ARRAY[encode(sha256(k.secret_hash::bytea), 'hex'), k.former_digest], NULL))
        FROM directory.user_account u JOIN directory.credential k ON k.user_id = u.user_id AND k.kind = 'password'
        WHERE u.username = w.member AND u.active AND (u.user_id = m.owner_user OR EXISTS (
            SELECT FROM directory.group_member g WHERE g.group_id = m.owner_group AND g.user_id = u.user_id))
            AND NOT EXISTS (
                SELECT FROM directory.second_factor s WHERE s.user_id = u.user_id AND s.confirmed IS NOT NULL)
        UNION ALL
        SELECT encode(sha256(p.secret_index::bytea), 'hex')
        FROM directory.user_account u JOIN directory.app_password p USING (user_id)
        WHERE u.username = w.member AND u.active AND (p.expires IS NULL OR p.expires > now())
            AND (u.user_id = m.owner_user OR EXISTS (
                SELECT FROM directory.group_member g WHERE g.group_id = m.owner_group AND g.user_id = u.user_id))
        UNION ALL
        SELECT encode(sha256(k.secret_hash::bytea), 'hex')
        FROM directory.app a JOIN directory.credential k ON k.app_id = a.app_id AND k.kind = 'generated'
        WHERE w.member = '' AND a.app_id = m.owner_app AND a.active
        UNION ALL
        SELECT encode(sha256(('identity provider ' || p.issuer)::bytea), 'hex')
        FROM directory.user_account u CROSS JOIN directory.identity_provider p
        WHERE u.username = w.member AND u.active AND (u.user_id = m.owner_user OR EXISTS (
            SELECT FROM directory.group_member g WHERE g.group_id = m.owner_group AND g.user_id = u.user_id))
    ) AS s(d)
) c ON true
ORDER BY w.position
"""
_LOAD_OPENER = f"""
SELECT r.revision, {_COLUMNS}, m.pop3, u.active AS owner_active
FROM directory.revision r CROSS JOIN directory.user_account u
JOIN directory.mailbox m ON m.owner_user = u.user_id OR m.owner_group IN (
    SELECT g.group_id FROM directory.group_member g WHERE g.user_id = u.user_id)
{_DOMAIN}
WHERE u.username = $1 AND ($2 = '' AND m.owner_user = u.user_id OR m.local_part = $2 AND m.domain = $3)
ORDER BY m.created, m.mailbox_id LIMIT 1
"""  # noqa: S608  our own text
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
                [key.kind.value for key in keys],
            )
        by_position: dict[int, list[asyncpg.Record]] = {}
        for row in rows:
            by_position.setdefault(row["position"], []).append(row)
        return rows[0]["revision"] if rows else 0, {
            keys[position - 1]: _found(of_key) for position, of_key in by_position.items()
        }

    async def load_login(self, local_part: str, domain: str, tag: int, index: str = "") -> Login | None:
        """A mailbox with what opens it, by its folded name."""
        async with self._connection() as session:
            rows = await session.fetch(_LOAD_LOGIN, domain, local_part, tag, MAX_CANDIDATES, index)
        if not rows:
            return None
        return Login(
            mailbox=msgspec.structs.replace(_mailbox(rows[0]), pop3=rows[0]["pop3"]),
            owner_kind=OwnerKind(rows[0]["owner"]),
            credentials=tuple(
                Credential(
                    name=row["name"],
                    secret_hash=row["secret_hash"],
                    active=row["owner_active"],
                    app_password=row["app_password"],
                    scopes=tuple(Access(each) for each in row["scopes"]) if row["scopes"] is not None else None,
                    expires_ms=row["expires_ms"],
                    second_factor=row["second_factor"],
                )
                for row in rows
                if row["name"] is not None
            ),
            revision=rows[0]["revision"],
        )

    async def load_openings(self, wanted: Sequence[tuple[MailboxId, str]]) -> tuple[int, list[Opening | None]]:
        """Revision and, for each mailbox with the name of who opened it, what opens it now."""
        mailbox_ids, members = [each[0] for each in wanted], [each[1] for each in wanted]
        async with self._connection() as session:
            rows = await session.fetch(_LOAD_OPENINGS, mailbox_ids, members)
        return rows[0]["revision"] if rows else 0, [
            Opening(digests=tuple(row["digests"]), quota_octets=row["quota_octets"])
            if row["mailbox_id"] is not None and row["digests"]
            else None
            for row in rows
        ]

    async def load_opener(self, username: str, local_part: str, domain: str) -> tuple[int, MailboxFacts, bool] | None:
        """The mailbox of this name, where the user may open it."""
        async with self._connection() as session:
            row = await session.fetchrow(_LOAD_OPENER, username, local_part, domain)
        if row is None:
            return None
        mailbox = msgspec.structs.replace(_mailbox(row), pop3=row["pop3"])
        return row["revision"], mailbox, row["owner_active"]

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


def _found(rows: Sequence[asyncpg.Record]) -> Found:
    """All rows of one key; without an answer there is still one that names the domain."""
    if rows[0]["name"] is None:
        return Found()
    by_step: dict[str | None, list[asyncpg.Record]] = {}
    for row in sorted(rows, key=lambda row: row["rank"] or ""):
        by_step.setdefault(row["step"], []).append(row)
    groups = by_step.get("group")
    lists = by_step.get("list")
    return Found(
        domain=DomainFacts(
            name=rows[0]["name"],
            incoming=rows[0]["incoming"],
            masquerading=rows[0]["masquerading"],
            suspended=rows[0]["suspended"],
            max_message_octets=rows[0]["max_message_octets"],
        ),
        mailbox=_only(by_step.get("mailbox")),
        alias=_only(by_step.get("alias")),
        wildcard=_only(by_step.get("wildcard")),
        group=tuple(_mailbox(row) for row in groups if row["mailbox_id"] is not None) if groups else None,
        list=_list(lists[0], by_step.get("list_group", ())) if lists else None,
        catch_all=tuple(_mailbox(row) for row in by_step.get("catch_all", ())),
        senders=tuple(MailboxId(str(row["mailbox_id"])) for row in by_step.get("sender", ())),
    )


def _only(rows: Sequence[asyncpg.Record] | None) -> MailboxFacts | None:
    return _mailbox(rows[0]) if rows else None


def _list(row: asyncpg.Record, of_groups: Sequence[asyncpg.Record]) -> ListFacts:
    members = zip(row["local_parts"] or (), row["domains"] or (), row["ours"] or (), strict=True)
    return ListFacts(
        local_part=row["local_part"],
        domain=row["domain"],
        active=row["active"],
        members_only=row["members_only"],
        members=tuple(Member(local_part=name, domain=domain, ours=ours) for name, domain, ours in members),
        mailboxes=tuple(dict.fromkeys(_mailbox(each) for each in of_groups)),
    )


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
