"""directory on real Postgres: the repository's contract, and Resolve with the real mail store behind it."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.app_passwords import Access
from postbus.contracts.directory import PutMailboxRequest, ResolveRequest
from postbus.contracts.events import DirectoryChanged
from postbus.contracts.logins import AuthenticateRequest
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.postgres import PostgresMailStore
from postbus.runtime.sealing import Sealer
from postbus.testing.directory import KEYS
from postbus.testing.directory_contract import DirectoryRepositoryContract, make_page, put, put_domain
from postbus.testing.directory_rows import empty_tables
from postbus.testing.identity_provider import MemoryProvider
from postbus.testing.installation import Database
from postbusd.directory.adapters.argon2 import Argon2Hasher
from postbusd.directory.adapters.postgres import PostgresDirectory
from postbusd.directory.administration import Administration, Tools
from postbusd.directory.login import PasswordAuthenticator
from postbusd.directory.resolution import CachedResolver

SEALER = Sealer(bytes(32))


async def tell_nobody(changed: DirectoryChanged) -> None:
    """No other process follows."""


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Of the service's own role; the directory is emptied first."""
    async with asyncpg.create_pool(
        database.dsn, user="postbus_directory", password=database.password("directory"), min_size=0, max_size=4
    ) as pool:
        await empty_tables(pool)
        yield pool


@pytest.fixture
def repository(pool: asyncpg.Pool) -> PostgresDirectory:
    async def get() -> asyncpg.Pool:
        return pool

    return PostgresDirectory(get)


class TestPostgresDirectory(DirectoryRepositoryContract):
    """The same rules as the fake's."""


async def test_revision_order_is_commit_order_for_many_writers(repository: PostgresDirectory) -> None:
    await put_domain(repository, "example.org")
    start = await repository.revision()
    written = await asyncio.gather(*[put(repository, f"u{number}@example.org") for number in range(40)])
    assert sorted(each.revision for each in written) == list(range(start + 1, start + 41))


async def test_two_creators_of_one_name_get_one_mailbox(repository: PostgresDirectory) -> None:
    await put_domain(repository, "example.org")
    written = await asyncio.gather(*[put(repository, "kim@example.org") for _ in range(5)])
    assert len({each.object.mailbox_id for each in written}) == 1
    assert [each.created for each in written].count(True) == 1


async def test_octets_that_no_text_has_are_refused(repository: PostgresDirectory) -> None:
    with pytest.raises(MailError) as error:
        await repository.list_domains(None, make_page("a\0", 1))
    assert error.value.kind is ErrorKind.INVALID


async def test_an_absent_database_is_unavailable(database: Database) -> None:
    async with asyncpg.create_pool(
        database.dsn.replace(database.host, "/nonexistent"), user="postbus_directory", password="x", min_size=0
    ) as pool:

        async def get() -> asyncpg.Pool:
            return pool

        with pytest.raises(MailError) as error:
            await PostgresDirectory(get).revision()
    assert error.value.kind is ErrorKind.UNAVAILABLE


async def test_a_mailbox_is_made_whole_and_its_owner_logs_in(pool: asyncpg.Pool, repository: PostgresDirectory) -> None:
    clock, registry = SystemClock(), CollectorRegistry()
    store = PostgresMailStore(pool)
    hasher = Argon2Hasher(threads=2, queue_logins=4, registry=registry)
    tools = Tools(
        repository=repository,
        accounts=store,
        hasher=hasher,
        keys=KEYS,
        sealer=SEALER,
        clock=clock,
        party=MemoryProvider(clock).party(repository),
    )
    administration = Administration(tools, tell_nobody)
    await put_domain(repository, "example.org", incoming=True)
    request = PutMailboxRequest(address="kim@example.org", actor="admin", password="secret", quota_octets=1000)
    first = await administration.put_mailbox(request)
    revision = await repository.revision()
    again = await administration.put_mailbox(request)
    assert (first.created, again.created, await repository.revision()) == (True, False, revision)
    assert await store.usage([first.mailbox.mailbox_id]) == {first.mailbox.mailbox_id: 0}
    authenticator = PasswordAuthenticator(repository, hasher, KEYS, clock, registry)
    reply = await authenticator.authenticate(
        AuthenticateRequest(
            username="Kim@example.org", password="secret", access=Access.IMAP, client_address="127.0.0.1"
        )
    )
    assert reply.mailbox_id == first.mailbox.mailbox_id
    resolver = CachedResolver(repository, store, clock, registry)
    resolved = await resolver.resolve(ResolveRequest(forward_paths=("kim+x@example.org", "no@example.org")))
    assert [each.outcome.value for each in resolved.resolutions] == ["mailbox", "reject"]
    hasher.close()
