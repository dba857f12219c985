"""Table `admin.session`: the SessionStore."""

from collections.abc import Sequence

import asyncpg

from postbus.contracts.sign_in import SignInMethod
from postbusd.admin_api.adapters.postgres_base import PostgresBase, to_moment, to_ms
from postbusd.admin_api.ports import Session

_COLUMNS = "session_id, username, method, proof, client_address, user_agent, begun, last_used, expires"
_ADD = f"""
INSERT INTO admin.session ({_COLUMNS}, session_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""  # noqa: S608 (names from above)
_END_UNUSED = """
DELETE FROM admin.session WHERE session_id IN (
    SELECT session_id FROM admin.session WHERE username = $1 ORDER BY last_used DESC, session_id DESC OFFSET $2)
"""
_FIND = f"SELECT {_COLUMNS} FROM admin.session WHERE session_hash = $1"  # noqa: S608 (the same)
_LIST = f"SELECT {_COLUMNS} FROM admin.session WHERE username = $1 ORDER BY session_id"  # noqa: S608 (the same)
_TRIM = """
DELETE FROM admin.session WHERE session_id IN (
    SELECT session_id FROM admin.session WHERE last_used < $2 OR expires <= $1 LIMIT $3)
"""


class PostgresAdminSessions(PostgresBase):
    """The port of sessions."""

    async def add_session(self, session_hash: bytes, session: Session, most: int) -> None:
        """A new one."""
        values = (
            session.session_id,
            session.username,
            session.method.value,
            session.proof,
            session.client_address,
            session.user_agent,
            to_moment(session.begun_ms),
            to_moment(session.last_used_ms),
            to_moment(session.expires_ms),
            session_hash,
        )
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_ADD, *values)
            await connection.execute(_END_UNUSED, session.username, most)

    async def find_session(self, session_hash: bytes) -> Session | None:
        """The session with this SHA-256."""
        async with self._connection() as connection:
            row = await connection.fetchrow(_FIND, session_hash)
        return _session(row) if row is not None else None

    async def touch_session(self, session_id: str, at_ms: int) -> None:
        """Notes that it was used."""
        async with self._connection() as connection:
            await connection.execute(
                "UPDATE admin.session SET last_used = greatest(last_used, $2) WHERE session_id = $1",
                session_id,
                to_moment(at_ms),
            )

    async def list_sessions(self, username: str) -> Sequence[Session]:
        """Of one user."""
        async with self._connection() as connection:
            return [_session(row) for row in await connection.fetch(_LIST, username)]

    async def delete_session(self, session_id: str, username: str) -> bool:
        """Ends it."""
        async with self._connection() as connection:
            done: str = await connection.execute(
                "DELETE FROM admin.session WHERE session_id = $1 AND username = $2", session_id, username
            )
        return done == "DELETE 1"

    async def trim_sessions(self, now_ms: int, unused_since_ms: int, most: int) -> int:
        """Deletes those that are over."""
        async with self._connection() as connection:
            done: str = await connection.execute(_TRIM, to_moment(now_ms), to_moment(unused_since_ms), most)
        return int(done.rpartition(" ")[2])


def _session(row: asyncpg.Record) -> Session:
    return Session(
        session_id=row["session_id"],
        username=row["username"],
        method=SignInMethod(row["method"]),
        proof=row["proof"],
        client_address=row["client_address"],
        user_agent=row["user_agent"],
        begun_ms=to_ms(row["begun"]) or 0,
        last_used_ms=to_ms(row["last_used"]) or 0,
        expires_ms=to_ms(row["expires"]) or 0,
    )
