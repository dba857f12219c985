"""Aliases and lists in schema `directory`, as administrators see them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.directory import Alias, Group
from postbus.contracts.mailing_lists import MailingList
from postbus.core.address import Address
from postbusd.directory.adapters.postgres_write_base import PostgresWrites, list_query, page_of
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import conflict, no_such
from postbusd.directory.administration.rules import MAX_ALIASES, decide_members
from postbusd.directory.administration.scope import check_list_groups
from postbusd.directory.administration.values import Act, Deleted, ListChange, Page, PageWanted, Written

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_ALIASES = """
SELECT a.local_part, a.domain, m.local_part || '@' || m.domain AS mailbox
FROM directory.alias a JOIN directory.mailbox m USING (mailbox_id)
"""
_LIST_ALIASES = f"""{_ALIASES}
WHERE (a.local_part || '@' || a.domain) COLLATE "C" > $1 AND ($2::text[] IS NULL OR a.domain = ANY($2))
    AND ($4::text = '' OR strpos(a.local_part || '@' || a.domain, $4) > 0)
ORDER BY (a.local_part || '@' || a.domain) COLLATE "C" LIMIT $3
"""
_PUT_ALIAS = """
INSERT INTO directory.alias (local_part, domain, mailbox_id) VALUES ($1, $2, $3)
ON CONFLICT (domain, local_part) DO UPDATE SET mailbox_id = excluded.mailbox_id
"""
_LISTS = """
SELECT l.list_id, l.local_part, l.domain, l.active, l.members_only,
    (SELECT count(*) FROM directory.list_member e WHERE e.list_id = l.list_id) AS members
FROM directory.mailing_list l
"""
_LIST_LISTS = f"""{_LISTS}
WHERE (l.local_part || '@' || l.domain) COLLATE "C" > $1 AND ($2::text[] IS NULL OR l.domain = ANY($2))
    AND ($4::text = '' OR strpos(l.local_part || '@' || l.domain, $4) > 0)
ORDER BY (l.local_part || '@' || l.domain) COLLATE "C" LIMIT $3
"""
_MEMBERS = """
SELECT list_id, local_part, domain FROM directory.list_member WHERE list_id = ANY($1::uuid[])
ORDER BY domain COLLATE "C", local_part COLLATE "C"
"""
_GROUPS = """
SELECT name, coalesce(local_part || '@' || domain, '') AS address FROM directory.user_group
WHERE name = ANY($1::text[]) FOR SHARE
"""
_GROUPS_OF = """
SELECT h.list_id, g.name FROM directory.list_group h JOIN directory.user_group g USING (group_id)
WHERE h.list_id = ANY($1::uuid[]) ORDER BY g.name COLLATE "C"
"""
_PUT_GROUPS = """
INSERT INTO directory.list_group (list_id, group_id)
SELECT $1, group_id FROM directory.user_group WHERE name = ANY($2::text[])
"""
_PUT_LIST = """
INSERT INTO directory.mailing_list (list_id, local_part, domain, active, members_only)
VALUES (gen_random_uuid(), $1, $2, $3, $4)
ON CONFLICT (domain, local_part) DO UPDATE SET active = excluded.active, members_only = excluded.members_only
RETURNING list_id
"""
_PUT_MEMBERS = """
INSERT INTO directory.list_member (list_id, local_part, domain) SELECT $1, * FROM unnest($2::text[], $3::text[])
"""


class PostgresAliases(PostgresWrites):
    """The AliasStore."""

    async def put_alias(self, address: Address, mailbox: Address, act: Act) -> Written[Alias]:
        """Creates or replaces an alias."""
        now = Alias(address=str(address), mailbox=str(mailbox))
        async with self._writing(act) as write:
            before = await _load_alias(write.session, address)
            write.require_match(before)
            if before is None:
                await write.require_free(address)
            target = await write.load_mailbox(mailbox)
            if target is None:
                raise no_such("mailbox", "mailbox", mailbox)
            if before != now:
                count = await write.session.fetchval(
                    "SELECT count(*) FROM directory.alias WHERE mailbox_id = $1", target.mailbox_id
                )
                if count >= MAX_ALIASES:
                    raise conflict("mailbox", f"it has {MAX_ALIASES} aliases, which is the most")
                await write.session.execute(_PUT_ALIAS, address.local_part, address.domain, target.mailbox_id)
            return await write.close(now, changed=before != now, created=before is None)

    async def get_alias(self, address: Address) -> Alias:
        """One alias."""
        async with self._connection() as session:
            return await _get_alias(session, address)

    async def list_aliases(self, domains: Domains, wanted: PageWanted) -> Page[Alias]:
        """Aliases by address, as wanted, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(*list_query(_LIST_ALIASES, domains, wanted))
        return page_of([_alias(row) for row in rows], wanted.limit)

    async def delete_alias(self, address: Address, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes an alias."""
        async with self._writing(act) as write:
            write.require_match(await _get_alias(write.session, address))
            if not dry_run:
                await write.session.execute(
                    "DELETE FROM directory.alias WHERE domain = $1 AND local_part = $2",
                    address.domain,
                    address.local_part,
                )
            return await write.close_deletion([f"alias {address}"], dry_run=dry_run)


class PostgresLists(PostgresWrites):
    """The ListStore."""

    async def put_list(self, change: ListChange, act: Act) -> Written[MailingList]:
        """Creates or replaces a list; members at our domains are folded, all are put in order, each once."""
        async with self._writing(act) as write:
            row = await _load_list(write.session, change.address)
            before = (await _with_members(write.session, [row]))[0] if row is not None else None
            write.require_match(before)
            if before is None:
                await write.require_free(change.address, of_list=True)
            rows = await write.session.fetch(
                "SELECT name FROM directory.domain WHERE name = ANY($1::text[])",
                list({member.domain for member in change.members}),
            )
            members = decide_members(change, {each["name"] for each in rows})
            groups = await _load_groups(write.session, change.groups)
            check_list_groups(write.standing, before.groups if before is not None else (), groups)
            now = _list(change.address, change.active, change.members_only, (members, change.groups))
            if before != now:
                await _write_list(write.session, change, members)
            return await write.close(now, changed=before != now, created=before is None)

    async def get_list(self, address: Address) -> MailingList:
        """One list."""
        async with self._connection() as session:
            return (await _with_members(session, [await _get_list(session, address)]))[0]

    async def list_lists(self, domains: Domains, wanted: PageWanted) -> Page[MailingList]:
        """Lists by address, as wanted, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(*list_query(_LIST_LISTS, domains, wanted))
            page = page_of(rows, wanted.limit, lambda row: row["members"])
            return Page(objects=tuple(await _with_members(session, page.objects)), more=page.more)

    async def delete_list(self, address: Address, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a list."""
        async with self._writing(act) as write:
            row = await _get_list(write.session, address)
            write.require_match((await _with_members(write.session, [row]))[0])
            if not dry_run:
                await write.session.execute("DELETE FROM directory.mailing_list WHERE list_id = $1", row["list_id"])
            return await write.close_deletion([f"list {address}"], dry_run=dry_run)


async def _load_alias(session: "Session", address: Address) -> Alias | None:
    row = await session.fetchrow(
        f"{_ALIASES} WHERE a.domain = $1 AND a.local_part = $2", address.domain, address.local_part
    )
    return _alias(row) if row is not None else None


async def _get_alias(session: "Session", address: Address) -> Alias:
    alias = await _load_alias(session, address)
    if alias is None:
        raise no_such("name", "alias", address)
    return alias


async def _load_list(session: "Session", address: Address) -> asyncpg.Record | None:
    return await session.fetchrow(
        f"{_LISTS} WHERE l.domain = $1 AND l.local_part = $2", address.domain, address.local_part
    )


async def _get_list(session: "Session", address: Address) -> asyncpg.Record:
    row = await _load_list(session, address)
    if row is None:
        raise no_such("name", "list", address)
    return row


async def _write_list(session: "Session", change: ListChange, members: Sequence[Address]) -> None:
    list_id = await session.fetchval(
        _PUT_LIST, change.address.local_part, change.address.domain, change.active, change.members_only
    )
    await session.execute("DELETE FROM directory.list_member WHERE list_id = $1", list_id)
    await session.execute(
        _PUT_MEMBERS, list_id, [each.local_part for each in members], [each.domain for each in members]
    )
    await session.execute("DELETE FROM directory.list_group WHERE list_id = $1", list_id)
    await session.execute(_PUT_GROUPS, list_id, list(change.groups))


async def _load_groups(session: "Session", names: Sequence[str]) -> list[Group]:
    """Without their members. Raises MailError: NOT_FOUND."""
    rows = await session.fetch(_GROUPS, list(names))
    found = {row["name"]: Group(name=row["name"], address=row["address"]) for row in rows}
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise no_such("groups", "group", missing)
    return [found[name] for name in names]


async def _with_members(session: "Session", rows: Sequence[asyncpg.Record]) -> list[MailingList]:
    members: dict[object, list[Address]] = {row["list_id"]: [] for row in rows}
    for row in await session.fetch(_MEMBERS, list(members)):
        members[row["list_id"]].append(Address(local_part=row["local_part"], domain=row["domain"]))
    groups: dict[object, list[str]] = {row["list_id"]: [] for row in rows}
    for row in await session.fetch(_GROUPS_OF, list(groups)):
        groups[row["list_id"]].append(row["name"])
    return [
        _list(
            Address(local_part=row["local_part"], domain=row["domain"]),
            row["active"],
            row["members_only"],
            (members[row["list_id"]], groups[row["list_id"]]),
        )
        for row in rows
    ]


def _list(
    address: Address, active: bool, members_only: bool, receivers: tuple[Sequence[Address], Sequence[str]]
) -> MailingList:
    """`receivers`: addresses and groups."""
    members, groups = receivers
    return MailingList(
        address=str(address),
        members=tuple(map(str, members)),
        active=active,
        members_only=members_only,
        groups=tuple(groups),
    )


def _alias(row: asyncpg.Record) -> Alias:
    return Alias(address=f"{row['local_part']}@{row['domain']}", mailbox=row["mailbox"])
