"""Blobs in a local folder: `root/YYYYMMDD/ab/<sha256>`.

A put is durable when it returns: the file is written beside its place and fdatasynced, renamed, and its folder fsynced,
also when the blob exists already (its folder entry may be of a put that never finished, architecture §4); the folders
above are fsynced before a store's first put into a folder returns. Refuses to write into the last `reserve_octets` of
the file system: a full disk must not stop the database. Reads and writes run in a few threads; puts that wait for one
are written together by one of them, so that the folders' fsync is shared.
"""

import asyncio
import contextlib
import errno
import functools
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias, TypeVar

from postbus.blobs.ids import check_blob_id, format_blob_id
from postbus.core.clock import Clock, SystemClock
from postbus.core.errors import LATER, ErrorKind, MailError
from postbus.core.ids import BlobId

READ_THREADS = 4
WRITE_THREADS = 4
MAX_BATCH_PUTS = 64
COPY_OCTETS = 1 << 20
INCOMING = "incoming"
"""Folder of unfinished files, on the same file system; a crash leaves them there."""
STALE_SECONDS = 86_400
"""An unfinished file this old belongs to nobody."""
MAX_DURABLE_FOLDERS = 4096
"""Remembered at once; a generation has 256."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Result = TypeVar("Result")
_Put: TypeAlias = tuple[bytes, asyncio.Future[BlobId]]
_Outcome: TypeAlias = BlobId | BaseException


def disk_full() -> MailError:
    """What every writer gets below the reserve."""
    return MailError(ErrorKind.LIMIT, "free disk below the reserve", LATER)


class LocalBlobStore:
    """A folder of blobs; several processes may share it."""

    def __init__(self, root: Path, reserve_octets: int, clock: Clock | None = None) -> None:
        """`root` must exist; nothing is touched before the first call."""
        self._root = root
        self._reserve_octets = reserve_octets
        self._clock = clock or SystemClock()
        self._readers = ThreadPoolExecutor(READ_THREADS, "blob-read")
        self._writers = ThreadPoolExecutor(WRITE_THREADS, "blob-write")
        self._free_writers = WRITE_THREADS
        self._waiting: list[_Put] = []
        self._prepared = False
        self._durable: set[Path] = set()
        """Innermost folders whose entries on the way to the root are on the disk."""

    async def put(self, content: bytes) -> BlobId:
        """Stores the octets, together with other waiting puts."""
        future: asyncio.Future[BlobId] = asyncio.get_running_loop().create_future()
        self._waiting.append((content, future))
        self._start_writer()
        return await future

    async def put_file(self, path: Path) -> BlobId:
        """Stores a file, renamed where it lies on the same file system, else copied; the file is consumed."""
        return await self._run(self._writers, lambda: self._put_file(path))

    async def get(self, blob_id: BlobId, start: int = 0, length: int | None = None) -> bytes:
        """The octets asked for, fewer at the end of the blob."""
        path = self._path(check_blob_id(blob_id))
        return await self._run(self._readers, lambda: _read(path, start, length))

    async def get_many(self, blob_ids: Sequence[BlobId]) -> list[bytes]:
        """Whole blobs in the order asked for, in one thread job."""
        paths = [self._path(check_blob_id(blob_id)) for blob_id in blob_ids]
        return await self._run(self._readers, lambda: [_read(path, 0, None) for path in paths])

    async def check_writable(self) -> None:
        """Raises MailError when a put would fail now."""
        await self._run(self._readers, self._check_writable)

    def close(self) -> None:
        """Ends the threads after what they do now."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._writers.shutdown(wait=False)

    def _start_writer(self) -> None:
        if self._free_writers and self._waiting:
            batch = self._waiting[:MAX_BATCH_PUTS]
            del self._waiting[:MAX_BATCH_PUTS]
            self._free_writers -= 1
            contents = [content for content, _ in batch]
            job = asyncio.get_running_loop().run_in_executor(self._writers, self._put_all, contents)
            job.add_done_callback(functools.partial(self._finish_batch, batch))

    def _finish_batch(self, batch: list[_Put], job: asyncio.Future[list[_Outcome]]) -> None:
        self._free_writers += 1
        failure = asyncio.CancelledError() if job.cancelled() else job.exception()
        outcomes = [failure] * len(batch) if failure is not None else job.result()
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():  # its caller went away
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._start_writer()

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        with _mail_errors():
            return await asyncio.get_running_loop().run_in_executor(executor, work)

    # From here on everything runs in threads.

    def _put_all(self, contents: Sequence[bytes]) -> list[_Outcome]:
        """Each fails alone; the folders are fsynced once, after all files are in place."""
        try:
            with _mail_errors():
                self._check_space()
                self._prepare_once()
                folders: dict[Path, None] = {}
                outcomes = [self._put_one(content, folders) for content in contents]
                self._sync_folders(folders)
                return outcomes
        except MailError as error:
            return [error] * len(contents)

    def _put_one(self, content: bytes, folders: dict[Path, None]) -> _Outcome:
        try:
            with _mail_errors():
                blob_id = format_blob_id(self._clock.now_ms(), hashlib.sha256(content).hexdigest())
                path = self._path(blob_id)
                folders.update(dict.fromkeys(self._make_folders(path)))
                with self._forgets_lost_folder(path):
                    self._write(content, path)
                return blob_id
        except MailError as error:
            return error

    def _prepare_once(self) -> None:
        """Makes the folder of unfinished files; removes those that a crash left long ago."""
        if self._prepared:
            return
        incoming = self._root / INCOMING
        incoming.mkdir(mode=0o700, exist_ok=True)
        self._prepared = True
        for path in incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - STALE_SECONDS:
                    path.unlink()

    def _put_file(self, source: Path) -> BlobId:
        self._check_space()
        self._prepare_once()
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fdatasync(file.fileno())
        blob_id = format_blob_id(self._clock.now_ms(), digest)
        path = self._path(blob_id)
        folders = self._make_folders(path)
        with self._forgets_lost_folder(path):
            if path.exists():
                _sync_file(path)
                source.unlink()
            else:
                self._take(source, path)
        self._sync_folders(folders)
        return blob_id

    def _take(self, source: Path, path: Path) -> None:
        try:
            source.rename(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            temporary = self._new_temporary()
            with source.open("rb") as reader, self._written(temporary, path) as writer:
                shutil.copyfileobj(reader, writer, COPY_OCTETS)
            source.unlink()

    def _write(self, content: bytes, path: Path) -> None:
        if path.exists():
            # Perhaps of a put that is not durable yet: we answer for it as well.
            _sync_file(path)
            return
        with self._written(self._new_temporary(), path) as file:
            file.write(content)

    @contextlib.contextmanager
    def _written(self, temporary: Path, path: Path) -> "Iterator[_Writer]":
        """A new file that gets its name when it is on the disk."""
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield _Writer(descriptor)
            os.fdatasync(descriptor)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def _path(self, blob_id: BlobId) -> Path:
        day, _, digest = blob_id.partition("-")
        return self._root / day / digest[:2] / digest

    def _new_temporary(self) -> Path:
        return self._root / INCOMING / os.urandom(16).hex()

    def _make_folders(self, path: Path) -> list[Path]:
        """Makes what is missing; every folder whose entries must be durable before the put may answer.

        All of them the first time, made by us or not: another process may have made one and not have synced it yet.
        Later the innermost alone, for nobody removes a folder of today's generation.
        """
        if path.parent in self._durable:
            return [path.parent]
        path.parent.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return [path.parent, path.parent.parent, self._root]

    def _sync_folders(self, folders: "Sequence[Path] | dict[Path, None]") -> None:
        """The innermost first; those whose way to the root is durable then are remembered."""
        for folder in sorted(folders, key=lambda path: -len(path.parts)):
            _sync_folder(folder)
        if len(self._durable) > MAX_DURABLE_FOLDERS:
            self._durable.clear()
        innermost = len(self._root.parts) + 2
        self._durable.update(folder for folder in folders if len(folder.parts) == innermost)

    @contextlib.contextmanager
    def _forgets_lost_folder(self, path: Path) -> Iterator[None]:
        """Somebody removed it all the same: the next put makes it again."""
        try:
            yield
        except FileNotFoundError:
            self._durable.discard(path.parent)
            self._prepared = False
            raise

    def _check_space(self) -> None:
        status = os.statvfs(self._root)
        if status.f_bavail * status.f_frsize < self._reserve_octets:
            raise disk_full()

    def _check_writable(self) -> None:
        self._check_space()
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise MailError(ErrorKind.UNAVAILABLE, "blob folder is not writable")


class _Writer:
    """Writes whole buffers to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, content: bytes) -> int:
        view = memoryview(content)
        while view:
            view = view[os.write(self._descriptor, view) :]
        return len(content)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, start: int, length: int | None) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        path.parent.parent.parent.stat()  # the root itself gone is another matter: OSError
        raise MailError(ErrorKind.NOT_FOUND, f"blob {path.name} is not there") from None
    try:
        wanted = max(os.fstat(descriptor).st_size - start, 0)
        wanted = wanted if length is None else min(wanted, length)
        pieces = []
        while wanted > 0:
            piece = os.pread(descriptor, wanted, start)
            if not piece:
                break
            pieces.append(piece)
            start, wanted = start + len(piece), wanted - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _mail_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full() from error
        raise MailError(ErrorKind.UNAVAILABLE, f"blob folder: {os.strerror(error.errno or 0)}") from error
