"""Who may administer what, and whose mailboxes are whose, in schema `directory`."""

from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.directory import User
from postbus.contracts.standing import MAX_OPENED, Standing
from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.adapters.postgres_session import PostgresSessions
from postbusd.directory.administration.refusals import no_such
from postbusd.directory.administration.scope import check_secrets_of

if TYPE_CHECKING:
    from postbus.runtime.database import Session

USERS = """
SELECT u.user_id, u.username, u.display_name, u.active, u.superadmin, u.recovery_address,
    ARRAY(SELECT a.domain FROM directory.domain_admin a WHERE a.user_id = u.user_id ORDER BY a.domain COLLATE "C")
    AS admin_of
FROM directory.user_account u
"""
_STANDING = """
SELECT u.superadmin,
    ARRAY(SELECT a.domain FROM directory.domain_admin a WHERE a.user_id = u.user_id ORDER BY a.domain COLLATE "C")
    AS domains,
    ARRAY(
        SELECT m.local_part || '@' || m.domain FROM directory.mailbox m
        WHERE m.owner_user = u.user_id
            OR m.owner_group IN (SELECT g.group_id FROM directory.group_member g WHERE g.user_id = u.user_id)
        ORDER BY (m.local_part || '@' || m.domain) COLLATE "C" LIMIT $2) AS mailboxes
FROM directory.user_account u WHERE u.username = $1 AND u.active
"""
_OPENED = """
SELECT DISTINCT m.domain FROM directory.mailbox m JOIN directory.user_account u ON u.username = $1
WHERE m.owner_user = u.user_id
    OR $2 AND m.owner_group IN (SELECT g.group_id FROM directory.group_member g WHERE g.user_id = u.user_id)
"""
_OWNED_BY_GROUP = """
SELECT DISTINCT m.domain FROM directory.mailbox m JOIN directory.user_group g ON m.owner_group = g.group_id
WHERE g.name = $1
"""


class PostgresStandings(PostgresSessions):
    """The StandingStore."""

    async def load_standing(self, actor: str) -> Standing:
        """Raises MailError: FORBIDDEN (there is no such active user)."""
        async with self._connection() as session:
            return await load_standing(session, actor)

    async def owned_domains(self, username: str) -> frozenset[str]:
        """Of the mailboxes that a user owns himself."""
        async with self._connection() as session:
            return await opened_domains(session, username, by_groups=False)


async def load_standing(session: "Session", actor: str) -> Standing:
    """Raises MailError: FORBIDDEN (there is no such active user)."""
    row = await session.fetchrow(_STANDING, actor, MAX_OPENED)
    if row is None:
        raise MailError(ErrorKind.FORBIDDEN, f"there is no active user {actor}")
    return Standing(
        actor=actor,
        superadmin=row["superadmin"],
        domains=tuple(row["domains"]),
        mailboxes=tuple(row["mailboxes"]),
    )


async def opened_domains(session: "Session", username: str, *, by_groups: bool = True) -> frozenset[str]:
    """Of the mailboxes that a user's password opens."""
    return frozenset(row["domain"] for row in await session.fetch(_OPENED, username, by_groups))


async def domains_of_group(session: "Session", name: str) -> frozenset[str]:
    """Of the mailboxes that a group owns."""
    return frozenset(row["domain"] for row in await session.fetch(_OWNED_BY_GROUP, name))


async def find_user(session: "Session", username: str) -> User | None:
    """None: there is no such user."""
    row = await session.fetchrow(f"{USERS} WHERE u.username = $1", username)
    return read_user(row) if row is not None else None


async def find_keeper(session: "Session", username: str, standing: Standing) -> User:
    """The user whose secrets the actor may see and change. Raises MailError: FORBIDDEN, NOT_FOUND (username)."""
    user = await find_user(session, username)
    check_secrets_of(standing, username, user, await opened_domains(session, username))
    if user is None:
        raise no_such("username", "user", username)
    return user


def read_user(row: asyncpg.Record) -> User:
    """A row of USERS."""
    return User(
        username=row["username"],
        display_name=row["display_name"],
        active=row["active"],
        superadmin=row["superadmin"],
        admin_of=tuple(row["admin_of"]),
        recovery_address=row["recovery_address"],
    )
