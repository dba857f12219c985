"""A blob store in memory: the fake of `postbus.blobs.ports.BlobStore`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from postbus.blobs.ids import check_blob_id, format_blob_id
from postbus.core.clock import Clock, SystemClock
from postbus.core.errors import LATER, ErrorKind, MailError
from postbus.core.ids import BlobId


class MemoryBlobStore:
    """Keeps octets by id; `fail_with` makes every call fail, `puts_fail_with` only the writing ones."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Empty and healthy."""
        self._clock = clock or SystemClock()
        self.blobs: dict[BlobId, bytes] = {}
        self.fail_with: MailError | None = None
        self.puts_fail_with: MailError | None = None

    def fill_disk(self) -> None:
        """From now on puts fail as on a full disk."""
        self.puts_fail_with = MailError(ErrorKind.LIMIT, "free disk below the reserve", LATER)

    async def put(self, content: bytes) -> BlobId:
        """Keeps the octets under today's generation."""
        await self.check_writable()
        blob_id = format_blob_id(self._clock.now_ms(), hashlib.sha256(content).hexdigest())
        self.blobs[blob_id] = bytes(content)
        return blob_id

    async def put_file(self, path: Path) -> BlobId:
        """Keeps the file's octets and removes the file."""
        blob_id = await self.put(path.read_bytes())  # noqa: ASYNC240  # a fake: nothing else runs
        path.unlink()  # noqa: ASYNC240
        return blob_id

    async def get(self, blob_id: BlobId, start: int = 0, length: int | None = None) -> bytes:
        """The octets asked for, fewer at the end of the blob."""
        self._check()
        content = self._find(blob_id)
        return content[start:] if length is None else content[start : start + length]

    async def get_many(self, blob_ids: Sequence[BlobId]) -> list[bytes]:
        """Whole blobs in the order asked for."""
        self._check()
        return [self._find(blob_id) for blob_id in blob_ids]

    async def check_writable(self) -> None:
        """Raises what a put would raise."""
        self._check()
        if self.puts_fail_with is not None:
            raise self.puts_fail_with

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def _find(self, blob_id: BlobId) -> bytes:
        check_blob_id(blob_id)
        try:
            return self.blobs[blob_id]
        except KeyError:
            raise MailError(ErrorKind.NOT_FOUND, f"blob {blob_id} is not there") from None
