"""The port of everything that stores or reads message bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from postbus.core.ids import BlobId


class BlobStore(Protocol):
    """Durable bytes. Raises MailError: UNAVAILABLE (away), LIMIT (free space below the reserve), NOT_FOUND."""

    async def put(self, content: bytes) -> BlobId:
        """Stores the octets; durable (file and every new directory fsynced) when it returns."""
        ...

    async def put_file(self, path: Path) -> BlobId:
        """Stores a spooled file of the same file system; the file is consumed."""
        ...

    async def get(self, blob_id: BlobId, start: int = 0, length: int | None = None) -> bytes:
        """`length` octets from `start`, or all of them."""
        ...

    async def get_many(self, blob_ids: Sequence[BlobId]) -> list[bytes]:
        """Whole blobs in the order asked for, in one thread job."""
        ...

    async def check_writable(self) -> None:
        """Raises MailError when a put would fail now (readiness, `452` at MAIL)."""
        ...
