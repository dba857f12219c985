"""Whether the database of an installation is a copy that was put back: then it gets a new restore id.

A copy of the whole data folder looks like the folder itself: who puts one back says so (`postbus up --restored`). Where
only Postgres's files were put back, the installation sees it by itself: every start leaves the same new mark beside the
data folder's other files and within Postgres's.
"""

import contextlib
import os
import secrets
import time
from pathlib import Path

from postbus.runtime.embedded import EmbeddedPostgres
from postbus.runtime.layout import Layout, write_private

RESTORE_FILE = "restore-id"
MARKS_FILE = "postgres-marks"
"""In the data folder: the mark that Postgres's files bear, and while a start changes it, the one before."""
MARK_FILE = "postbus-mark"
"""Among Postgres's files, and its user's like all of them: he makes backups."""


def read_restore_id(layout: Layout) -> str:
    """The id of the last restore; empty: there was none."""
    return _read(layout.root / RESTORE_FILE)


def settle_restore(layout: Layout, postgres: EmbeddedPostgres, told: bool) -> bool:
    """Whether this start follows a restore, by what we were told or by the marks; then there is a new restore id.

    Called before Postgres starts. Killed anywhere in it, the next start comes to the same, or lifts once more, which
    harms nobody. Raises OSError.
    """
    marks, mark = layout.root / MARKS_FILE, postgres.data / MARK_FILE
    known, found = _read(marks).split(), _read(mark)
    restored = told or (bool(known) and found not in known)
    if restored:
        restore_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        _write(layout.root / RESTORE_FILE, restore_id)
    new = secrets.token_hex(8)
    _write(marks, f"{found} {new}")
    _write(mark, new)
    owner = postgres.data.stat()
    os.chown(mark, owner.st_uid, owner.st_gid)
    _write(marks, new)
    return restored


def _write(path: Path, text: str) -> None:
    write_private(path, f"{text.strip()}\n".encode("ascii"))


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="ascii").strip()
    return ""
