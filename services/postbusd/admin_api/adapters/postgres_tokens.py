"""Table `admin.token`: the TokenStore and the TokenBook."""

import contextlib
from collections.abc import Sequence

import asyncpg

from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.adapters.postgres_base import PostgresBase, to_moment, to_ms
from postbusd.admin_api.ports import Token

_COLUMNS = "token_id, name, actor, scopes, created, created_by, expires, last_used"
_FIND_BY_HASH = f"SELECT {_COLUMNS} FROM admin.token WHERE token_hash = $1"  # noqa: S608 (names from above)
_SAVE = """
INSERT INTO admin.token (token_id, name, token_hash, actor, scopes, expires)
SELECT $1, $1, $2, $3, $4, $5
WHERE NOT EXISTS (SELECT 1 FROM admin.token WHERE token_hash = $2 AND token_id <> $1)
ON CONFLICT (token_id) DO UPDATE
SET token_hash = excluded.token_hash, name = excluded.name, actor = excluded.actor, scopes = excluded.scopes,
    expires = excluded.expires,
    created = CASE WHEN token.token_hash = excluded.token_hash THEN token.created ELSE now() END,
    last_used = CASE WHEN token.token_hash = excluded.token_hash THEN token.last_used END
"""
_TOUCH = "UPDATE admin.token SET last_used = greatest(last_used, $2) WHERE token_id = $1"
_ADD = """
INSERT INTO admin.token (token_id, name, token_hash, actor, scopes, expires, created, created_by)
SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE (SELECT count(*) FROM admin.token) < $9
"""
_GET = f"SELECT {_COLUMNS} FROM admin.token WHERE name = $1 AND ($2 = '' OR actor = $2)"  # noqa: S608 (the same)
_LIST = f"""
SELECT {_COLUMNS} FROM admin.token WHERE name COLLATE "C" > $2 AND ($1 = '' OR actor = $1)
ORDER BY name COLLATE "C" LIMIT $3
"""  # noqa: S608 (the same)
_DELETE_OF = """
WITH sessions AS (DELETE FROM admin.session WHERE username = $1), repeats AS (DELETE FROM admin.repeat WHERE actor = $1)
DELETE FROM admin.token WHERE actor = $1
"""
_ROTATE = """
UPDATE admin.token SET token_hash = $2, created_by = $3, created = now(), last_used = NULL WHERE token_id = $1
"""


class PostgresTokens(PostgresBase):
    """Both ports of tokens."""

    async def find_token(self, token_hash: bytes) -> Token | None:
        """The token with this SHA-256."""
        async with self._connection() as session:
            row = await session.fetchrow(_FIND_BY_HASH, token_hash)
        return None if row is None else _token(row)

    async def put_token(self, token_id: str, token_hash: bytes, token: Token) -> None:
        """Creates or replaces."""
        expires = to_moment(token.expires_ms)
        async with self._connection() as session:
            # Another process, or another request of this one, enters the same token at the same moment
            with contextlib.suppress(asyncpg.UniqueViolationError):
                await session.execute(_SAVE, token_id, token_hash, token.actor, list(token.scopes), expires)

    async def touch_token(self, token_id: str, at_ms: int) -> None:
        """Notes that it was used."""
        async with self._connection() as session:
            await session.execute(_TOUCH, token_id, to_moment(at_ms))

    async def add_token(self, token_hash: bytes, token: Token, most: int) -> None:
        """A new one."""
        created, expires = to_moment(token.created_ms), to_moment(token.expires_ms)
        async with self._connection() as session:
            try:
                done = await session.execute(
                    _ADD,
                    token.token_id,
                    token.name,
                    token_hash,
                    token.actor,
                    list(token.scopes),
                    expires,
                    created,
                    token.created_by,
                    most,
                )
            except asyncpg.UniqueViolationError as error:
                raise MailError(ErrorKind.ALREADY_EXISTS, "name: there is a token with this name") from error
        if done.endswith(" 0"):
            raise MailError(ErrorKind.LIMIT, f"name: there are {most} tokens already")

    async def get_token(self, name: str, actor: str) -> Token | None:
        """By its name."""
        async with self._connection() as session:
            row = await session.fetchrow(_GET, name, actor)
        return None if row is None else _token(row)

    async def list_tokens(self, actor: str, after: str, limit: int) -> Sequence[Token]:
        """By name."""
        async with self._connection() as session:
            return [_token(row) for row in await session.fetch(_LIST, actor, after, limit)]

    async def rotate_token(self, token_id: str, token_hash: bytes, created_by: str) -> bool:
        """Replaces the hash."""
        async with self._connection() as session:
            return (await session.execute(_ROTATE, token_id, token_hash, created_by)) == "UPDATE 1"

    async def delete_token(self, token_id: str) -> bool:
        """Ends it."""
        async with self._connection() as session:
            return (await session.execute("DELETE FROM admin.token WHERE token_id = $1", token_id)) == "DELETE 1"

    async def delete_tokens_of(self, actor: str) -> int:
        """All that speak for it, its sessions and kept answers too."""
        async with self._connection() as session:
            done: str = await session.execute(_DELETE_OF, actor)
        return int(done.rpartition(" ")[2])


def _token(row: asyncpg.Record) -> Token:
    return Token(
        token_id=row["token_id"],
        name=row["name"],
        actor=row["actor"],
        scopes=tuple(row["scopes"]),
        created_ms=to_ms(row["created"]) or 0,
        created_by=row["created_by"],
        expires_ms=to_ms(row["expires"]),
        last_used_ms=to_ms(row["last_used"]),
    )
