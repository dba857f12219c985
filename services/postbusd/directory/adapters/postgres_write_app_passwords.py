"""App passwords in schema `directory`."""

from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.app_passwords import Access, AppPassword
from postbus.contracts.standing import Standing
from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.adapters.postgres_standing import find_keeper
from postbusd.directory.adapters.postgres_write_base import PostgresWrites
from postbusd.directory.administration.refusals import no_such
from postbusd.directory.administration.values import Act, Written

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_LIST = """
SELECT p.name, p.scopes, floor(extract(epoch FROM p.expires) * 1000)::bigint AS expires_ms,
    floor(extract(epoch FROM p.created) * 1000)::bigint AS created_ms,
    floor(extract(epoch FROM p.last_used) * 1000)::bigint AS last_used_ms
FROM directory.app_password p JOIN directory.user_account u USING (user_id)
WHERE u.username = $1 ORDER BY p.name COLLATE "C"
"""
_ADD = """
INSERT INTO directory.app_password (user_id, name, secret_index, scopes, expires, created)
SELECT user_id, $2, $3, $4, to_timestamp($5::float8 / 1000), to_timestamp($6::float8 / 1000)
FROM directory.user_account WHERE username = $1
"""
_DELETE = """
DELETE FROM directory.app_password p USING directory.user_account u
WHERE u.user_id = p.user_id AND u.username = $1 AND p.name = $2
"""


class PostgresAppPasswords(PostgresWrites):
    """The AppPasswordStore."""

    async def add_app_password(
        self, username: str, made: AppPassword, index: str, most: int, act: Act
    ) -> Written[AppPassword]:
        """One more of a user."""
        async with self._writing(act) as write:
            await find_keeper(write.session, username, act.standing)
            names = [each.name for each in await _list(write.session, username)]
            if made.name in names:
                raise MailError(ErrorKind.ALREADY_EXISTS, "name: there is an app password of this name")
            if len(names) >= most:
                raise MailError(ErrorKind.LIMIT, f"name: {username} has {most} app passwords, which is the most")
            scopes = [each.value for each in made.scopes]
            await write.session.execute(_ADD, username, made.name, index, scopes, made.expires_ms, made.created_ms)
            return await write.close(made, changed=True, created=True)

    async def list_app_passwords(self, username: str, standing: Standing) -> tuple[AppPassword, ...]:
        """By name."""
        async with self._connection() as session:
            await find_keeper(session, username, standing)
            return await _list(session, username)

    async def delete_app_password(self, username: str, name: str, act: Act) -> Written[AppPassword]:
        """One of a user's."""
        async with self._writing(act) as write:
            await find_keeper(write.session, username, act.standing)
            found = next((each for each in await _list(write.session, username) if each.name == name), None)
            if found is None:
                raise no_such("name", "app password", name)
            await write.session.execute(_DELETE, username, name)
            return await write.close(found, changed=True)


async def _list(session: "Session", username: str) -> tuple[AppPassword, ...]:
    return tuple(_app_password(row) for row in await session.fetch(_LIST, username))


def _app_password(row: asyncpg.Record) -> AppPassword:
    return AppPassword(
        name=row["name"],
        scopes=tuple(each for each in Access if each.value in row["scopes"]),
        expires_ms=row["expires_ms"],
        created_ms=row["created_ms"],
        last_used_ms=row["last_used_ms"],
    )
