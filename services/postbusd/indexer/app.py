"""Composition root of indexer."""

from concurrent.futures import ThreadPoolExecutor

from postbus.bus.subjects import SUBJECT_INDEX_WANTED
from postbus.contracts.events import IndexWanted
from postbus.mailstore.postgres import PostgresMailStore
from postbus.runtime.service import Context, ServiceSpec
from postbusd.indexer.adapters.tantivy import TantivyIndex
from postbusd.indexer.extract import Extractor
from postbusd.indexer.metrics import Metrics
from postbusd.indexer.reconcile import FIRST_EPOCH
from postbusd.indexer.search import Searcher
from postbusd.indexer.settings import IndexerSettings
from postbusd.indexer.worker import Worker


class IndexerService:
    """The running service."""

    def __init__(self, context: Context, settings: IndexerSettings, store: PostgresMailStore) -> None:
        metrics = Metrics(context.registry)
        self._context = context
        self._store = store
        self._index = TantivyIndex(context.data_dir, settings.writer_heap_octets)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="indexer-extract")
        extractor = Extractor(context.blobs, self._executor)
        self._worker = Worker(
            queue=store,
            index=self._index,
            extractor=extractor,
            clock=context.clock,
            settings=settings,
            metrics=metrics,
            epoch=self._epoch,
        )
        self._searcher = Searcher(
            index=self._index,
            worker=self._worker,
            extractor=extractor,
            executor=self._executor,
            settings=settings,
            metrics=metrics,
        )
        context.add_check("index", self._check_index)
        context.add_check("database", self._check_database)

    @property
    def port(self) -> Searcher:
        """The contract's implementation."""
        return self._searcher

    async def start(self) -> None:
        """Listens for wake-ups and spawns the loop."""
        bus = self._context.bus
        await bus.listen(SUBJECT_INDEX_WANTED, IndexWanted, self._worker.wake)
        bus.on_reconnect(self._worker.wake)
        self._context.spawn("worker", self._worker.run)

    async def drain(self) -> None:
        """Finishes the batch in hand and closes the index."""
        await self._worker.stop()
        await self._index.close()
        self._executor.shutdown(wait=False)

    def _epoch(self) -> int:
        known = self._context.epoch.known
        return known.number if known is not None else FIRST_EPOCH

    async def _check_index(self) -> None:
        await self._index.count_documents()

    async def _check_database(self) -> None:
        await self._store.pending(1)


async def build(context: Context, settings: IndexerSettings) -> IndexerService:
    """Wires indexer."""
    return IndexerService(context, settings, PostgresMailStore(await context.postgres()))


SPEC = ServiceSpec(name="indexer", settings=IndexerSettings, build=build)
