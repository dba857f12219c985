"""Answers searches: the index, and the tail of messages that are stored but not indexed yet (promise 6).

Order matters: the queue is read before the index. A row that disappears between the two is in the index by then,
because rows are deleted after the commit; the other way round a message could be in neither.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor

import msgspec

from postbus.contracts.indexer import SearchReply, SearchRequest, TermHits
from postbus.mailstore.values import PendingIndex
from postbusd.indexer.analysis import WordCutter, contains_phrase, header_words, read_term
from postbusd.indexer.extract import Extractor
from postbusd.indexer.metrics import Metrics
from postbusd.indexer.ports import SearchIndex
from postbusd.indexer.settings import IndexerSettings
from postbusd.indexer.values import HEADER_MARK, IndexDocument, Phrase
from postbusd.indexer.worker import Worker

CACHED_DOCUMENTS = 64
MAX_CACHED_WORDS = 5_000
"""Of one document; longer ones are cut anew for every search."""

_RowKey = tuple[str, str, int]


class TailDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A message cut into words, as the index would hold it."""

    email_id: bytes
    body: list[str]
    head: list[str]
    header: list[str]


class Searcher:
    """indexer's contract."""

    def __init__(
        self,
        *,
        index: SearchIndex,
        worker: Worker,
        extractor: Extractor,
        executor: Executor,
        settings: IndexerSettings,
        metrics: Metrics,
    ) -> None:  # fmt: skip
        self._index = index
        self._worker = worker
        self._extractor = extractor
        self._executor = executor
        self._settings = settings
        self._metrics = metrics
        self._cache: OrderedDict[_RowKey, TailDocument] = OrderedDict()

    async def search(self, request: SearchRequest) -> SearchReply:
        """Matching messages, complete up to every message committed before the call. Raises MailError: UNAVAILABLE.

        An answer that might lack messages is not given: nobody could tell it from a whole one.
        """
        with self._metrics.search_seconds.time():
            phrases = [read_term(term, self._index.cut_words) for term in request.terms]
            rows = await self._worker.catch_up(request.mailbox_ids, self._settings.tail_messages)
            tail = await self._read_tail([row for row in rows if row.message is not None])
            self._metrics.tail.observe(len(tail))
            hits = await self._index.search(request.mailbox_ids, phrases)
            return SearchReply(
                hits=tuple(
                    TermHits(email_ids=_join(found, [entry.email_id for entry in tail if matches(entry, phrase)]))
                    for found, phrase in zip(hits, phrases, strict=True)
                )
            )

    async def _read_tail(self, rows: Sequence[PendingIndex]) -> list[TailDocument]:
        cached = [self._cache.get(_row_key(row)) for row in rows]
        missing = [row for row, entry in zip(rows, cached, strict=True) if entry is None]
        found = [entry for entry in cached if entry is not None]
        if missing:
            extracted = await self._extractor.extract(missing)
            pairs = [(result.row, result.document) for result in extracted if result.document is not None]
            loop = asyncio.get_running_loop()
            cut = await loop.run_in_executor(
                self._executor, _cut_all, [document for _, document in pairs], self._index.cut_words
            )
            for (row, _), entry in zip(pairs, cut, strict=True):
                self._remember(row, entry)
            found += cut
        return found

    def _remember(self, row: PendingIndex, entry: TailDocument) -> None:
        if len(entry.body) + len(entry.head) <= MAX_CACHED_WORDS:
            self._cache[_row_key(row)] = entry
            while len(self._cache) > CACHED_DOCUMENTS:
                self._cache.popitem(last=False)


def _row_key(row: PendingIndex) -> _RowKey:
    return row.mailbox_id, row.email_id, row.enqueue


def _cut_all(documents: Sequence[IndexDocument], cut: WordCutter) -> list[TailDocument]:
    return [
        TailDocument(
            email_id=document.email_id,
            body=cut(document.body),
            head=cut(document.head),
            header=header_words(document, cut),
        )
        for document in documents
    ]


def matches(entry: TailDocument, phrase: Phrase) -> bool:
    """What the index would answer for this document."""
    if phrase.impossible:
        return False
    if not phrase.words:
        return not phrase.header_name or HEADER_MARK + phrase.header_name in entry.header
    if phrase.header_name:
        return contains_phrase(entry.header, phrase.words)
    return (phrase.in_body and contains_phrase(entry.body, phrase.words)) or (
        phrase.in_head and contains_phrase(entry.head, phrase.words)
    )


def _join(found: bytes, more: Sequence[bytes]) -> bytes:
    """Hits of both, none twice."""
    if not more:
        return found
    known = {found[at : at + 16] for at in range(0, len(found), 16)}
    return found + b"".join(email_id for email_id in dict.fromkeys(more) if email_id not in known)
