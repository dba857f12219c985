"""Whether the migrator has something to do: what it would apply, as one hash, kept beside what it was applied to.

The stamp lies in Postgres's data and in NATS's folder, so that a restored or deleted folder brings its own, or none.
"""

import contextlib
import hashlib
from pathlib import Path

import postbus
from postbus.runtime.embedded import EmbeddedNats, EmbeddedPostgres
from postbus.runtime.layout import Layout

STAMP_FILE = "postbus-migrated"
_CODE = ("bus/streams.py", "runtime/migrate.py", "runtime/roles.py")


def wanted_stamp(layout: Layout) -> str:
    """Hash of migration files, the migrator's code, streams, and the passwords that it sets."""
    libs = Path(postbus.__path__[0])
    services = next(
        path for path in (libs.parent / "postbusd", libs.parent.parent / "services/postbusd") if path.is_dir()
    )
    files = [*libs.glob("*/migrations/*.sql"), *services.glob("*/migrations/*.sql"), *(libs / name for name in _CODE)]
    files += layout.secrets.glob("postgres-*")
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.parent.parent.name}/{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_migrated(layout: Layout, postgres: EmbeddedPostgres, nats: EmbeddedNats) -> bool:
    """Whether this very state was applied to this database and these streams."""
    wanted = wanted_stamp(layout)
    return all(_read(folder) == wanted for folder in (postgres.data, nats.folder))


def note_migrated(layout: Layout, postgres: EmbeddedPostgres, nats: EmbeddedNats) -> None:
    """Notes that it was. Raises OSError."""
    for folder in (postgres.data, nats.folder):
        (folder / STAMP_FILE).write_text(wanted_stamp(layout), encoding="ascii")


def _read(folder: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (folder / STAMP_FILE).read_text(encoding="ascii")
    return ""
