"""The queue: batches, deletions, failures, a lost index."""

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.events import IndexWanted
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.core.trace import new_trace
from postbus.mailstore.values import Flag, StoreMode, StoreRequest
from postbus.testing.spans import kept_spans
from postbusd.indexer import rebuild, worker
from postbusd.indexer.metrics import Metrics
from postbusd.indexer.rebuild import Rebuild

if TYPE_CHECKING:
    from tests.indexer.conftest import World

ALICE = MailboxId("0190a000-0000-7000-8000-000000000001")
BOB = MailboxId("0190a000-0000-7000-8000-000000000002")


def message(word: str) -> bytes:
    return f"From: a@b.example\r\nSubject: {word}\r\n\r\nText with {word} in it.\r\n".encode()


async def rows(world: "World") -> int:
    return len(await world.store.pending_of((ALICE,), 1_000))


async def test_batches_until_the_queue_is_empty(world: "World") -> None:
    ids = [await world.deliver(message(f"word{number}")) for number in range(25)]
    assert await world.worker.index_due() == 10
    await world.index_all()
    assert await rows(world) == 0
    assert await world.index.count_documents() == 25
    assert await world.find("word7") == [ids[7]]


async def test_indexing_is_a_span_of_the_message_once_its_commit_is_durable(world: "World") -> None:
    """Promise 8: one commit for a batch, a span for each message that has a trace."""
    traces = [new_trace() for _ in range(2)]
    for number, trace in enumerate(traces):
        await world.deliver(message(f"word{number}"), traceparent=trace.format())
    await world.deliver(message("untraced"))
    with kept_spans() as kept:
        await world.index_all()
    assert [each.parent for each in kept.all_named("indexer.index", batch_messages=3)] == traces
    assert {each.context.trace_id for each in kept.spans} == {trace.trace_id for trace in traces}


async def test_a_message_enqueued_twice_is_one_document(world: "World") -> None:
    await world.deliver(message("once"))
    pending = await world.store.pending(10)
    await world.worker.index_due()
    documents = (await world.extractor.extract(pending))[0].document
    assert documents is not None
    await world.index.apply([documents], [])
    assert await world.index.count_documents() == 1


async def test_deleted_messages_leave_the_index(world: "World") -> None:
    wanted = await world.deliver(message("secret"))
    await world.index_all()
    assert await world.find("secret") == [wanted]
    inbox = (await world.store.list_folders(ALICE))[0]
    uids = (1,)
    await world.store.store_flags(
        StoreRequest(mailbox_id=ALICE, folder_id=inbox.folder_id, uids=uids, mode=StoreMode.ADD, flags=Flag.DELETED)
    )
    await world.store.expunge(ALICE, inbox.folder_id, None)
    await world.index_all()
    assert await world.index.count_documents() == 0
    assert await world.find("secret") == []
    assert world.count("removed") == 1


async def test_a_missing_blob_does_not_stop_the_queue(world: "World") -> None:
    broken = await world.deliver(message("broken"))
    world.blobs.blobs.clear()
    good = await world.deliver(message("good"))
    await world.worker.index_due()
    assert await world.find("good") == [good]
    assert await rows(world) == 1
    for _ in range(4):
        world.clock.now += 10 * 3600 * 1000
        await world.worker.index_due()
    assert await rows(world) == 0
    assert world.count("failed") == 4
    assert world.count("partial") == 1
    assert set(await world.find("text with")) == {good, broken}


async def test_an_absent_blob_store_is_no_failure_of_the_message(world: "World") -> None:
    await world.deliver(message("later"))
    world.blobs.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")
    with pytest.raises(MailError):
        await world.worker.index_due()
    world.blobs.fail_with = None
    assert (await world.store.pending(1))[0].attempt == 0
    assert await world.worker.index_due() == 1


async def test_an_unreadable_structure_is_made_anew(world: "World") -> None:
    wanted = await world.deliver(message("structure"))
    row = (await world.store.pending(1))[0]
    assert row.message is not None
    damaged = msgspec.structs.replace(row, message=msgspec.structs.replace(row.message, structure=b"\xc1"))
    document = (await world.extractor.extract([damaged]))[0].document
    assert document is not None
    await world.index.apply([document], [])
    assert await world.find("structure") == [wanted]


async def test_large_messages_are_read_without_their_attachments(world: "World") -> None:
    head = b"Subject: big\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nneedle here\r\n"
    attachment = b"--b\r\nContent-Type: application/zip; name=stack.zip\r\n\r\n" + b"hay " * 300_000
    wanted = await world.deliver(head + attachment + b"\r\n--b\r\n\r\nanother pin\r\n--b--\r\n")
    reads: list[int] = []
    get = world.blobs.get

    async def counted(blob_id: object, start: int = 0, length: int | None = None) -> bytes:
        reads.append(length or 0)
        return await get(blob_id, start, length)  # type: ignore[arg-type]

    world.blobs.get = counted  # type: ignore[method-assign]
    await world.index_all()
    assert sum(reads) < 1_000
    for value in ("needle", "another pin", "stack.zip", "big"):
        assert await world.find(value) == [wanted], value
    assert await world.find("hay") == []


async def test_the_loop_indexes_when_woken_and_stops(world: "World") -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(world.worker.run())
        wanted = await world.deliver(message("woken"))
        await world.worker.wake()
        while await rows(world):
            await asyncio.sleep(0)
        assert await world.find("woken") == [wanted]
        await world.worker.stop()


async def test_steady_mail_is_gathered_until_a_batch_is_full(world: "World") -> None:
    world.settings = msgspec.structs.replace(world.settings, commit_seconds=3600.0)
    await world.index.close()
    world.open()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.worker.run())
        first = await world.deliver(message("first"))
        await world.worker.wake(IndexWanted(count=1))
        while await rows(world):
            await asyncio.sleep(0)
        second = await world.deliver(message("second"))
        await world.worker.wake(IndexWanted(count=1))
        for _ in range(200):
            await asyncio.sleep(0)
        assert await rows(world), "a commit for one message, right after the last one"
        assert await world.find("second") == [second], "what waits is found all the same"
        await world.worker.wake(IndexWanted(count=world.settings.batch_messages - 1))
        while await rows(world):
            await asyncio.sleep(0)
        assert await world.find("first") == [first]
        await world.worker.stop()


async def test_the_index_survives_closing_and_resting(world: "World") -> None:
    wanted = await world.deliver(message("kept"))
    await world.index_all()
    await world.index.rest()
    second = await world.deliver(message("kept"))
    await world.index_all()
    await world.index.close()
    world.open()
    assert not world.index.record.state.incomplete
    assert set(await world.find("kept")) == {wanted, second}


@pytest.mark.parametrize("damage", ["meta", "lost", "version", "segment", "all"])
async def test_a_broken_index_is_made_anew(world: "World", damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """And filled again, from the queue as always."""
    caplog.set_level("INFO")
    old = await world.deliver(message("old"))
    await world.index_all()
    await world.index.close()
    files = world.folder / "index"
    if damage == "meta":
        (files / "meta.json").write_text("{ nonsense")
    elif damage == "lost":
        for file in files.iterdir():
            file.unlink()
    elif damage == "version":
        (world.folder / "state.json").write_text(json.dumps({"schema": 0, "incomplete": False}))
    elif damage == "all":
        shutil.rmtree(files)
        (world.folder / "state.json").unlink()
    else:
        for file in files.glob("*.term"):
            file.write_bytes(b"x")
    world.open()
    assert world.index.record.state.incomplete
    assert incomplete(world) == 1
    assert (world.folder / "index.old").exists() is (damage != "all")
    new = await world.deliver(message("new"))
    assert await world.find("old") == [old]
    assert await world.find("new") == [new]
    await world.index_all()
    assert set(await world.find("text with")) == {old, new}
    assert await world.index.count_documents() == 2
    assert incomplete(world) == 0
    assert "indexer.rebuild.done" in caplog.messages
    await world.index.close()
    world.open()
    assert not world.index.record.state.incomplete


def incomplete(world: "World") -> float | None:
    return world.registry.get_sample_value("postbus_indexer_index_incomplete_state")


async def lose_index(world: "World") -> None:
    await world.index_all()
    await world.index.close()
    shutil.rmtree(world.folder / "index")
    world.open()


async def test_a_rebuild_answers_for_the_mailboxes_that_it_has_passed(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partial answer is never given; a restart goes on where the rebuild was."""
    monkeypatch.setattr(rebuild, "PIECE_MESSAGES", 4)
    alice = {await world.deliver(message("word")) for _ in range(6)}
    bob = {await world.deliver(message("word"), BOB) for _ in range(6)}
    await lose_index(world)
    with pytest.raises(MailError, match="being made anew") as caught:
        await world.find("word")
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    step = Rebuild(
        queue=world.store, record=world.index.record, clock=world.clock, metrics=Metrics(CollectorRegistry())
    )
    await step.step()
    assert set(await world.find("word")) == alice
    with pytest.raises(MailError, match="being made anew"):
        await world.find("word", mailbox=BOB)
    await world.index.close()
    world.open()
    assert world.index.record.state.messages == 8
    assert set(await world.find("word")) == alice
    async with asyncio.TaskGroup() as group:
        group.create_task(world.worker.run())
        while world.index.record.state.incomplete:
            await asyncio.sleep(0)
        await world.worker.stop()
    assert set(await world.find("word", mailbox=BOB)) == bob
    assert set(await world.find("word")) == alice


async def test_a_rebuild_waits_for_an_absent_store(world: "World") -> None:
    wanted = await world.deliver(message("word"))
    await lose_index(world)
    world.store.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")
    with pytest.raises(MailError, match="away"):
        await world.find("word")
    assert world.index.record.state.incomplete
    world.store.fail_with = None
    assert await world.find("word") == [wanted]


async def test_a_tail_that_is_too_long_has_no_answer(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_CATCH_UP_BATCHES", 1)
    for _ in range(25):
        await world.deliver(message("word"))
    with pytest.raises(MailError, match="behind"):
        await world.find("word")
    with pytest.raises(MailError, match="behind"):
        await world.find("word")
    assert len(await world.find("word")) == 25
