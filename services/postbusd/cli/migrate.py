"""`postbus migrate [--plan]`: brings the database and the bus up to what this version needs."""

import argparse
import asyncio
import sys
from pathlib import Path

import postbus.mailstore
import postbusd
from postbus.core.errors import MailError
from postbus.runtime.migrate import Applied, MigrationFolder, migrate
from postbus.runtime.settings import RuntimeSettings, SettingsError, load_settings

OWNERS = {
    "directory": "directory",
    "delivery": "delivery",
    "filter": "filter",
    "dns": "dns_provisioner",
    "admin": "admin_api",
}
"""Schema → folder of the service that owns it."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the command."""
    parser = subparsers.add_parser("migrate", help="bring the database up to date", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="only tell what would be applied")
    parser.set_defaults(handler=run_migrate)


def migration_folders() -> list[MigrationFolder]:
    """All folders that there are: the mail store first, because services' functions may use it."""
    places = [("mailstore", Path(postbus.mailstore.__path__[0]))]
    places += [(owner, Path(postbusd.__path__[0]) / service) for owner, service in OWNERS.items()]
    return [
        MigrationFolder(owner=owner, path=path / "migrations")
        for owner, path in places
        if (path / "migrations").is_dir()
    ]


def run_migrate(args: argparse.Namespace) -> int:
    """Applies what is missing, or tells it."""
    try:
        settings = load_settings(RuntimeSettings, "runtime")
        applied = asyncio.run(migrate_all(settings, plan=args.plan))
    except (MailError, SettingsError) as error:
        print(f"postbus migrate: {error.detail if isinstance(error, MailError) else error}", file=sys.stderr)
        return 1
    for file in applied:
        print(f"{'would apply' if args.plan else 'applied'} {file}")
    if not applied:
        print("up to date")
    return 0


async def migrate_all(settings: RuntimeSettings, plan: bool = False) -> list[Applied]:
    """Database, then streams of the bus. Raises MailError."""
    secrets_dir = Path(settings.secrets_dir)
    applied = await migrate(
        settings.postgres_dsn, read_secret(secrets_dir, "postgres-owner"), migration_folders(), secrets_dir, plan
    )
    if not plan:
        await ensure_bus(settings)
    return applied


def read_secret(secrets_dir: Path, name: str) -> str:
    """A secret file's text. Raises MailError."""
    from postbus.core.errors import ErrorKind

    try:
        return (secrets_dir / name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MailError(ErrorKind.INVALID, f"{secrets_dir / name}: {error.strerror}") from error


async def ensure_bus(settings: RuntimeSettings) -> None:
    """Streams and consumers. Raises MailError."""
    import nats.errors

    from postbus.bus.streams import ensure_streams
    from postbus.core.errors import ErrorKind

    password = read_secret(Path(settings.secrets_dir), "nats-admin")
    try:
        await ensure_streams(settings.nats_url, "admin", password, settings.nats_replicas)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise MailError(ErrorKind.UNAVAILABLE, f"NATS: {str(error) or type(error).__name__}") from error
