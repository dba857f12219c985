"""The migrator: plain SQL files, applied once, in order, by the owner of all schemas (architecture §2).

Invariants: a file is applied in one transaction together with its row in `postbus.migration`; an applied file never
changes again (its SHA-256 is kept and compared); one migrator works at a time (advisory lock); a file waits for a lock
a short time only and is tried again, so that it never makes running services queue behind it. Files that a newer
version applied and this one does not have are left alone: N-1 and N run side by side (promise 9).

It needs nothing but a Postgres of version 15 or later and either the role `postbus_owner` (CREATEROLE, owner of the
database) or a superuser. It refuses to guess: no downgrade, no repair of a changed file.
"""

import contextlib
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.roles import OWNER, SERVICE_ROLES, make_roles_and_schemas

log = logging.getLogger(__name__)

FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")
_TRANSACTION_CONTROL = re.compile(
    r"^\s*(BEGIN|START\s+TRANSACTION|COMMIT|ROLLBACK)\b[^;\n]*;", re.IGNORECASE | re.MULTILINE
)
ADVISORY_LOCK = 0x706F7374627573  # "postbus"
LOCK_WAIT = "60s"
TABLE_LOCK_TIMEOUT = "3s"
TABLE_LOCK_ATTEMPTS = 10
CONNECT_SECONDS = 10.0
MINIMUM_VERSION = 15


class MigrationFolder(msgspec.Struct, frozen=True, kw_only=True):
    """The SQL files of one owner (`mailstore`, `directory`, `dns` …), in the order in which they apply."""

    owner: str
    path: Path


class MigrationFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it lies in the folder."""

    owner: str
    name: str
    sql: str
    checksum: str
    """SHA-256 of the file, hexadecimal."""

    def __str__(self) -> str:
        """`owner/name`."""
        return f"{self.owner}/{self.name}"


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """One file that this run applied, or would apply (plan)."""

    owner: str
    name: str
    checksum: str

    def __str__(self) -> str:
        """`owner/name`."""
        return f"{self.owner}/{self.name}"


def read_folder(folder: MigrationFolder) -> list[MigrationFile]:
    """The files of a folder in order. Raises MailError: INVALID names the file that is not as it must be."""
    files: list[MigrationFile] = []
    numbers: dict[str, str] = {}
    if not folder.path.is_dir():
        raise MailError(ErrorKind.INVALID, f"{folder.path}: no such folder of migrations")
    for path in sorted(folder.path.glob("*.sql")):
        match = FILE_NAME.match(path.name)
        if match is None:
            raise MailError(ErrorKind.INVALID, f"{path}: a migration is named 0001_what_it_does.sql")
        if match[1] in numbers:
            raise MailError(ErrorKind.INVALID, f"{path}: the number is taken by {numbers[match[1]]}")
        numbers[match[1]] = path.name
        content = path.read_bytes()
        sql = content.decode("utf-8")
        if _TRANSACTION_CONTROL.search(sql):
            raise MailError(ErrorKind.INVALID, f"{path}: a migration must not begin or end transactions")
        checksum = hashlib.sha256(content).hexdigest()
        files.append(MigrationFile(owner=folder.owner, name=path.name, sql=sql, checksum=checksum))
    return files


def choose_pending(files: Sequence[MigrationFile], applied: dict[tuple[str, str], str]) -> list[MigrationFile]:
    """What is still to apply. `applied` maps (owner, name) to a checksum.

    Raises MailError: CONFLICT for an applied file that changed, and for a new file numbered below an applied one.
    """
    pending: list[MigrationFile] = []
    for file in files:
        checksum = applied.get((file.owner, file.name))
        if checksum is None:
            pending.append(file)
        elif checksum != file.checksum:
            raise MailError(
                ErrorKind.CONFLICT, f"{file}: was applied and has changed since; put it back, add a new one"
            )
    for file in pending:
        later = [name for owner, name in applied if owner == file.owner and name > file.name]
        if later:
            raise MailError(ErrorKind.CONFLICT, f"{file}: is new but comes before {min(later)}, which is applied")
    return pending


async def migrate(
    dsn: str, password: str, folders: Sequence[MigrationFolder], secrets_dir: Path, plan: bool = False
) -> list[Applied]:
    """Brings the database up to date; the files applied, in order (with `plan`, only told, nothing is changed).

    `dsn` names no password; its user is postbus_owner unless it names one. `secrets_dir` holds `postgres-<service>`,
    the passwords of the services' roles. Idempotent. Raises MailError: UNAVAILABLE, CONFLICT, INVALID.
    """
    files = [file for folder in folders for file in read_folder(folder)]
    async with _connection(dsn, password) as connection, _locked(connection):
        if plan:
            pending = choose_pending(files, await _load_applied(connection))
            return [_applied(file) for file in pending]
        await make_roles_and_schemas(connection, secrets_dir)
        async with _as_owner(connection):
            await _make_table(connection)
            pending = choose_pending(files, await _load_applied(connection))
            for file in pending:
                await _apply(connection, file)
        return [_applied(file) for file in pending]


def _applied(file: MigrationFile) -> Applied:
    return Applied(owner=file.owner, name=file.name, checksum=file.checksum)


@contextlib.asynccontextmanager
async def _connection(dsn: str, password: str) -> AsyncIterator[asyncpg.Connection]:
    user = None if "@" in dsn or "user=" in dsn else OWNER
    try:
        connection = await asyncpg.connect(
            dsn,
            user=user,
            password=password,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": "migrate"},
        )
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise MailError(ErrorKind.UNAUTHENTICATED, f"Postgres: {error}") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MailError(ErrorKind.UNAVAILABLE, f"Postgres: {str(error) or type(error).__name__}") from error
    try:
        if connection.get_server_version().major < MINIMUM_VERSION:
            raise MailError(
                ErrorKind.INVALID, f"Postgres {connection.get_server_version().major} is too old: 15 or later"
            )
        yield connection
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        raise MailError(ErrorKind.UNAVAILABLE, f"Postgres: {str(error) or type(error).__name__}") from error
    except asyncpg.PostgresError as error:
        raise MailError(ErrorKind.CONFLICT, f"Postgres: {error}") from error
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


@contextlib.asynccontextmanager
async def _locked(connection: asyncpg.Connection) -> AsyncIterator[None]:
    try:
        await connection.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
        await connection.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})")
        await connection.execute("RESET lock_timeout")
    except asyncpg.LockNotAvailableError as error:
        raise MailError(ErrorKind.UNAVAILABLE, "another migration is under way") from error
    # Closing the connection frees the lock too; that is what happens after a failure.
    yield
    await connection.execute(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})")


@contextlib.asynccontextmanager
async def _as_owner(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await connection.execute(f"SET ROLE {OWNER}")
    yield
    await connection.execute("RESET ROLE")


async def _make_table(connection: asyncpg.Connection) -> None:
    if await connection.fetchval("SELECT to_regclass('postbus.migration') IS NOT NULL"):
        return
    await connection.execute(
        """
        CREATE TABLE postbus.migration (
            owner text NOT NULL,
            name text NOT NULL,
            checksum text NOT NULL,
            applied timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (owner, name)
        )
        """
    )


async def _load_applied(connection: asyncpg.Connection) -> dict[tuple[str, str], str]:
    if not await connection.fetchval("SELECT to_regclass('postbus.migration') IS NOT NULL"):
        return {}
    rows = await connection.fetch("SELECT owner, name, checksum FROM postbus.migration")
    return {(row["owner"], row["name"]): row["checksum"] for row in rows}


async def _apply(connection: asyncpg.Connection, file: MigrationFile) -> None:
    for attempt in range(1, TABLE_LOCK_ATTEMPTS + 1):
        try:
            await _apply_once(connection, file)
        except asyncpg.LockNotAvailableError as error:
            if attempt == TABLE_LOCK_ATTEMPTS:
                raise MailError(ErrorKind.UNAVAILABLE, f"{file}: waited for a lock: {error}") from error
            log.warning("migrate.file.waits", extra={"file": str(file), "attempt": attempt})
        except asyncpg.PostgresError as error:
            raise MailError(ErrorKind.CONFLICT, f"{file}{_place(file, error)}: {error}") from error
        else:
            log.info("migrate.file.applied", extra={"file": str(file)})
            return


async def _apply_once(connection: asyncpg.Connection, file: MigrationFile) -> None:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{TABLE_LOCK_TIMEOUT}'")
        await connection.execute(file.sql)
        # A file may have changed these for itself.
        await connection.execute(f"SET LOCAL search_path = pg_catalog; SET LOCAL ROLE {OWNER}")
        await connection.execute(
            "INSERT INTO postbus.migration (owner, name, checksum) VALUES ($1, $2, $3)",
            file.owner,
            file.name,
            file.checksum,
        )


def _place(file: MigrationFile, error: asyncpg.PostgresError) -> str:
    position = getattr(error, "position", None)
    return f" line {file.sql.count(chr(10), 0, int(position)) + 1}" if position else ""


__all__ = ["SERVICE_ROLES", "Applied", "MigrationFile", "MigrationFolder", "choose_pending", "migrate", "read_folder"]
