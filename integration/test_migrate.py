"""The migrator on real Postgres: once, atomically, one at a time; roles and their passwords."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.migrate import Applied, MigrationFolder, migrate

if TYPE_CHECKING:
    from postbus.testing.installation import Database

TABLE = "CREATE TABLE filter.trial (number integer);\nGRANT SELECT ON filter.trial TO postbus_filter;\n"


class Trial:
    """A fresh database of the private Postgres, migrated by a superuser as a managed Postgres would be."""

    def __init__(self, database: "Database", dsn: str, folder: Path) -> None:
        self.database = database
        self.dsn = dsn
        self.folder = folder

    async def run(self, plan: bool = False) -> list[str]:
        folders = [MigrationFolder(owner="filter", path=self.folder)]
        secrets = self.database.layout.secrets
        applied: list[Applied] = await migrate(
            f"{self.dsn}&user=postgres", self.database.password("superuser"), folders, secrets, plan
        )
        return [str(file) for file in applied]

    async def fetch(self, service: str, statement: str) -> list[asyncpg.Record]:
        role = f"postbus_{service.replace('-', '_')}"
        connection = await asyncpg.connect(self.dsn, user=role, password=self.database.password(service))
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    def write(self, name: str, sql: str) -> None:
        (self.folder / name).write_text(sql)


@pytest.fixture
async def trial(database: "Database", tmp_path: Path) -> Trial:
    owner = await asyncpg.connect(database.dsn, user="postgres", password=database.password("superuser"))
    await owner.execute("DROP DATABASE IF EXISTS trial WITH (FORCE)")
    await owner.execute("CREATE DATABASE trial")
    await owner.execute("REVOKE ALL ON DATABASE trial FROM PUBLIC")
    await owner.close()
    trial = Trial(database, database.dsn.replace("/postbus?", "/trial?"), tmp_path)
    trial.write("0001_trial.sql", TABLE)
    return trial


async def test_a_plan_changes_nothing(trial: Trial) -> None:
    assert await trial.run(plan=True) == ["filter/0001_trial.sql"]
    assert await trial.run(plan=True) == ["filter/0001_trial.sql"]


async def test_files_are_applied_once(trial: Trial) -> None:
    assert await trial.run() == ["filter/0001_trial.sql"]
    assert await trial.run() == []
    trial.write("0002_more.sql", "ALTER TABLE filter.trial ADD COLUMN word text")
    assert await trial.run() == ["filter/0002_more.sql"]


async def test_migrators_that_start_together_apply_once(trial: Trial) -> None:
    results = await asyncio.gather(*(trial.run() for _ in range(4)))
    assert sorted(results) == [[], [], [], ["filter/0001_trial.sql"]]


async def test_services_see_what_is_granted_to_them_only(trial: Trial) -> None:
    await trial.run()
    assert await trial.fetch("filter", "SELECT * FROM filter.trial") == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await trial.fetch("filter", "INSERT INTO filter.trial VALUES (1)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await trial.fetch("delivery", "SELECT * FROM filter.trial")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await trial.fetch("delivery", "SELECT * FROM postbus.migration")


async def test_functions_are_executable_by_grant_only(trial: Trial) -> None:
    trial.write("0002_f.sql", "CREATE FUNCTION filter.f_v1() RETURNS integer LANGUAGE sql RETURN 1;")
    await trial.run()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await trial.fetch("filter", "SELECT filter.f_v1()")
    trial.write("0003_grant.sql", "GRANT EXECUTE ON FUNCTION filter.f_v1() TO postbus_filter;")
    await trial.run()
    rows = await trial.fetch("filter", "SELECT filter.f_v1()")
    assert [tuple(row) for row in rows] == [(1,)]


async def test_a_failing_file_leaves_nothing_behind_and_is_named_with_its_line(trial: Trial) -> None:
    trial.write("0002_wrong.sql", "CREATE TABLE filter.half (number integer);\nSELECT nothing\n  FROM filter.trial;")
    with pytest.raises(MailError, match=r"filter/0002_wrong\.sql line 2: column"):
        await trial.run()
    with pytest.raises(asyncpg.UndefinedTableError):
        await trial.fetch("filter", "SELECT * FROM filter.half")
    assert await trial.fetch("filter", "SELECT * FROM filter.trial") == []


async def test_a_changed_applied_file_is_refused(trial: Trial) -> None:
    await trial.run()
    trial.write("0001_trial.sql", f"{TABLE}-- changed")
    with pytest.raises(MailError, match=r"filter/0001_trial\.sql: was applied") as raised:
        await trial.run()
    assert raised.value.kind is ErrorKind.CONFLICT


async def test_an_absent_server_and_a_wrong_password_are_told_apart(trial: Trial, tmp_path: Path) -> None:
    with pytest.raises(MailError) as raised:
        await migrate(f"postgresql:///x?host={tmp_path}", "x", [], tmp_path)
    assert raised.value.kind is ErrorKind.UNAVAILABLE
    with pytest.raises(MailError) as raised:
        await migrate(trial.dsn, "wrong", [], tmp_path)
    assert raised.value.kind is ErrorKind.UNAUTHENTICATED
