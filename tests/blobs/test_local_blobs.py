import asyncio
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postbus.blobs.local import INCOMING, STALE_SECONDS, LocalBlobStore
from postbus.core.errors import LATER, ErrorKind, MailError
from postbus.testing.blobs_contract import BlobStoreContract


class FixedClock:
    def now_ms(self) -> int:
        return 1_795_000_000_000

    def monotonic(self) -> float:
        return 0.0


DAY = "20261118"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return folder


@pytest.fixture
def store(root: Path) -> Iterator[LocalBlobStore]:
    local = LocalBlobStore(root, 0, FixedClock())
    yield local
    local.close()


def place(root: Path, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    return root / DAY / digest[:2] / digest


class Calls:
    """Notes what is synced and renamed, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, Path]] = []
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))
        rename = Path.rename

        def noting(path: Path, target: Path) -> Path:
            self.seen.append(("rename", target))
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", noting)

    def _noting(self, name: str, real):  # type: ignore[no-untyped-def]
        def noting(descriptor: int) -> None:
            self.seen.append((name, Path(f"/proc/self/fd/{descriptor}").readlink()))
            real(descriptor)

        return noting


class TestLocalBlobStore(BlobStoreContract):
    @pytest.fixture
    def today(self) -> str:
        return DAY


async def test_a_put_is_synced_named_and_its_folders_are_synced_in_this_order(
    root: Path, store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    await store.put(b"content")
    path = place(root, b"content")
    assert calls.seen[0][0] == "fdatasync"
    assert calls.seen[0][1].parent == root / INCOMING
    assert calls.seen[1:] == [
        ("rename", path),
        ("fsync", path.parent),
        ("fsync", path.parent.parent),
        ("fsync", root),
    ]


async def test_a_blob_that_exists_is_synced_again(
    root: Path, store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = LocalBlobStore(root, 0, FixedClock())
    await other.put(b"content")
    other.close()
    path = place(root, b"content")
    calls = Calls(monkeypatch)
    await store.put(b"content")
    assert calls.seen == [("fdatasync", path), ("fsync", path.parent), ("fsync", path.parent.parent), ("fsync", root)]
    calls.seen.clear()
    await store.put(b"content")
    assert calls.seen == [("fdatasync", path), ("fsync", path.parent)], "the way to it is on the disk"


async def test_a_spooled_file_is_synced_before_it_gets_its_name(
    root: Path, store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    spool.write_bytes(b"content")
    calls = Calls(monkeypatch)
    await store.put_file(spool)
    path = place(root, b"content")
    assert calls.seen[:3] == [("fdatasync", spool), ("rename", path), ("fsync", path.parent)]


async def test_a_spooled_file_of_another_file_system_is_copied(
    root: Path, store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    spool.write_bytes(b"content" * 1000)
    rename = Path.rename

    def crossing(path: Path, target: Path) -> Path:
        if path == spool:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", crossing)
    blob_id = await store.put_file(spool)
    assert await store.get(blob_id) == b"content" * 1000
    assert not spool.exists()
    assert not list((root / INCOMING).iterdir())


async def test_below_the_reserve_everything_that_writes_says_later(root: Path, tmp_path: Path) -> None:
    full = LocalBlobStore(root, 1 << 60)
    spool = tmp_path / "spool"
    spool.write_bytes(b"x")
    for attempt in (full.put(b"x"), full.put_file(spool), full.check_writable()):
        with pytest.raises(MailError) as caught:
            await attempt
        assert (caught.value.kind, caught.value.retry) == (ErrorKind.LIMIT, LATER)
        assert caught.value.detail == "free disk below the reserve"
    assert spool.exists()
    full.close()


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, ErrorKind.LIMIT), (errno.EIO, ErrorKind.UNAVAILABLE)], ids=["full", "broken"]
)
async def test_a_failing_write_leaves_nothing_behind(
    root: Path, store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch, code: int, kind: ErrorKind
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(MailError) as caught:
        await store.put(b"content")
    assert caught.value.kind is kind
    assert not place(root, b"content").exists()
    assert not list((root / INCOMING).iterdir())


async def test_a_folder_that_cannot_be_synced_fails_the_put(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(MailError) as caught:
        await store.put(b"content")
    assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_a_folder_that_somebody_removed_is_made_and_synced_again(
    root: Path, store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(b"content")
    for folder in (root / DAY, root / INCOMING):
        shutil.rmtree(folder)
    with pytest.raises(MailError) as caught:
        await store.put(b"content")
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    calls = Calls(monkeypatch)
    blob_id = await store.put(b"content")
    assert await store.get(blob_id) == b"content"
    assert calls.seen[-3:] == [("fsync", folder) for folder in (place(root, b"content").parent, root / DAY, root)]


async def test_an_absent_root_is_unavailable_not_an_absent_blob(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path / "gone", 0, FixedClock())
    name = f"{DAY}-{'0' * 64}"
    for attempt in (store.put(b"x"), store.get(name), store.check_writable()):  # type: ignore[arg-type]
        with pytest.raises(MailError) as caught:
            await attempt
        assert caught.value.kind is ErrorKind.UNAVAILABLE
    store.close()


async def test_a_cancelled_put_does_not_disturb_the_others(store: LocalBlobStore) -> None:
    tasks = [asyncio.ensure_future(store.put(bytes([number]))) for number in range(20)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[3], asyncio.CancelledError)
    assert sum(isinstance(result, str) for result in results) == 19


async def test_what_a_crash_left_long_ago_is_swept(root: Path, store: LocalBlobStore) -> None:
    incoming = root / INCOMING
    incoming.mkdir()
    old, young = incoming / "old", incoming / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    past = time.time() - STALE_SECONDS - 60
    os.utime(old, (past, past))
    await store.put(b"content")
    assert [path.name for path in incoming.iterdir()] == ["young"]
