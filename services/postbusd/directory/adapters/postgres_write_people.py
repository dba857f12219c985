"""Users and groups in schema `directory`, as administrators see them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.directory import Group, User
from postbus.contracts.events import Event
from postbus.core.address import Address
from postbusd.directory.adapters.postgres_write_base import PostgresWrites, WriteSession, page_of
from postbusd.directory.adapters.postgres_write_passwords import put_password
from postbusd.directory.administration.refusals import MAX_NAMED, no_such, owns
from postbusd.directory.administration.values import Deleted, Page, StoredPassword, UserChange, Written

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_FIND_STORED = """
SELECT c.secret_hash, c.tag FROM directory.credential c JOIN directory.user_account u USING (user_id)
WHERE u.username = $1 AND c.kind = 'password'
"""
_USERS = "SELECT user_id, username, display_name, active FROM directory.user_account"
_PUT_USER = """
INSERT INTO directory.user_account (user_id, username, display_name, active) VALUES (gen_random_uuid(), $1, $2, $3)
ON CONFLICT (username) DO UPDATE SET display_name = excluded.display_name, active = excluded.active
"""
_MEMBERSHIPS = """
SELECT g.name FROM directory.group_member b JOIN directory.user_group g USING (group_id) WHERE b.user_id = $1
ORDER BY g.name COLLATE "C"
"""
_GROUPS = """
SELECT g.group_id, g.name, g.local_part, g.domain,
    (SELECT count(*) FROM directory.group_member b WHERE b.group_id = g.group_id) AS members
FROM directory.user_group g
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

    async def put_user(self, change: UserChange, event: Event) -> Written[User]:
        """Creates or replaces a user."""
        user = change.user
        async with self._writing() as write:
            row = await write.session.fetchrow(f"{_USERS} WHERE username = $1", user.username)
            before = _user(row) if row is not None else None
            changed = before != user
            if changed:
                await write.session.execute(_PUT_USER, user.username, user.display_name, user.active)
            if change.password is not None:
                changed |= await put_password(write.session, user.username, change.password)
            return await write.close(user, event, changed=changed, created=before is None)

    async def get_user(self, username: str) -> User:
        """One user."""
        async with self._connection() as session:
            return _user(await _find_user(session, username))

    async def list_users(self, after: str, limit: int) -> Page[User]:
        """Users with a name above `after`, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(
                f'{_USERS} WHERE username COLLATE "C" > $1 ORDER BY username COLLATE "C" LIMIT $2', after, limit + 1
            )
        return page_of([_user(row) for row in rows], limit)

    async def delete_user(self, username: str, event: Event, *, dry_run: bool) -> Deleted:
        """Deletes a user who owns no mailbox, with his memberships."""
        async with self._writing() as write:
            user_id = (await _find_user(write.session, username))["user_id"]
            await _require_idle(write, username, user_id)
            groups = [row["name"] for row in await write.session.fetch(_MEMBERSHIPS, user_id)]
            if not dry_run:
                await write.session.execute("DELETE FROM directory.user_account WHERE user_id = $1", user_id)
            lines = [f"user {username}", *(f"membership in group {name}" for name in groups)]
            return await write.close_deletion(lines, event, dry_run=dry_run)


class PostgresGroups(PostgresWrites):
    """The GroupStore."""

    async def put_group(self, group: Group, event: Event) -> Written[Group]:
        """Creates or replaces a group; its members are in order."""
        async with self._writing() as write:
            row = await write.session.fetchrow(f"{_GROUPS} WHERE g.name = $1", group.name)
            before = (await _with_members(write.session, [row]))[0] if row is not None else None
            address = _split(group.address)
            if address is not None and (before is None or before.address != group.address):
                await write.require_free(address)
            await _require_users(write, group.members)
            if before != group:
                await _write_group(write.session, group, address)
            return await write.close(group, event, changed=before != group, created=before is None)

    async def get_group(self, name: str) -> Group:
        """One group."""
        async with self._connection() as session:
            return (await _with_members(session, [await _find_group(session, name)]))[0]

    async def list_groups(self, after: str, limit: int) -> Page[Group]:
        """Groups with a name above `after`, in octet order."""
        async with self._connection() as session:
            rows = await session.fetch(
                f'{_GROUPS} WHERE g.name COLLATE "C" > $1 ORDER BY g.name COLLATE "C" LIMIT $2', after, limit + 1
            )
            page = page_of(rows, limit, lambda row: row["members"])
            return Page(objects=tuple(await _with_members(session, page.objects)), more=page.more)

    async def delete_group(self, name: str, event: Event, *, dry_run: bool) -> Deleted:
        """Deletes a group that owns no mailbox."""
        async with self._writing() as write:
            row = await _find_group(write.session, name)
            await _require_idle(write, name, row["group_id"])
            if not dry_run:
                await write.session.execute("DELETE FROM directory.user_group WHERE group_id = $1", row["group_id"])
            lines = [f"group {name}"] + ([f"its address {row['local_part']}@{row['domain']}"] if row["domain"] else [])
            return await write.close_deletion(lines, event, dry_run=dry_run)


async def _find_user(session: "Session", username: str) -> asyncpg.Record:
    row = await session.fetchrow(f"{_USERS} WHERE username = $1", username)
    if row is None:
        raise no_such("name", "user", username)
    return row


async def _find_group(session: "Session", name: str) -> asyncpg.Record:
    row = await session.fetchrow(f"{_GROUPS} WHERE g.name = $1", name)
    if row is None:
        raise no_such("name", "group", name)
    return row


async def _require_users(write: WriteSession, usernames: Sequence[str]) -> None:
    rows = await write.session.fetch(f"{_USERS} WHERE username = ANY($1::text[])", usernames)
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


def _user(row: asyncpg.Record) -> User:
    return User(username=row["username"], display_name=row["display_name"], active=row["active"])


def _split(address: str) -> Address | None:
    """A folded address of ours."""
    local_part, _, domain = address.rpartition("@")
    return Address(local_part=local_part, domain=domain) if address else None
