"""A small world for the indexer: fakes for store and blobs, a real tantivy index in a temporary folder."""

import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.indexer import SearchRequest, TextField, TextTerm
from postbus.core.clock import SystemClock
from postbus.core.ids import EmailId, MailboxId, new_email_id
from postbus.mailstore.prepare import prepare_message
from postbus.mailstore.values import Append, SpecialUse
from postbus.mime.scanner import scan_message
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.mailstore import MemoryMailStore
from postbusd.indexer.adapters.tantivy import TantivyIndex
from postbusd.indexer.extract import Extractor
from postbusd.indexer.metrics import Metrics
from postbusd.indexer.search import Searcher
from postbusd.indexer.settings import IndexerSettings
from postbusd.indexer.worker import Worker

ALICE = MailboxId("0190a000-0000-7000-8000-000000000001")
BOB = MailboxId("0190a000-0000-7000-8000-000000000002")


class FakeTime(SystemClock):
    """Goes on only when told."""

    def __init__(self) -> None:
        self.now = 1_795_000_000_000

    def now_ms(self) -> int:
        return self.now


class World:
    def __init__(self, folder: Path, settings: IndexerSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.clock = FakeTime()
        self.store = MemoryMailStore(self.clock)
        self.blobs = MemoryBlobStore(self.clock)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.threads = ThreadPoolExecutor(max_workers=1)
        self.extractor = Extractor(self.blobs, self.threads)
        self.open()

    def open(self) -> None:
        self.index = TantivyIndex(self.folder, self.settings.writer_heap_octets)
        self.worker = Worker(
            queue=self.store,
            index=self.index,
            extractor=self.extractor,
            clock=self.clock,
            settings=self.settings,
            metrics=self.metrics,
        )
        self.searcher = Searcher(
            index=self.index,
            worker=self.worker,
            extractor=self.extractor,
            executor=self.threads,
            settings=self.settings,
            metrics=self.metrics,
        )

    async def deliver(
        self, content: bytes, mailbox: MailboxId = ALICE, prefix: bytes = b"", traceparent: str = ""
    ) -> EmailId:
        await self.store.ensure_mailboxes([mailbox])
        email_id = new_email_id(self.clock.now_ms())
        message = prepare_message(
            email_id=email_id,
            blob_id=await self.blobs.put(content),
            prefix=prefix,
            scan=scan_message(content),
            internal_date_ms=self.clock.now_ms(),
        )
        append = Append(
            mailbox_id=mailbox,
            operation_key=str(uuid.uuid4()),
            folder=SpecialUse.INBOX,
            message=message,
            traceparent=traceparent,
        )
        await self.store.append([append])
        return email_id

    async def find(
        self, value: str, field: TextField = TextField.TEXT, mailbox: MailboxId = ALICE, header: str = ""
    ) -> list[EmailId]:
        term = TextTerm(field=field, value=value, header_name=header)
        reply = await self.searcher.search(SearchRequest(mailbox_ids=(mailbox,), terms=(term,)))
        packed = reply.hits[0].email_ids
        found = [EmailId(str(uuid.UUID(bytes=packed[at : at + 16]))) for at in range(0, len(packed), 16)]
        assert len(found) == len(set(found))
        return found

    async def index_all(self) -> None:
        while await self.worker.index_due():
            pass

    def count(self, outcome: str) -> float:
        return self.registry.get_sample_value("postbus_indexer_messages_total", {"outcome": outcome}) or 0.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(
        tmp_path,
        IndexerSettings(tail_messages=3, batch_messages=10, poll_seconds=30.0, gather_seconds=0.0, commit_seconds=0.0),
    )
    await made.worker.catch_up((ALICE,), 0)  # a new index is complete once it has looked for older messages
    yield made
    await made.index.close()
    made.threads.shutdown()
