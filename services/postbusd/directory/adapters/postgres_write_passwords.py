"""Credentials of users and apps, within a writing transaction."""

from typing import TYPE_CHECKING

from postbusd.directory.administration.values import StoredPassword

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_PUT_OF_USER = """
INSERT INTO directory.credential AS c (user_id, kind, secret_hash, tag)
SELECT user_id, 'password', $2, $3 FROM directory.user_account WHERE username = $1
ON CONFLICT (user_id, kind) WHERE user_id IS NOT NULL DO UPDATE
SET secret_hash = excluded.secret_hash, tag = excluded.tag, changed = now()
WHERE c.secret_hash <> excluded.secret_hash OR c.tag IS DISTINCT FROM excluded.tag
RETURNING 1
"""
_PUT_OF_APP = """
INSERT INTO directory.credential (app_id, kind, secret_hash)
SELECT app_id, 'generated', $2 FROM directory.app WHERE name = $1
ON CONFLICT (app_id, kind) WHERE app_id IS NOT NULL DO UPDATE SET secret_hash = excluded.secret_hash, changed = now()
"""


async def put_password(session: "Session", username: str, password: StoredPassword) -> bool:
    """A user's; whether it differs from the one before."""
    written = await session.fetchval(_PUT_OF_USER, username, password.secret_hash, password.tag)
    return written is not None


async def put_generated(session: "Session", app: str, index: str) -> None:
    """An app's; the one before ends."""
    await session.execute(_PUT_OF_APP, app, index)
