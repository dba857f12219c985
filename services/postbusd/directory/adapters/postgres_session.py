"""What the adapters for schema `directory` share: connections whose failures are MailErrors."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import asyncpg

from postbus.runtime.database import connection

if TYPE_CHECKING:
    from postbus.runtime.database import Session


class PostgresSessions:
    """`pool` gives the pool of the service's own role."""

    def __init__(self, pool: Callable[[], Awaitable[asyncpg.Pool]]) -> None:
        self._pool = pool

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator["Session"]:
        """A connection whose failures are MailErrors."""
        async with connection(await self._pool()) as session:
            yield session
