"""A connection of a pool, with one meaning for every way in which a database can fail (promise 4)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from postbus.mailstore.database import mail_errors

if TYPE_CHECKING:
    Session: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

ACQUIRE_SECONDS = 30.0
"""How long a call waits for a connection that is free."""


@asynccontextmanager
async def connection(pool: asyncpg.Pool) -> AsyncIterator["Session"]:
    """A connection of `pool` for the block. Raises MailError as `postbus.mailstore.database.mail_errors` does."""
    with mail_errors("database"):
        async with pool.acquire(timeout=ACQUIRE_SECONDS) as acquired:
            yield acquired
