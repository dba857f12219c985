"""Credentials of users and apps, within a writing transaction."""

from typing import TYPE_CHECKING

from postbusd.directory.adapters.postgres_session import PostgresSessions
from postbusd.directory.values import StoredPassword

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_PUT_OF_USER = """
INSERT INTO directory.credential AS c (user_id, kind, secret_hash, tag)
SELECT user_id, 'password', $2, $3 FROM directory.user_account WHERE username = $1
ON CONFLICT (user_id, kind) WHERE user_id IS NOT NULL DO UPDATE
SET secret_hash = excluded.secret_hash, tag = excluded.tag, changed = now(), former_digest = NULL
WHERE c.secret_hash <> excluded.secret_hash OR c.tag IS DISTINCT FROM excluded.tag
RETURNING 1
"""
_PUT_OF_APP = """
INSERT INTO directory.credential (app_id, kind, secret_hash)
SELECT app_id, 'generated', $2 FROM directory.app WHERE name = $1
ON CONFLICT (app_id, kind) WHERE app_id IS NOT NULL DO UPDATE SET secret_hash = excluded.secret_hash, changed = now()
"""


_REPLACE = """
UPDATE directory.credential c
SET secret_hash = $3, tag = $4, former_digest = encode(sha256(c.secret_hash::bytea), 'hex')
FROM directory.user_account u
WHERE u.username = $1 AND c.user_id = u.user_id AND c.kind = 'password' AND c.secret_hash = $2 RETURNING 1
"""
_TOUCH = """
UPDATE directory.app_password SET last_used = now()
WHERE secret_index = $1 AND (last_used IS NULL OR last_used < now() - interval '1 hour')
"""


class PostgresPasswords(PostgresSessions):
    """The PasswordKeeper."""

    async def replace_password(self, username: str, before: str, password: StoredPassword) -> bool:
        """Hashes anew what has the hash `before`."""
        async with self._connection() as session:
            found = await session.fetchval(_REPLACE, username, before, password.secret_hash, password.tag)
        return found is not None

    async def touch_app_password(self, index: str) -> None:
        """Notes its use, to the hour."""
        async with self._connection() as session:
            await session.execute(_TOUCH, index)


async def put_password(session: "Session", username: str, password: StoredPassword) -> bool:
    """A user's; whether it differs from the one before."""
    written = await session.fetchval(_PUT_OF_USER, username, password.secret_hash, password.tag)
    return written is not None


async def put_generated(session: "Session", app: str, index: str) -> None:
    """An app's; the one before ends."""
    await session.execute(_PUT_OF_APP, app, index)
