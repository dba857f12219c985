"""Users and groups in schema `directory`, as administrators see them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.directory import Group, User
from postbus.core.address import Address
from postbusd.directory.adapters.postgres_standing import (
    USERS,
    domains_of_group,
    find_user,
    opened_domains,
    read_user,
)
from postbusd.directory.adapters.postgres_write_base import PostgresWrites, WriteSession, list_query, page_of
from postbusd.directory.adapters.postgres_write_passwords import put_password
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import MAX_NAMED, conflict, no_such, owns
from postbusd.directory.administration.scope import check_group_change, check_user_change
from postbusd.directory.administration.values import Act, Deleted, Page, PageWanted, UserChange, Written
from postbusd.directory.values import StoredPassword

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_FIND_STORED = """
SELECT c.secret_hash, c.tag FROM directory.credential c JOIN directory.user_account u USING (user_id)
WHERE u.username = $1 AND c.kind = 'password'
"""
_LIST_USERS = f"""{USERS}
WHERE u.username COLLATE "C" > $1
    AND ($2::text[] IS NULL OR strpos(u.username, '@') > 0 AND split_part(u.username, '@', 2) = ANY($2)
        OR EXISTS (SELECT FROM directory.mailbox m WHERE m.owner_user = u.user_id AND m.domain = ANY($2)))
    AND ($4::text = '' OR strpos(u.username, $4) > 0 OR strpos(lower(u.display_name), $4) > 0)
ORDER BY u.username COLLATE "C" LIMIT $3
"""
_PUT_USER = """
INSERT INTO directory.user_account (user_id, username, display_name, active, superadmin, recovery_address)
VALUES (gen_random_uuid(), $1, $2, $3, $4, $5)
ON CONFLICT (username) DO UPDATE SET display_name = excluded.display_name, active = excluded.active,
    superadmin = excluded.superadmin, recovery_address = excluded.recovery_address
RETURNING user_id
"""
_PUT_ADMIN_OF = "INSERT INTO directory.domain_admin (user_id, domain) SELECT $1, unnest($2::text[])"
_USER_ID = "SELECT user_id FROM directory.user_account WHERE username = $1"
_MEMBERSHIPS = """
SELECT g.name FROM directory.group_member b JOIN directory.user_group g USING (group_id) WHERE b.user_id = $1
ORDER BY g.name COLLATE "C"
"""
_GROUPS = """
SELECT g.group_id, g.name, g.local_part, g.domain,
    (SELECT count(*) FROM directory.group_member b WHERE b.group_id = g.group_id) AS members
FROM directory.user_group g
"""
_LIST_GROUPS = f"""{_GROUPS}
WHERE g.name COLLATE "C" > $1 AND ($2::text[] IS NULL OR g.domain = ANY($2))
    AND ($4::text = '' OR strpos(g.name, $4) > 0)
ORDER BY g.name COLLATE "C" LIMIT $3
"""
_MEMBERS = """
SELECT b.group_id, u.username FROM directory.group_member b JOIN directory.user_account u USING (user_id)
WHERE b.group_id = ANY($1::uuid[]) ORDER BY u.username COLLATE "C"
"""
_PUT_GROUP = """
INSERT INTO directory.user_group (group_id, name, local_part, domain) VALUES (gen_random_uuid(), $1, $2, $3)
ON CONFLICT (name) DO UPDATE SET local_part = excluded.local_part, domain = excluded.domain
RETURNING group_id
"""
_PUT_MEMBERS = """
INSERT INTO directory.group_member (group_id, user_id)
SELECT $1, user_id FROM directory.user_account WHERE username = ANY($2::text[])
"""
_LISTS_OF_GROUP = """
SELECT l.local_part || '@' || l.domain AS address
FROM directory.list_group h JOIN directory.mailing_list l USING (list_id)
WHERE h.group_id = $1 ORDER BY (l.local_part || '@' || l.domain) COLLATE "C"
"""
_OWNED = """
SELECT local_part || '@' || domain AS address, count(*) OVER () AS total FROM directory.mailbox
WHERE owner_user = $1 OR owner_group = $1 ORDER BY (local_part || '@' || domain) COLLATE "C" LIMIT $2
"""


class PostgresUsers(PostgresWrites):
    """The UserStore."""

    async def load_password(self, username: str) -> StoredPassword | None:
        """None: there is no such user, or he has no password."""
        async with self._connection() as session:
            row = await session.fetchrow(_FIND_STORED, username)
        return StoredPassword(secret_hash=row["secret_hash"], tag=row["tag"]) if row is not None else None

    async def put_user(self, change: UserChange, act: Act) -> Written[User]:
        """Creates or replaces a user."""
        user = change.user
        async with self._writing(act) as write:
            before = await find_user(write.session, user.username)
            write.require_match(before)
            check_user_change(write.standing, before, user, await opened_domains(write.session, user.username))
            changed = before != user
            if changed:
                await _write_user(write, user)
            if change.password is not None:
                changed |= await put_password(write.session, user.username, change.password)
            return await write.close(user, changed=changed, created=before is None)

    async def change_password(self, username: str, before: str, password: StoredPassword, act: Act) -> Written[User]:
        """Where it still has the hash `before`."""
        async with self._writing(act) as write:
            user = await _get_user(write.session, username)
            row = await write.session.fetchrow(_FIND_STORED, username)
            if row is None or row["secret_hash"] != before:
                raise conflict("current_password", "the password was changed meanwhile")
            changed = await put_password(write.session, username, password)
            return await write.close(user, changed=changed)

    async def get_user(self, username: str) -> User:
        """One user."""
        async with self._connection() as session:
            return await _get_user(session, username)

    async def list_users(self, domains: Domains, wanted: PageWanted) -> Page[User]:
        """Users by name, as wanted, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(*list_query(_LIST_USERS, domains, wanted))
        return page_of([read_user(row) for row in rows], wanted.limit)

    async def delete_user(self, username: str, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a user who owns no mailbox, with his memberships."""
        async with self._writing(act) as write:
            user = await _get_user(write.session, username)
            write.require_match(user)
            check_user_change(write.standing, user, user, await opened_domains(write.session, username))
            user_id = await write.session.fetchval(_USER_ID, username)
            await _require_idle(write, username, user_id)
            groups = [row["name"] for row in await write.session.fetch(_MEMBERSHIPS, user_id)]
            if not dry_run:
                await write.session.execute("DELETE FROM directory.user_account WHERE user_id = $1", user_id)
            lines = [f"user {username}", *(f"membership in group {name}" for name in groups)]
            return await write.close_deletion(lines, dry_run=dry_run)


class PostgresGroups(PostgresWrites):
    """The GroupStore."""

    async def put_group(self, group: Group, act: Act) -> Written[Group]:
        """Creates or replaces a group; its members are in order."""
        async with self._writing(act) as write:
            row = await write.session.fetchrow(f"{_GROUPS} WHERE g.name = $1", group.name)
            before = (await _with_members(write.session, [row]))[0] if row is not None else None
            write.require_match(before)
            check_group_change(write.standing, before, group, await domains_of_group(write.session, group.name))
            address = _split(group.address)
            if address is not None and (before is None or before.address != group.address):
                await write.require_free(address)
            await _require_users(write, group.members)
            if before != group:
                await _write_group(write.session, group, address)
            return await write.close(group, changed=before != group, created=before is None)

    async def get_group(self, name: str) -> Group:
        """One group."""
        async with self._connection() as session:
            return (await _with_members(session, [await _find_group(session, name)]))[0]

    async def list_groups(self, domains: Domains, wanted: PageWanted) -> Page[Group]:
        """Groups by name, as wanted, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(*list_query(_LIST_GROUPS, domains, wanted))
            page = page_of(rows, wanted.limit, lambda row: row["members"])
            return Page(objects=tuple(await _with_members(session, page.objects)), more=page.more)

    async def delete_group(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a group that owns no mailbox."""
        async with self._writing(act) as write:
            row = await _find_group(write.session, name)
            group = (await _with_members(write.session, [row]))[0]
            write.require_match(group)
            check_group_change(write.standing, group, group, await domains_of_group(write.session, name))
            await _require_idle(write, name, row["group_id"])
            lists = await write.session.fetch(_LISTS_OF_GROUP, row["group_id"])
            if not dry_run:
                await write.session.execute("DELETE FROM directory.user_group WHERE group_id = $1", row["group_id"])
            lines = [f"group {name}"] + ([f"its address {row['local_part']}@{row['domain']}"] if row["domain"] else [])
            lines += [f"place in list {each['address']}" for each in lists]
            return await write.close_deletion(lines, dry_run=dry_run)


async def _get_user(session: "Session", username: str) -> User:
    user = await find_user(session, username)
    if user is None:
        raise no_such("name", "user", username)
    return user


async def _write_user(write: WriteSession, user: User) -> None:
    for domain in user.admin_of:
        await write.require_domain("admin_of", domain)
    user_id = await write.session.fetchval(
        _PUT_USER, user.username, user.display_name, user.active, user.superadmin, user.recovery_address
    )
    await write.session.execute("DELETE FROM directory.domain_admin WHERE user_id = $1", user_id)
    await write.session.execute(_PUT_ADMIN_OF, user_id, user.admin_of)


async def _find_group(session: "Session", name: str) -> asyncpg.Record:
    row = await session.fetchrow(f"{_GROUPS} WHERE g.name = $1", name)
    if row is None:
        raise no_such("name", "group", name)
    return row


async def _require_users(write: WriteSession, usernames: Sequence[str]) -> None:
    rows = await write.session.fetch(f"{USERS} WHERE u.username = ANY($1::text[])", usernames)
    missing = sorted(set(usernames) - {row["username"] for row in rows})
    if missing:
        raise no_such("members", "user", missing[0])


async def _require_idle(write: WriteSession, name: str, owner_id: object) -> None:
    """Raises MailError: CONFLICT while it owns a mailbox."""
    owned = await write.session.fetch(_OWNED, owner_id, MAX_NAMED)
    if owned:
        raise owns(name, [row["address"] for row in owned], owned[0]["total"])


async def _write_group(session: "Session", group: Group, address: Address | None) -> None:
    group_id = await session.fetchval(
        _PUT_GROUP,
        group.name,
        address.local_part if address is not None else None,
        address.domain if address is not None else None,
    )
    await session.execute("DELETE FROM directory.group_member WHERE group_id = $1", group_id)
    await session.execute(_PUT_MEMBERS, group_id, group.members)


async def _with_members(session: "Session", rows: Sequence[asyncpg.Record]) -> list[Group]:
    members: dict[object, list[str]] = {row["group_id"]: [] for row in rows}
    for row in await session.fetch(_MEMBERS, list(members)):
        members[row["group_id"]].append(row["username"])
    return [
        Group(
            name=row["name"],
            members=tuple(members[row["group_id"]]),
            address=f"{row['local_part']}@{row['domain']}" if row["domain"] else "",
        )
        for row in rows
    ]


def _split(address: str) -> Address | None:
    """A folded address of ours."""
    local_part, _, domain = address.rpartition("@")
    return Address(local_part=local_part, domain=domain) if address else None
