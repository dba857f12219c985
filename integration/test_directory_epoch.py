"""Revisions of the directory over a failover or a restore: what caches know is never newer than what comes."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from postbus.contracts.events import DirectoryChanged
from postbus.mailstore.epoch import Epoch
from postbus.testing.installation import Database
from postbusd.directory.adapters.postgres_epoch import RevisionEpochs

FIRST, SECOND = Epoch(number=1), Epoch(number=2, reason="failover")


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database.dsn, user="postbus_directory", password=database.password("directory"))
    await opened.execute("UPDATE directory.revision SET epoch = 1, revision = 7")
    yield opened
    await opened.execute("UPDATE directory.revision SET epoch = 1")
    await opened.close()


async def test_a_first_start_changes_nothing(connection: asyncpg.Connection) -> None:
    told: list[DirectoryChanged] = []
    await RevisionEpochs(Teller(told)).begin(FIRST, None, connection)
    assert (await _revision(connection), told) == (7, [])


async def test_revisions_are_lifted_once_and_every_process_drops_its_caches(connection: asyncpg.Connection) -> None:
    """The one that was started since has nothing to drop."""
    told: list[DirectoryChanged] = []
    for before in (FIRST, FIRST, None):
        await RevisionEpochs(Teller(told)).begin(SECOND, before, connection)
    assert await _revision(connection) == 1_000_007
    assert told == [DirectoryChanged(revision=1_000_007)] * 2


async def test_a_database_that_takes_no_writes_can_be_asked(connection: asyncpg.Connection) -> None:
    await connection.execute("SET default_transaction_read_only = on")
    try:
        await RevisionEpochs(Teller([])).begin(FIRST, None, connection)
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await RevisionEpochs(Teller([])).begin(SECOND, FIRST, connection)
    finally:
        await connection.execute("RESET default_transaction_read_only")


class Teller:
    """Notes what is told."""

    def __init__(self, told: list[DirectoryChanged]) -> None:
        self._told = told

    async def __call__(self, changed: DirectoryChanged) -> None:
        self._told.append(changed)


async def _revision(connection: asyncpg.Connection) -> int:
    value: int = await connection.fetchval("SELECT revision FROM directory.revision")
    return value
