"""indexer on real Postgres, blobs on disk and a real index: promise 6 while mail flows."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from postbus.blobs.local import LocalBlobStore
from postbus.contracts.indexer import SearchRequest, TextField, TextTerm
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId, MailboxId, new_email_id, new_mailbox_id
from postbus.mailstore.epoch import EpochGuard
from postbus.mailstore.postgres import PostgresMailStore
from postbus.mailstore.prepare import prepare_message
from postbus.mailstore.values import Append, AppendOutcome, SpecialUse
from postbus.mime.scanner import scan_message
from postbus.testing.bus import FakeBus
from postbusd.indexer.app import SPEC, IndexerService
from postbusd.indexer.settings import IndexerSettings


class Context:
    """What a process gives to indexer."""

    service = "indexer"
    instance_id = "test"

    def __init__(self, pool: asyncpg.Pool, blobs: LocalBlobStore, folder: Path) -> None:
        self.clock = SystemClock()
        self.bus = FakeBus()
        self.blobs = blobs
        self.data_dir = folder
        self.registry = CollectorRegistry()
        self.epoch = EpochGuard("", self.clock)
        self.tasks: list[asyncio.Task[None]] = []
        self.checks: dict[str, Callable[[], Awaitable[None]]] = {}
        self._pool = pool

    async def postgres(self) -> asyncpg.Pool:
        return self._pool

    def spawn(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.tasks.append(asyncio.create_task(work(), name=name))

    def add_check(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        self.checks[name] = check


class World:
    """A mailbox that messages are put into, and an indexer over it."""

    def __init__(self, pools: dict[str, asyncpg.Pool], folder: Path) -> None:
        self.directory = PostgresMailStore(pools["directory"])
        self.delivery = PostgresMailStore(pools["delivery"])
        self.pool = pools["indexer"]
        self.queue = PostgresMailStore(self.pool)
        blobs = folder / "blobs"
        blobs.mkdir()
        self.folder = folder / "indexer"
        self.folder.mkdir()
        self.blobs = LocalBlobStore(blobs, 0)
        self.mailbox_id = new_mailbox_id(SystemClock().now_ms())

    async def open(self) -> tuple[IndexerService, Context]:
        context = Context(self.pool, self.blobs, self.folder)
        settings = IndexerSettings(tail_messages=20, gather_seconds=0.01, poll_seconds=0.2)
        return await SPEC.build(context, settings), context  # type: ignore[arg-type, return-value]

    async def deliver(self, word: str) -> EmailId:
        content = f"From: a@b.example\r\nSubject: {word}\r\n\r\nA text with {word} in it.\r\n".encode()
        email_id = new_email_id(SystemClock().now_ms())
        message = prepare_message(
            email_id=email_id,
            blob_id=await self.blobs.put(content),
            prefix=b"X-Prefix: before\r\n",
            scan=scan_message(content),
            internal_date_ms=SystemClock().now_ms(),
        )
        [result] = await self.delivery.append(
            [
                Append(
                    mailbox_id=self.mailbox_id,
                    operation_key=str(uuid.uuid4()),
                    folder=SpecialUse.INBOX,
                    message=message,
                )
            ]
        )
        assert result.outcome is AppendOutcome.STORED
        return email_id

    async def find(self, service: IndexerService, value: str, header: str = "") -> list[EmailId]:
        field = TextField.HEADER if header else TextField.TEXT
        term = TextTerm(field=field, value=value, header_name=header)
        reply = await service.port.search(SearchRequest(mailbox_ids=(self.mailbox_id,), terms=(term,)))
        packed = reply.hits[0].email_ids
        return [EmailId(str(uuid.UUID(bytes=packed[at : at + 16]))) for at in range(0, len(packed), 16)]

    async def rows(self) -> int:
        return len(await self.queue.pending_of([self.mailbox_id], 1_000))


@pytest.fixture
async def world(database: Any, tmp_path: Path) -> AsyncIterator[World]:
    # A new index over a store that holds messages fills itself first: these tests begin with none.
    await database.execute("TRUNCATE mailstore.mailbox, mailstore.folder, mailstore.message, mailstore.entry")
    await database.execute("TRUNCATE mailstore.envelope, mailstore.change, mailstore.index_pending, mailstore.outbox")
    pools = {}
    for service in ("directory", "delivery", "indexer"):
        pools[service] = await asyncpg.create_pool(
            database.dsn, user=f"postbus_{service}", password=database.password(service), min_size=0, max_size=4
        )
    made = World(pools, tmp_path)
    await made.directory.ensure_mailboxes([made.mailbox_id])
    yield made
    for pool in pools.values():
        await pool.close()


async def stop(service: IndexerService, context: Context) -> None:
    await service.drain()
    for task in context.tasks:
        task.cancel()
    await asyncio.gather(*context.tasks, return_exceptions=True)


async def test_a_message_is_found_as_soon_as_it_is_stored(world: World) -> None:
    """Each search right after the commit finds the message, whether it is indexed by then or not."""
    service, context = await world.open()
    await service.start()
    try:
        for number in range(60):
            email_id = await world.deliver(f"word{number}x common")
            assert await world.find(service, f"word{number}x") == [email_id]
        assert len(await world.find(service, "common")) == 60
        assert len(await world.find(service, "before", header="x-prefix")) == 60
        async with asyncio.timeout(20):
            while await world.rows():  # noqa: ASYNC110  # only the database knows
                await asyncio.sleep(0.05)
        assert len(await world.find(service, "common")) == 60
        await context.checks["index"]()
    finally:
        await stop(service, context)


async def test_an_indexer_that_was_away_catches_up(world: World) -> None:
    ids = {await world.deliver("early") for _ in range(50)}
    service, context = await world.open()
    assert set(await world.find(service, "early")) == ids
    assert await world.rows() <= 20
    await stop(service, context)
    later = await world.deliver("early")
    service, context = await world.open()
    assert set(await world.find(service, "early")) == {*ids, later}
    await stop(service, context)


@pytest.mark.parametrize("lost", ["index", "everything"])
async def test_a_lost_index_is_made_anew_while_mail_flows(world: World, lost: str, caplog: Any) -> None:
    """Promise 6: nobody does anything; a search finds all or says that it can't yet."""
    caplog.set_level("INFO")
    service, context = await world.open()
    await service.start()
    ids = {await world.deliver("early") for _ in range(60)}
    async with asyncio.timeout(20):
        while await world.rows():  # noqa: ASYNC110  # only the database knows
            await asyncio.sleep(0.05)
    await stop(service, context)
    shutil.rmtree(world.folder / "index" if lost == "index" else world.folder)
    world.folder.mkdir(exist_ok=True)
    service, context = await world.open()
    await service.start()
    try:
        async with asyncio.timeout(30):
            while True:
                ids.add(await world.deliver("early"))
                try:
                    assert set(await world.find(service, "early")) == ids
                except MailError as error:
                    if error.kind is not ErrorKind.UNAVAILABLE:
                        raise
                else:
                    break
            while context.registry.get_sample_value("postbus_indexer_index_incomplete_state"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert "indexer.rebuild.done" in caplog.messages
        assert ("indexer.index.incomplete" in caplog.messages) is (lost == "index")
        assert set(await world.find(service, "early")) == ids
    finally:
        await stop(service, context)


async def test_a_second_writer_is_refused_and_nothing_is_lost(world: World) -> None:
    """tantivy's lock: an indexer started twice by mistake fails to write, the first one goes on."""
    first, first_context = await world.open()
    second, second_context = await world.open()
    wanted = await world.deliver("locked")
    await first._worker.index_due()
    other = await world.deliver("locked")
    with pytest.raises(MailError) as caught:
        await second._worker.index_due()
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    await first._worker.index_due()
    assert set(await world.find(first, "locked")) == {wanted, other}
    await stop(first, first_context)
    await stop(second, second_context)


async def test_unknown_mailboxes_have_no_hits(world: World) -> None:
    service, context = await world.open()
    stranger = MailboxId(str(uuid.uuid4()))
    term = TextTerm(field=TextField.TEXT, value="x")
    reply = await service.port.search(SearchRequest(mailbox_ids=(stranger,), terms=(term,)))
    assert reply.hits[0].email_ids == b""
    await stop(service, context)
