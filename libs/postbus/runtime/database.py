"""A connection of a pool, with one meaning for every way in which a database can be away (promise 4)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from postbus.core.errors import ErrorKind, MailError

if TYPE_CHECKING:
    Session: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    OSError,
    TimeoutError,
)
"""What asyncpg raises when the server is away, starting, stopping, full or too slow."""


@asynccontextmanager
async def connection(pool: asyncpg.Pool) -> AsyncIterator["Session"]:
    """A connection of `pool` for the block. Raises MailError: UNAVAILABLE for everything in `AWAY`."""
    try:
        async with pool.acquire() as acquired:
            yield acquired
    except AWAY as error:
        raise MailError(ErrorKind.UNAVAILABLE, f"database: {type(error).__name__}") from error
