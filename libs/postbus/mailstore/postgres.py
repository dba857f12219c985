"""The mail store on Postgres: every port of `postbus.mailstore.ports` by one object.

All work is done by the versioned SQL functions of `migrations/`, the contract between program versions: one call, one
round trip, one transaction. This package is the only code that names schema `mailstore` (architecture §2, §4).
"""

import asyncpg

from postbus.core.clock import Clock, SystemClock
from postbus.mailstore.postgres_append import PostgresAppender
from postbus.mailstore.postgres_folders import PostgresFolders
from postbus.mailstore.postgres_queues import PostgresQueues
from postbus.mailstore.postgres_read import PostgresReader
from postbus.mailstore.postgres_write import PostgresWriter
from postbus.mailstore.session import Session


class PostgresMailStore(PostgresAppender, PostgresFolders, PostgresReader, PostgresWriter, PostgresQueues):
    """All ports at once; what the service's role may not call answers UNAVAILABLE."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock | None = None) -> None:
        """`pool` is opened and closed by the service's process."""
        super().__init__(Session(pool, clock or SystemClock()))
