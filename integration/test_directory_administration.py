"""The administrator's commands over real Postgres: as over the fake, many at once, and after the migration of 0001."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import postbusd.directory
from postbus.contracts.app_passwords import Access
from postbus.contracts.bulk import MailboxRow
from postbus.contracts.directory import ListMailboxesRequest
from postbus.contracts.domains import ListDomainsRequest
from postbus.contracts.logins import AuthenticateRequest
from postbus.contracts.objects import PageRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.postgres import PostgresMailStore
from postbus.runtime.migrate import MigrationFolder, migrate
from postbus.testing.directory import KEYS
from postbus.testing.directory_office import ADMIN, SEALER, Office
from postbus.testing.directory_office_access import PasswordResetContract, SecondFactorContract, SignInContract
from postbus.testing.directory_office_addresses import AliasCommandsContract, ListCommandsContract
from postbus.testing.directory_office_app_passwords import AppPasswordContract
from postbus.testing.directory_office_archive import ArchiveContract
from postbus.testing.directory_office_bulk import (
    ROWS,
    BulkContract,
    bring,
    check_export_is_import,
    put_owners,
    take,
    told,
)
from postbus.testing.directory_office_contract import DomainCommandsContract, MailboxCommandsContract, events_of
from postbus.testing.directory_office_mail_server import MailServerContract
from postbus.testing.directory_office_people import AppCommandsContract, GroupCommandsContract, UserCommandsContract
from postbus.testing.directory_office_policy import PolicyCommandsContract
from postbus.testing.directory_office_provider import IdentityProviderContract, TokenLoginContract
from postbus.testing.directory_office_roles import ConditionContract, ScopeContract
from postbus.testing.directory_office_settings import SettingsContract
from postbus.testing.directory_rows import empty_tables
from postbus.testing.directory_sites import addresses
from postbus.testing.installation import Database
from postbusd.directory.adapters.argon2 import Argon2Hasher
from postbusd.directory.adapters.postgres import PostgresDirectory
from postbusd.directory.administration import Administration, Tools
from postbusd.directory.login import PasswordAuthenticator
from postbusd.directory.values import Key, KeyKind

MIGRATIONS = Path(postbusd.directory.__file__).parent / "migrations"


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    """Of the service's own role; the directory is emptied first."""
    async with open_pool(database) as pool:
        await empty_tables(pool)
        yield pool


def open_pool(database: Database) -> asyncpg.Pool:
    return asyncpg.create_pool(
        database.dsn, user="postbus_directory", password=database.password("directory"), min_size=0, max_size=6
    )


def open_office(pool: asyncpg.Pool) -> Office:
    async def get() -> asyncpg.Pool:
        return pool

    return Office(PostgresDirectory(get))


@pytest.fixture
def office(pool: asyncpg.Pool) -> Office:
    return open_office(pool)


class TestDomains(DomainCommandsContract):
    """The same rules as over the fake."""


class TestMailboxes(MailboxCommandsContract):
    """The same rules as over the fake."""


class TestUsers(UserCommandsContract):
    """The same rules as over the fake."""


class TestGroups(GroupCommandsContract):
    """The same rules as over the fake."""


class TestApps(AppCommandsContract):
    """The same rules as over the fake."""


class TestAliases(AliasCommandsContract):
    """The same rules as over the fake."""


class TestLists(ListCommandsContract):
    """The same rules as over the fake."""


class TestScope(ScopeContract):
    """Over Postgres."""


class TestConditions(ConditionContract):
    """Over Postgres."""


class TestSettings(SettingsContract):
    """Over Postgres."""


class TestMailServer(MailServerContract):
    """Over Postgres."""


class TestAppPasswords(AppPasswordContract):
    """Over Postgres."""


class TestSignIns(SignInContract):
    """Over Postgres."""


class TestSecondFactors(SecondFactorContract):
    """Over Postgres."""


class TestPasswordResets(PasswordResetContract):
    """Over Postgres."""


class TestIdentityProvider(IdentityProviderContract):
    """Over Postgres."""


class TestTokenLogin(TokenLoginContract):
    """Over Postgres."""


class TestArchive(ArchiveContract):
    """Over Postgres."""


class TestBulk(BulkContract):
    """Over Postgres."""


class TestPolicy(PolicyCommandsContract):
    """The same rules as over the fake."""


# Many at once.


async def outcome(attempt: Awaitable[object]) -> object:
    """The reply without what is drawn at random, or the refusal."""
    try:
        reply = await attempt
    except MailError as error:
        return error.kind, error.detail
    return _plain(reply)


def _plain(value: object) -> object:
    return _without(msgspec.to_builtins(value), {"mailbox_id", "credential"})


def _without(value: object, names: set[str]) -> object:
    if isinstance(value, dict):
        return {key: _without(each, names) for key, each in value.items() if key not in names}
    return [_without(each, names) for each in value] if isinstance(value, list | tuple) else value


async def test_of_two_makers_of_one_address_one_wins(office: Office, pool: asyncpg.Pool) -> None:
    await office.put_domain("a.test")
    await office.put_mailbox("kim@a.test")
    for number in range(8):
        address = f"x{number}@a.test"
        start, _ = await office.trace()
        results = await asyncio.gather(
            outcome(office.put_mailbox(address)),
            outcome(office.put_alias(address, "kim@a.test")),
            outcome(office.put_list(address)),
            outcome(office.put_group(f"g{number}", address=address)),
        )
        lost = [each for each in results if isinstance(each, tuple)]
        assert [each[0] for each in lost] == [ErrorKind.CONFLICT] * 3, results
        assert len({each[1] for each in lost}) == 1
        assert (await office.trace())[0] == start + 1
        claims = await pool.fetch("SELECT kind FROM directory.address_claim WHERE local_part = $1", f"x{number}")
        assert len(claims) == 1
        wanted = f"already taken by {'an' if claims[0]['kind'] == 'alias' else 'a'} {claims[0]['kind']}"
        assert lost[0][1] == f"address: {wanted}"
    users = await pool.fetchval("SELECT count(*) FROM directory.user_account")
    mailboxes = await pool.fetchval("SELECT count(*) FROM directory.mailbox")
    assert users == mailboxes  # no user of a mailbox that was not made


async def test_what_is_needed_does_not_go_while_it_is_taken_into_use(office: Office, pool: asyncpg.Pool) -> None:
    await office.put_domain("a.test")
    for number in range(8):
        await office.put_user(f"u{number}")
        await office.put_domain(f"d{number}.test")
        results = await asyncio.gather(
            outcome(office.put_mailbox(f"m{number}@a.test", None, owner=Owner(kind=OwnerKind.USER, name=f"u{number}"))),
            outcome(office.delete("user", f"u{number}")),
            outcome(office.put_list(f"all@d{number}.test")),
            outcome(office.delete("domain", f"d{number}.test")),
        )
        refused = [isinstance(each, tuple) for each in results]
        assert [sorted(refused[:2]), sorted(refused[2:])] == [[False, True], [False, True]], results
    owned = await pool.fetchval("SELECT count(*) FROM directory.mailbox WHERE owner_user IS NOT NULL")
    assert owned == await pool.fetchval("SELECT count(*) FROM directory.user_account")


async def test_many_writers_do_not_wait_for_each_other_in_a_circle(office: Office) -> None:
    await office.put_domain("a.test")
    names = [f"u{number}" for number in range(6)]
    for name in names:
        await office.put_user(name)
        await office.put_mailbox(f"{name}@a.test", None, owner=Owner(kind=OwnerKind.USER, name=name))
    start, _ = await office.trace()
    writes = []
    for number in range(10):
        writes += [
            office.put_group("staff", *names[number % 6 :], address=f"staff{number}@a.test"),
            office.put_group("board", *names[: number % 6 + 1], address=f"board{number}@a.test"),
            office.put_alias("k@a.test", f"u{number % 6}@a.test"),
            office.put_domain("a.test", catch_all=tuple(f"{name}@a.test" for name in names[number % 5 :])),
            office.put_user(names[number % 6], display_name=str(number)),
        ]
    results = await asyncio.gather(*(outcome(each) for each in writes))
    assert not [each for each in results if isinstance(each, tuple)]
    revision, told = await office.trace()
    assert revision - start == told - (start - office.told[0].revision + 1)
    assert len({each.revision for each in office.told}) == len(office.told)


async def test_another_writer_in_between_is_a_conflict(office: Office, pool: asyncpg.Pool) -> None:
    """A claim that stands, of something this version does not know."""
    await office.put_domain("a.test")
    await pool.execute("INSERT INTO directory.address_claim VALUES ('a.test', 'kim', 'calendar')")
    assert await outcome(office.put_mailbox("kim@a.test")) == (
        ErrorKind.CONFLICT,
        "address: already taken by a calendar",
    )
    await pool.execute("DELETE FROM directory.address_claim WHERE kind = 'calendar'")


# As the fake.

ADDRESSES = ("kim@a.test", "zoe@a.test", "kim@b.test", "all@a.test", "all-bounces@a.test", "x.app@b.test", "new@c.test")
NAMES = ("kim", "lee", "kim@a.test", "zoe@a.test")
GROUPS = ("staff", "board")
APPS = ("shop", "x")
DOMAINS = ("a.test", "b.test", "c.test")
MEMBERS = (*ADDRESSES, "KIM@a.test", "Pat@c.test", "pat@c.test", "pat@d.test")
RELAYS = (
    None,
    Relay(host="r.test"),
    Relay(host="r.test", username="us"),
    Relay(host="r.test", username="us", password="first secret"),
    Relay(host="r.test", username="us", password="other secret", security=RelaySecurity.TLS),
)
Command = Callable[[Office], Awaitable[object]]


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=3).map(tuple)


@st.composite
def commands(draw: st.DrawFn) -> tuple[str, tuple[object, ...], dict[str, object]]:
    """A method of Office with its arguments."""
    kind = draw(st.sampled_from(("domain", "mailbox", "mailbox", "user", "group", "app", "alias", "list", "delete")))
    address = draw(st.sampled_from(ADDRESSES))
    flag = draw(st.booleans())
    if kind == "domain":
        facts = {"incoming": flag, "catch_all": draw(some(ADDRESSES[:3])), "relay": draw(st.sampled_from(RELAYS))}
        return "put_domain", (draw(st.sampled_from(DOMAINS)),), facts
    if kind == "mailbox":
        owners = [Owner(kind=OwnerKind.USER, name=name) for name in NAMES[:2]]
        owners += [Owner(kind=OwnerKind.GROUP, name=name) for name in GROUPS]
        owners += [Owner(kind=OwnerKind.APP, name="shop")]
        owner = draw(st.none() | st.sampled_from(owners))
        password = draw(st.sampled_from((None, "secret 1", "secret 2"))) if owner is None or flag else None
        facts = {
            "owner": owner,
            "quota_octets": draw(st.sampled_from((None, 0, 5))),
            "active": draw(st.none() | st.booleans()),
        }
        return "put_mailbox", (address, password), facts
    if kind == "user":
        password = draw(st.sampled_from((None, "secret 1", "secret 2")))
        return "put_user", (draw(st.sampled_from(NAMES)), password), {"active": flag}
    if kind == "group":
        members = draw(some(NAMES))
        return "put_group", (draw(st.sampled_from(GROUPS)), *members), {"address": address if flag else ""}
    if kind == "app":
        facts = {"address": draw(st.sampled_from(("", "", *ADDRESSES))), "active": flag, "rotate": draw(st.booleans())}
        return "put_app", (draw(st.sampled_from(APPS)), draw(st.sampled_from(("", *DOMAINS)))), facts
    if kind == "alias":
        return "put_alias", (draw(st.sampled_from((*ADDRESSES, "k*@a.test"))), draw(st.sampled_from(ADDRESSES))), {}
    if kind == "list":
        return "put_list", (address, *draw(some(MEMBERS))), {"active": flag}
    noun, names = draw(
        st.sampled_from(
            (
                ("domain", DOMAINS),
                ("mailbox", ADDRESSES),
                ("user", NAMES),
                ("group", GROUPS),
                ("app", APPS),
                ("alias", (*ADDRESSES, "k*@a.test")),
                ("list", ADDRESSES),
            )
        )
    )
    return "delete", (noun, draw(st.sampled_from(names))), {"dry_run": flag}


BEGINNING: list[tuple[str, tuple[object, ...], dict[str, object]]] = [
    ("put_domain", ("a.test",), {"incoming": True}),
    ("put_domain", ("b.test",), {}),
    ("put_user", ("kim", "secret 1"), {}),
    ("put_group", ("staff", "kim"), {}),
    ("put_mailbox", ("kim@a.test", "secret 1"), {}),
    ("put_app", ("shop", "b.test"), {}),
]


def test_drawn_commands_do_the_same_as_over_the_fake(database: Database) -> None:
    with asyncio.Runner() as runner:
        pool = runner.run(_opened(database))
        try:

            @given(drawn=st.lists(commands(), min_size=5, max_size=30))
            @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            def compare(drawn: list[tuple[str, tuple[object, ...], dict[str, object]]]) -> None:
                runner.run(_compare(pool, BEGINNING + drawn))

            compare()
        finally:
            runner.run(pool.close())


async def _opened(database: Database) -> asyncpg.Pool:
    return await open_pool(database)


async def _compare(pool: asyncpg.Pool, drawn: list[tuple[str, tuple[object, ...], dict[str, object]]]) -> None:
    await empty_tables(pool)
    real, fake = open_office(pool), Office()
    ahead = await real.repository.revision() - await fake.repository.revision()
    for name, arguments, facts in drawn:
        expected = await outcome(getattr(fake, name)(*arguments, **facts))
        assert await outcome(getattr(real, name)(*arguments, **facts)) == expected, (name, arguments, facts)
        assert await real.repository.revision() - ahead == await fake.repository.revision(), (name, arguments, facts)
    assert await _everything(real) == await _everything(fake)


async def _everything(office: Office) -> list[object]:
    """All that can be read; the events too."""
    admin, page = office.administration, PageRequest(actor=ADMIN)
    keys = [
        Key(local_part=local_part, domain=domain, kind=kind)
        for local_part, _, domain in (address.partition("@") for address in (*addresses(), *ADDRESSES))
        for kind in KeyKind
    ]
    found = (await office.repository.find(keys))[1]
    return [
        _plain(await admin.list_domains(ListDomainsRequest(actor=ADMIN))),
        _plain(await admin.list_mailboxes(ListMailboxesRequest(actor=ADMIN))),
        _plain(await admin.list_users(page)),
        _plain(await admin.list_groups(page)),
        _plain(await admin.list_apps(page)),
        _plain(await admin.list_aliases(page)),
        _plain(await admin.list_lists(page)),
        [(event.summary, event.detail) for event in await events_of(office)],
        [(told.addresses, told.domains) for told in office.told],
        [_plain(found[key]) for key in keys],
        [await office.repository.load_password(name) for name in NAMES],
        [len(office.accounts.ensured)],
    ]


# Slow hashing, and the past.


async def test_fifty_mailboxes_cost_fifty_hashes_and_little_else(pool: asyncpg.Pool) -> None:
    office = open_office(pool)
    hasher = Argon2Hasher(threads=2, queue_logins=4, registry=CollectorRegistry())
    tools = Tools(
        repository=office.repository,
        accounts=PostgresMailStore(pool),
        hasher=office.hasher,
        keys=KEYS,
        sealer=SEALER,
        clock=SystemClock(),
        party=office.provider.party(office.repository),
    )
    await office.put_domain("bench.example")
    started = time.perf_counter()
    await hasher.hash("secret")
    one = time.perf_counter() - started
    hasher.close()
    office.administration = Administration(tools, office._hear)
    started = time.perf_counter()
    for number in range(1, 51):
        assert (await office.put_mailbox(f"u{number}@bench.example")).created
    rest = (time.perf_counter() - started) / 50
    assert (office.hasher.hashes, office.hasher.verifications) == (50, 0)
    print(f"a mailbox: {one * 1e3:.1f} ms to hash its password, {rest * 1e3:.1f} ms for all the rest")
    assert rest < 0.2


async def test_mailboxes_of_before_there_were_users_keep_their_passwords(database: Database, tmp_path: Path) -> None:
    """A database at 0001 with a mailbox and a password, migrated."""
    superuser = database.password("superuser")
    owner = await asyncpg.connect(database.dsn, user="postgres", password=superuser)
    await owner.execute("DROP DATABASE IF EXISTS older WITH (FORCE)")
    await owner.execute("CREATE DATABASE older")
    await owner.close()
    dsn = database.dsn.replace("/postbus?", "/older?")
    (tmp_path / "0001_directory.sql").write_bytes((MIGRATIONS / "0001_directory.sql").read_bytes())
    hasher = Argon2Hasher(threads=1, queue_logins=4, registry=CollectorRegistry())
    secret_hash = await hasher.hash("secret of kim")
    for folder in (tmp_path, MIGRATIONS):
        folders = [MigrationFolder(owner="directory", path=folder)]
        await migrate(f"{dsn}&user=postgres", superuser, folders, database.layout.secrets, False)
        if folder == tmp_path:
            old = await asyncpg.connect(dsn, user="postbus_directory", password=database.password("directory"))
            await old.execute("INSERT INTO directory.domain (name, incoming) VALUES ('a.test', true)")
            await old.execute(
                "INSERT INTO directory.mailbox (mailbox_id, local_part, domain, quota_octets) "
                "VALUES ('00000000-0000-7000-8000-000000000001', 'kim', 'a.test', 5)"
            )
            await old.execute(
                "INSERT INTO directory.credential (mailbox_id, kind, secret_hash) "
                "VALUES ('00000000-0000-7000-8000-000000000001', 'password', $1)",
                secret_hash,
            )
            await old.close()
    async with asyncpg.create_pool(
        dsn, user="postbus_directory", password=database.password("directory"), min_size=0
    ) as pool:
        office = open_office(pool)
        authenticator = PasswordAuthenticator(office.repository, hasher, KEYS, SystemClock(), CollectorRegistry())
        reply = await authenticator.authenticate(
            AuthenticateRequest(
                username="Kim@a.test", password="secret of kim", access=Access.IMAP, client_address="127.0.0.1"
            )
        )
        assert (reply.mailbox_id, reply.member) == ("00000000-0000-7000-8000-000000000001", "kim@a.test")
        stored = await office.repository.load_password("kim@a.test")
        assert stored is not None
        assert (stored.secret_hash, stored.tag) == (secret_hash, None)
        assert await outcome(office.put_alias("kim@a.test", "kim@a.test")) == (
            ErrorKind.CONFLICT,
            "address: already taken by a mailbox",
        )
        mailbox = (await office.put_mailbox("kim@a.test", None)).mailbox
        assert (mailbox.quota_octets, mailbox.owner) == (5, Owner(kind=OwnerKind.USER, name="kim@a.test"))
    hasher.close()


def test_drawn_imports_do_the_same_as_over_the_fake(database: Database) -> None:
    with asyncio.Runner() as runner:
        pool = runner.run(_opened(database))
        try:

            @given(rows=ROWS, more=ROWS)
            @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            def compare(rows: list[MailboxRow], more: list[MailboxRow]) -> None:
                runner.run(_compare_imports(pool, rows, more))

            compare()
        finally:
            runner.run(pool.close())


async def _compare_imports(pool: asyncpg.Pool, rows: list[MailboxRow], more: list[MailboxRow]) -> None:
    await empty_tables(pool)
    real, fake = open_office(pool), Office()
    for office in (real, fake):
        await put_owners(office)
    for each in (rows, more):
        assert told(await bring(real, *each)) == told(await bring(fake, *each))
        assert await take(real) == await take(fake)
    assert await _everything(real) == await _everything(fake)
    await empty_tables(pool)
    await check_export_is_import(fake, open_office(pool))
