"""What every BlobStore must do: run on the fake and on the real stores.

A subclass gives the fixtures `store` and `today` (the generation day of its clock, YYYYMMDD).
"""

import asyncio
import hashlib
from pathlib import Path

import pytest

from postbus.blobs.ports import BlobStore
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import BlobId


class BlobStoreContract:
    """The rules of `postbus.blobs.ports`."""

    async def test_a_blob_is_named_by_generation_day_and_content(self, store: BlobStore, today: str) -> None:
        """BlobId."""
        blob_id = await store.put(b"octets")
        assert blob_id == f"{today}-{hashlib.sha256(b'octets').hexdigest()}"
        assert await store.get(blob_id) == b"octets"

    async def test_putting_the_same_octets_again_gives_the_same_id(self, store: BlobStore) -> None:
        """Idempotent."""
        assert await store.put(b"same") == await store.put(b"same")

    async def test_ranges_end_with_the_blob(self, store: BlobStore) -> None:
        """`start` and `length`."""
        blob_id = await store.put(b"0123456789")
        assert await store.get(blob_id, 3, 4) == b"3456"
        assert await store.get(blob_id, 8, 100) == b"89"
        assert await store.get(blob_id, 8) == b"89"
        assert await store.get(blob_id, 20, 5) == b""

    async def test_an_empty_blob_is_a_blob(self, store: BlobStore) -> None:
        """No octets."""
        assert await store.get(await store.put(b"")) == b""

    async def test_many_come_in_the_order_asked_for(self, store: BlobStore) -> None:
        """get_many."""
        names = [await store.put(bytes([number]) * 10) for number in range(5)]
        assert await store.get_many([names[3], names[0], names[3]]) == [b"\3" * 10, b"\0" * 10, b"\3" * 10]

    async def test_a_spooled_file_is_consumed(self, store: BlobStore, tmp_path: Path) -> None:
        """put_file."""
        spool = tmp_path / "spooled"
        spool.write_bytes(b"x" * 100_000)
        blob_id = await store.put_file(spool)
        assert not spool.exists()
        assert await store.get(blob_id) == b"x" * 100_000
        spool.write_bytes(b"x" * 100_000)
        assert await store.put_file(spool) == blob_id
        assert not spool.exists()

    async def test_a_missing_blob_is_not_found(self, store: BlobStore) -> None:
        """NOT_FOUND, alone and among others."""
        missing = BlobId("20200101-" + "0" * 64)
        here = await store.put(b"here")
        for attempt in (store.get(missing), store.get_many([here, missing])):
            with pytest.raises(MailError) as caught:
                await attempt
            assert caught.value.kind is ErrorKind.NOT_FOUND

    @pytest.mark.parametrize("name", ["", "../../etc/passwd", "20200101-" + "A" * 64, "20200101-" + "0" * 64 + "\n"])
    async def test_a_malformed_id_reaches_no_path(self, store: BlobStore, name: str) -> None:
        """INVALID."""
        with pytest.raises(MailError) as caught:
            await store.get(BlobId(name))
        assert caught.value.kind is ErrorKind.INVALID

    async def test_many_puts_at_once_all_answer(self, store: BlobStore) -> None:
        """Concurrency."""
        contents = [f"number {number % 150}".encode() for number in range(200)]
        names = await asyncio.gather(*(store.put(content) for content in contents))
        assert await store.get_many(names) == contents

    async def test_a_healthy_store_is_writable(self, store: BlobStore) -> None:
        """check_writable."""
        await store.check_writable()
