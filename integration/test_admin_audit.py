"""The audit log on real Postgres: what happened is there although its process died; nobody changes or deletes it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from postbus.runtime.settings import process_environment
from postbus.testing.admin_audit import make_entry
from postbus.testing.installation import ROOT, Database, Platform
from postbusd.admin_api.adapters.postgres import PostgresAdminStore
from postbusd.admin_api.audit_ports import AuditOutcome, AuditQuery, AuditResult, AuditRow

ROLE = "postbus_admin_api"


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    await database.execute("TRUNCATE admin.audit CASCADE")
    async with asyncpg.create_pool(
        database.dsn, user=ROLE, password=database.password("admin-api"), min_size=0, max_size=2
    ) as pool:
        yield pool


@pytest.fixture
def store(pool: asyncpg.Pool) -> PostgresAdminStore:
    async def get() -> asyncpg.Pool:
        return pool

    return PostgresAdminStore(get)


async def try_at(database: Database, place: str) -> tuple[int, str]:
    """Return code and output of a process that dies there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "postbus.testing.audit_trial",
        database.dsn,
        place,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**process_environment(), "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT / 'services'}"},
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate(database.password("admin-api").encode())
    return process.returncode or 0, out.decode().strip()


async def only_row(store: PostgresAdminStore, place: str) -> AuditRow:
    (row,) = await store.list_audit(AuditQuery(limit=10, object=f"domains/{place}.example"))
    return row


@pytest.mark.parametrize(("place", "told"), [("operation", "written operation.example"), ("outcome", "answered 201")])
async def test_a_write_whose_process_died_is_there_with_an_unknown_outcome(
    database: Database, store: PostgresAdminStore, place: str, told: str
) -> None:
    assert await try_at(database, place) == (-signal.SIGKILL, told)
    row = await only_row(store, place)
    assert row.result is AuditResult.UNKNOWN
    assert (row.entry.operation, row.entry.request) == ("put_domain", '{"incoming":true}')


async def test_the_same_write_that_ends_well_has_its_outcome(database: Database, store: PostgresAdminStore) -> None:
    assert await try_at(database, "nowhere") == (0, "answered 201")
    row = await only_row(store, "nowhere")
    assert row.result is AuditResult.DONE
    assert row.outcome is not None
    assert row.outcome.status == 201


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE admin.audit SET actor = 'nobody'",
        "UPDATE admin.audit_outcome SET status = 200",
        "DELETE FROM admin.audit",
        "DELETE FROM admin.audit_outcome",
        "TRUNCATE admin.audit CASCADE",
        "INSERT INTO admin.audit_outcome (sequence, status, code, detail, after, at) VALUES (1, 2, '', '', '', now())",
        "ALTER TABLE admin.audit DISABLE TRIGGER ALL",
    ],
)
async def test_the_service_s_role_can_only_add(pool: asyncpg.Pool, store: PostgresAdminStore, statement: str) -> None:
    await store.add_audit(make_entry("a.example"), AuditOutcome(status=403, code="forbidden"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)


async def test_a_row_can_t_be_dated_back(pool: asyncpg.Pool) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(
            "INSERT INTO admin.audit (request_id, actor, token_id, token_name, client_address, method, operation,"
            " object, query, traceparent, request, before, at)"
            " VALUES ('', '', '', '', '', '', '', '', '', '', '', '', '2001-01-01')"
        )


async def test_retention_takes_what_is_old_with_its_outcome_and_never_the_last_seven_days(
    database: Database, pool: asyncpg.Pool, store: PostgresAdminStore
) -> None:
    for name in ("old", "older", "young"):
        await store.add_audit(make_entry(f"{name}.example"), AuditOutcome(status=200))
    for name, days in (("old", 8), ("older", 20), ("young", 6)):
        await database.execute(
            f"UPDATE admin.audit SET at = now() - interval '{days} days' WHERE object = 'domains/{name}.example'"
        )
    assert await store.trim_audit(30, 100) == 0
    assert await store.trim_audit(0, 1) == 1
    assert [row.entry.object for row in await store.list_audit(AuditQuery(limit=10, object="domains/"))] == [
        "domains/young.example",
        "domains/old.example",
    ]
    assert await store.trim_audit(-5, 100) == 1
    assert await store.trim_audit(0, 100) == 0
    assert await pool.fetchval("SELECT count(*) FROM admin.audit_outcome") == 1


def test_a_running_installation_tells_who_changed_what(platform: Platform) -> None:
    import json

    from postbus.testing.installation import postbus

    platform.administer("domains/audited.example", {"incoming": True})
    options = ("--data-dir", str(platform.data_dir))
    told = json.loads(postbus("audit", *options, "--object", "domains/audited.example", "--json").stdout)
    assert [(each["actor"], each["token_name"], each["result"], each["status"]) for each in told] == [
        ("admin", "bootstrap", "done", 201)
    ]
    assert told[0]["client_address"] == "127.0.0.1"
    assert told[0]["after"]["incoming"] is True
    platform.administer("domains/audited.example", {"incoming": False})
    assert "incoming: true → false" in postbus("audit", *options, "--limit", "1", "--changes").stdout
