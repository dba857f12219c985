"""How the store calls its SQL functions: one statement a call, every failure one MailError (promise 4)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.database import OutcomeUnknownError, leaves_outcome_unknown, mail_errors

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

PLACE = "mail store"
STATEMENT_SECONDS = 30.0
"""A statement that takes longer, its wait for a connection included, counts as a database that is away."""


class Session:
    """The pool of the service's role, and the clock that dates the rows."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        """`pool` is opened and closed by the service's process."""
        self._pool = pool
        self.clock = clock

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Any]:  # rows: asyncpg.Record
        """The rows of one statement."""
        with mail_errors(PLACE):
            async with asyncio.timeout(STATEMENT_SECONDS):
                return await self._pool.fetch(statement, *arguments)

    async def change(self, statement: str, *arguments: Any, repeatable: bool) -> Sequence[Any]:
        """The same for a change. Raises OutcomeUnknownError when the connection got lost after it was sent.

        `repeatable`: a second run changes nothing more, by a key or by its meaning; then it is tried once more first.
        """
        try:
            return await self._send(statement, arguments)
        except OutcomeUnknownError as error:
            if not repeatable or isinstance(error.__cause__, TimeoutError):
                raise
            lost = error
        try:
            return await self._send(statement, arguments)
        except MailError as error:
            if error.kind is not ErrorKind.UNAVAILABLE or isinstance(error, OutcomeUnknownError):
                raise
            raise lost from error

    async def _send(self, statement: str, arguments: Sequence[Any]) -> Sequence[Any]:
        sent = False
        try:
            with mail_errors(PLACE):
                async with asyncio.timeout(STATEMENT_SECONDS), self._pool.acquire() as connection:
                    sent = True
                    return await connection.fetch(statement, *arguments)
        except MailError as error:
            if sent and leaves_outcome_unknown(error):
                raise OutcomeUnknownError(error.detail) from error.__cause__
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Connection"]:
        """A connection in a transaction, for work between two statements."""
        with mail_errors(PLACE):
            async with self._pool.acquire(timeout=STATEMENT_SECONDS) as connection, connection.transaction():
                yield connection
