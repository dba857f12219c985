"""Secrets of an installation: random, one file each, mode 600, made once and never changed by a start."""

import secrets
from collections.abc import Iterable
from pathlib import Path

from postbus.core.api_token import new_api_token
from postbus.runtime.layout import make_private, write_private
from postbus.runtime.roster import SERVICES

NATS_ADMIN = "admin"
"""The NATS user that creates streams and consumers: the migrator (architecture §6)."""
POSTGRES_SUPERUSER = "postgres"
POSTGRES_OWNER = "postbus_owner"
"""Owns the database and its schemas; may create roles; used by the migrator alone."""

MASTER_KEY = "master.key"
"""Seals keys at rest: 32 octets as hexadecimal digits."""
ADMIN_TOKEN = "admin-token"  # noqa: S105 (a file's name)


def secret_names() -> tuple[str, ...]:
    """The names of all secret files."""
    accounts = (*(f"postgres-{name}" for name in (*SERVICES, "superuser", "owner")),)
    return (*accounts, *(f"nats-{name}" for name in (*SERVICES, NATS_ADMIN)), MASTER_KEY, ADMIN_TOKEN)


def make_secrets(folder: Path) -> None:
    """Makes what is missing in the secrets folder. Raises OSError, StartError."""
    make_private(folder)
    for name in missing_secrets(folder, secret_names()):
        make_secret(folder, name)


def missing_secrets(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of `names` that have no file yet, or an empty one. Raises OSError."""
    return [name for name in names if not (folder / name).exists() or not (folder / name).stat().st_size]


def make_secret(folder: Path, name: str) -> None:
    """Makes up a secret and writes its file. Raises OSError."""
    write_private(folder / name, _new_secret(name).encode("ascii") + b"\n")


def read_secret(folder: Path, name: str) -> str:
    """A secret's text without its line end. Raises OSError."""
    return (folder / name).read_text(encoding="ascii").strip()


def _new_secret(name: str) -> str:
    if name == ADMIN_TOKEN:
        return new_api_token()
    return secrets.token_hex(32)
