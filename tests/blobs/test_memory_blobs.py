import pytest

from postbus.core.errors import LATER, ErrorKind, MailError
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.blobs_contract import BlobStoreContract


class FixedClock:
    def now_ms(self) -> int:
        return 1_795_000_000_000

    def monotonic(self) -> float:
        return 0.0


class TestMemoryBlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self) -> MemoryBlobStore:
        return MemoryBlobStore(FixedClock())

    @pytest.fixture
    def today(self) -> str:
        return "20261118"


async def test_a_full_disk_refuses_puts_only() -> None:
    store = MemoryBlobStore()
    blob_id = await store.put(b"before")
    store.fill_disk()
    with pytest.raises(MailError) as caught:
        await store.put(b"after")
    assert (caught.value.kind, caught.value.retry) == (ErrorKind.LIMIT, LATER)
    assert await store.get(blob_id) == b"before"
