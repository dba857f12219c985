"""What the adapters of schema `admin` share: a connection whose failures are MailErrors."""

import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import asyncpg

from postbus.runtime.database import connection

if TYPE_CHECKING:
    from postbus.runtime.database import Session


class PostgresBase:
    """`pool` gives the pool of the service's own role."""

    def __init__(self, pool: Callable[[], Awaitable[asyncpg.Pool]]) -> None:
        self._pool = pool

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator["Session"]:
        """A connection whose failures are MailErrors."""
        async with connection(await self._pool()) as session:
            yield session


def to_moment(at_ms: int | None) -> datetime.datetime | None:
    """Unix time in milliseconds as the driver takes it."""
    return None if at_ms is None else datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)


def to_ms(moment: datetime.datetime | None) -> int | None:
    """The other way, exactly."""
    if moment is None:
        return None
    return (moment - datetime.datetime.fromtimestamp(0, datetime.UTC)) // datetime.timedelta(milliseconds=1)
