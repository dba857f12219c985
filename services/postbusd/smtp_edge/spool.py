"""A message while it comes in: in memory up to a limit, then in a file of the service's own folder."""

import asyncio
import contextlib
import mmap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from postbus.core.errors import ErrorKind, MailError

WRITE_OCTETS = 1024 * 1024
"""Pieces in which a spooled file is written, off the loop."""
_SUFFIX = ".spool"


class Spool:
    """Takes chunks in order; afterwards `content` or `path` holds the message. `discard` must be called at last."""

    def __init__(self, path: Path, memory_octets: int) -> None:
        """`path` is made only when more than `memory_octets` come."""
        self.octets = 0
        self._path = path.with_suffix(_SUFFIX)
        self._memory_octets = memory_octets
        self._chunks: list[bytes] = []
        self._held = 0
        self._file: BinaryIO | None = None

    @property
    def path(self) -> Path | None:
        """The file; None: all in memory."""
        return self._path if self._file is not None else None

    async def write(self, chunk: bytes) -> None:
        """Takes a chunk. Raises MailError: LIMIT when the disk takes no more."""
        self._chunks.append(chunk)
        self.octets += len(chunk)
        self._held += len(chunk)
        if self._held >= (self._memory_octets if self._file is None else WRITE_OCTETS):
            await self._flush()

    async def finish(self) -> None:
        """No more chunks come."""
        if self._file is not None:
            await self._flush()

    def content(self) -> bytes:
        """The message, when it is in memory."""
        if len(self._chunks) != 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0]

    @contextlib.contextmanager
    def mapped(self) -> Iterator[mmap.mmap]:
        """The file's octets without reading them in; for threads."""
        with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped

    def discard(self) -> None:
        """Removes what is left; a consumed file is gone already."""
        self._chunks.clear()
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

    async def _flush(self) -> None:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        try:
            await asyncio.to_thread(self._append, data)
        except OSError as error:
            raise MailError(ErrorKind.LIMIT, f"spool: {error.strerror}") from error

    def _append(self, data: bytes) -> None:
        if self._file is None:
            self._file = self._path.open("xb", buffering=0)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]


def remove_leftovers(folder: Path, older_than_seconds: float) -> int:
    """Removes files of processes that died while receiving: nobody was told 250 for them."""
    limit = time.time() - older_than_seconds
    removed = 0
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < limit:
                path.unlink()
                removed += 1
    return removed
