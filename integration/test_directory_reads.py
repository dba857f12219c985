"""The reading half of directory on real Postgres: the contract, and that it reads as the fake does, whatever it holds.

The fake is what the resolver's own tests stand on; here both are asked for every name of drawn directories.
"""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings

from postbus.testing.directory_reader_contract import DirectoryReaderContract, example_site
from postbus.testing.directory_rows import empty_tables, load_rows
from postbus.testing.directory_sites import Site, addresses, sites
from postbus.testing.installation import Database
from postbusd.directory.adapters.postgres import PostgresDirectory
from postbusd.directory.values import Key, KeyKind


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Of the service's own role; the directory is emptied first."""
    async with open_pool(database) as pool:
        await empty_tables(pool)
        yield pool


def open_pool(database: Database) -> asyncpg.Pool:
    return asyncpg.create_pool(
        database.dsn,
        user="postbus_directory",
        password=database.password("directory"),
        min_size=0,
        max_size=4,
    )


def make_reader(pool: asyncpg.Pool) -> PostgresDirectory:
    async def get() -> asyncpg.Pool:
        return pool

    return PostgresDirectory(get)


@pytest.fixture
async def reader(pool: asyncpg.Pool) -> PostgresDirectory:
    async with pool.acquire() as connection:
        await load_rows(connection, example_site().directory)
    return make_reader(pool)


class TestPostgresReader(DirectoryReaderContract):
    """The same rules as the fake's."""


def test_drawn_directories_read_as_in_memory(database: Database) -> None:
    keys = [
        Key(local_part=local_part, domain=domain, kind=kind)
        for local_part, _, domain in (address.partition("@") for address in addresses())
        for kind in KeyKind
    ]
    with asyncio.Runner() as runner:
        pool = runner.run(_opened(database))
        try:

            @given(site=sites())
            @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            def compare(site: Site) -> None:
                runner.run(_compare(pool, site, keys))

            compare()
        finally:
            runner.run(pool.close())


async def _opened(database: Database) -> asyncpg.Pool:
    return await open_pool(database)


async def _compare(pool: asyncpg.Pool, site: Site, keys: list[Key]) -> None:
    async with pool.acquire() as connection:
        await load_rows(connection, site.directory)
    revision, found = await make_reader(pool).find(keys)
    expected_revision, expected = await site.directory.find(keys)
    assert revision == expected_revision
    assert found == expected
