"""A message while it comes in: in memory up to a limit, then in a file of the service's own folder.

The limit is that of one message, or that of all together: when many come at a time, they go to files earlier.
"""

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
SMALL_WRITE_OCTETS = 16 * 1024
"""Pieces in which a file is written while memory is short."""
_SUFFIX = ".spool"


class SpoolMemory:
    """What all messages that are coming in hold in memory, octets."""

    def __init__(self, max_octets: int) -> None:
        self.held = 0
        self._max_octets = max_octets

    @property
    def is_short(self) -> bool:
        """Whether messages have to go to their files."""
        return self.held > self._max_octets


class Spool:
    """Takes chunks in order; afterwards `content` or `path` holds the message. `discard` must be called at last."""

    def __init__(self, path: Path, memory_octets: int, memory: SpoolMemory) -> None:
        """`path` is made only when more than `memory_octets` come, or when `memory` is short."""
        self.octets = 0
        self._path = path.with_suffix(_SUFFIX)
        self._memory_octets = memory_octets
        self._memory = memory
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
        self._memory.held += len(chunk)
        limit = self._memory_octets if self._file is None else WRITE_OCTETS
        if self._held >= (min(limit, SMALL_WRITE_OCTETS) if self._memory.is_short else limit):
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
        self._forget_chunks()
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

    async def _flush(self) -> None:
        data = b"".join(self._chunks)
        self._forget_chunks()
        try:
            await asyncio.to_thread(self._append, data)
        except OSError as error:
            raise MailError(ErrorKind.LIMIT, f"spool: {error.strerror}") from error

    def _forget_chunks(self) -> None:
        self._chunks.clear()
        self._memory.held -= self._held
        self._held = 0

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
