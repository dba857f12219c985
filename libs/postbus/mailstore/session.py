"""How the store calls its SQL functions: one statement a call, every failure one MailError (promise 4)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

STATEMENT_SECONDS = 30.0
"""A statement that takes longer, its wait for a connection included, counts as a database that is away."""

_RAISED_KINDS = {
    "PB400": ErrorKind.INVALID,
    "PB404": ErrorKind.NOT_FOUND,
    "PB409": ErrorKind.CONFLICT,
    "PB410": ErrorKind.ALREADY_EXISTS,
    "PB411": ErrorKind.OVER_QUOTA,
    "PB429": ErrorKind.LIMIT,
}
"""SQLSTATEs that our own functions raise."""

_AWAY_CLASSES = frozenset({"08", "25", "28", "3D", "3F", "40", "53", "55", "57", "58"})
"""SQLSTATE classes of a server that is away, starting, read-only, full, or not yet set up; a retry may succeed."""
_AWAY_STATES = frozenset({"42883", "42P01", "42501"})
"""Function, table or right missing: the migration of this version is still to come (promise 9)."""
_AWAY_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


@contextmanager
def mail_errors() -> "Iterator[None]":
    """Turns what asyncpg raises into MailError; anything unknown passes as it is."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if state in _RAISED_KINDS:
            raise MailError(_RAISED_KINDS[state], str(error)) from error
        if state[:2] in _AWAY_CLASSES or state in _AWAY_STATES:
            raise MailError(ErrorKind.UNAVAILABLE, f"mail store: {type(error).__name__}") from error
        if state[:2] == "22":
            raise MailError(ErrorKind.INVALID, f"mail store: {type(error).__name__}") from error
        raise
    except _AWAY_ERRORS as error:
        raise MailError(ErrorKind.UNAVAILABLE, f"mail store: {type(error).__name__}") from error


class Session:
    """The pool of the service's role, and the clock that dates the rows."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        """`pool` is opened and closed by the service's process."""
        self._pool = pool
        self.clock = clock

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Any]:  # rows: asyncpg.Record
        """The rows of one statement."""
        with mail_errors():
            async with asyncio.timeout(STATEMENT_SECONDS):
                return await self._pool.fetch(statement, *arguments)

    async def fetch_keyed(self, statement: str, *arguments: Any) -> Sequence[Any]:
        """The same for an operation with a key: tried once more when the outcome got lost, the key prevents doubles."""
        try:
            return await self.fetch(statement, *arguments)
        except MailError as error:
            if error.kind is not ErrorKind.UNAVAILABLE or isinstance(error.__cause__, TimeoutError):
                raise
            return await self.fetch(statement, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Connection"]:
        """A connection in a transaction, for work between two statements."""
        with mail_errors():
            async with self._pool.acquire(timeout=STATEMENT_SECONDS) as connection, connection.transaction():
                yield connection
