"""Roles and schemas of the database: who may log in, who owns what (architecture §2, §6).

`postbus_owner` owns every schema and function; each service logs in with a role of its own and gets what the migration
files grant it. Passwords travel as SCRAM-SHA-256 verifiers (RFC 5802), so that no server log ever holds one. Functions
are executable by nobody unless granted: services get EXECUTE, not table rights.
"""

import base64
import hashlib
import hmac
import os
from pathlib import Path

import asyncpg

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.roster import SERVICES

OWNER = "postbus_owner"
SCRAM_ITERATIONS = 4096  # Postgres's own default; the passwords are random, 256 bits


def role_of(service: str) -> str:
    """The role that a service logs in with."""
    return f"postbus_{service.replace('-', '_')}"


SERVICE_ROLES = {service: role_of(service) for service in SERVICES}

SCHEMA_USERS = {
    "directory": ("directory",),
    "delivery": ("delivery",),
    "filter": ("filter",),
    "dns": ("dns-provisioner",),
    "admin": ("admin-api",),
    "mailstore": ("directory", "delivery", "imap-gateway", "indexer", "filter"),
}
"""Schema → services that may name what is in it."""


def scram_verifier(password: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> str:
    """What Postgres stores for a password of printable ASCII (RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode("ascii") for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def read_password(secrets_dir: Path, service: str) -> str:
    """The password of a service's role. Raises MailError: INVALID names the file."""
    path = secrets_dir / f"postgres-{service}"
    try:
        password = path.read_bytes().strip().decode("ascii")
    except OSError as error:
        raise MailError(ErrorKind.INVALID, f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MailError(ErrorKind.INVALID, f"{path}: must be printable ASCII") from error
    if not password or not password.isprintable():
        raise MailError(ErrorKind.INVALID, f"{path}: must be printable ASCII, not empty")
    return password


async def make_roles_and_schemas(connection: asyncpg.Connection, secrets_dir: Path) -> None:
    """Makes what is missing and sets the passwords of now. Idempotent; the caller holds the migrator's lock."""
    passwords = {service: read_password(secrets_dir, service) for service in SERVICES}
    async with connection.transaction():
        await _make_owner(connection)
        for service, password in passwords.items():
            await _make_role(connection, role_of(service), password)
        await _make_schemas(connection)


async def _make_owner(connection: asyncpg.Connection) -> None:
    """Connected as somebody else than the owner (a managed Postgres's administrator), the owner is made first."""
    if await connection.fetchval("SELECT current_user = $1", OWNER):
        return
    if not await _role_exists(connection, OWNER):
        await connection.execute(f"CREATE ROLE {OWNER} NOLOGIN")
    if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        await connection.execute(f"GRANT {OWNER} TO CURRENT_USER")
    await connection.execute(f"GRANT CREATE, CONNECT ON DATABASE {await _database(connection)} TO {OWNER}")


async def _role_exists(connection: asyncpg.Connection, role: str) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role))


async def _database(connection: asyncpg.Connection) -> str:
    return str(await connection.fetchval("SELECT quote_ident(current_database())"))


async def _make_role(connection: asyncpg.Connection, role: str, password: str) -> None:
    verb = "ALTER" if await _role_exists(connection, role) else "CREATE"
    verifier = scram_verifier(password, os.urandom(16))
    await connection.execute(f"{verb} ROLE {role} LOGIN PASSWORD '{verifier}'")
    await connection.execute(f"GRANT CONNECT ON DATABASE {await _database(connection)} TO {role}")


async def _make_schemas(connection: asyncpg.Connection) -> None:
    await connection.execute(f"SET LOCAL ROLE {OWNER}")
    await connection.execute("CREATE SCHEMA IF NOT EXISTS postbus")
    await connection.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    for schema, services in SCHEMA_USERS.items():
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        roles = ", ".join(role_of(service) for service in services)
        await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {roles}")
