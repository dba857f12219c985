"""SearchIndex on an embedded tantivy index: one writer, one commit a batch, readers over memory-mapped files.

Trap: a tokenizer must be registered at every opening. Trap: a phrase whose last word is a prefix of more than 16,384
words is refused by tantivy; the words are then asked for side by side, not in order. Queries are built from words,
never parsed, so that no value can carry query syntax.
"""

import asyncio
import ctypes
import logging
import re
import shutil
import sys
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import tantivy

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbusd.indexer.adapters.state_file import StateFile
from postbusd.indexer.analysis import header_words
from postbusd.indexer.values import HEADER_MARK, IndexDocument, Phrase

log = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1
"""Goes up with every change of schema or analysis; an index of another version is made anew."""
MAX_WORD_OCTETS: Final = 100
"""Longer words (keys, hashes in one piece) are not indexed."""
_WORDS: Final = "postbus_words"
_TOKENS: Final = "postbus_tokens"
_FAULTS: Final = (ValueError, OSError, RuntimeError)
"""What tantivy raises."""
_NOT_WORD: Final = re.compile(r"([^\w:-])")

Result = TypeVar("Result")


class TantivyIndex:
    """The index in a folder of its own."""

    def __init__(self, folder: Path, writer_heap_octets: int) -> None:
        """Opens or makes the index; one that can't be opened is moved aside (`index.old`) and made anew."""
        self._folder = folder
        self._heap = writer_heap_octets
        self._schema = _build_schema()
        self._analyzer = _build_analyzer()
        self._writer: tantivy.IndexWriter | None = None
        self._write_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="indexer-write")
        self._read_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="indexer-read")
        self.record = StateFile(folder / "state.json")
        self._index = self._open()

    def cut_words(self, folded: str) -> list[str]:
        """The analysis of the index itself."""
        return self._analyzer.analyze(folded)

    async def apply(self, documents: Sequence[IndexDocument], absent: Sequence[str]) -> None:
        """One commit."""
        await self._run(self._write_thread, lambda: self._apply(documents, absent))

    async def search(self, mailbox_ids: Sequence[MailboxId], phrases: Sequence[Phrase]) -> list[bytes]:
        """Packed email_ids per phrase."""
        return await self._run(self._read_threads, lambda: self._search(mailbox_ids, phrases))

    async def count_documents(self) -> int:
        """Documents of the last commit."""
        return await self._run(self._read_threads, lambda: self._index.searcher().num_docs)

    async def rest(self) -> None:
        """Ends the writer once merges are done: its memory and its threads."""
        await self._run(self._write_thread, self._drop_writer)

    async def close(self) -> None:
        """Ends everything."""
        await self.rest()
        self._write_thread.shutdown(wait=False)
        self._read_threads.shutdown(wait=False)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except _FAULTS as error:
            raise MailError(ErrorKind.UNAVAILABLE, f"search index: {type(error).__name__}") from error

    # Opening

    def _open(self) -> tantivy.Index:
        files = self._folder / "index"
        if self.record.state.schema == SCHEMA_VERSION:
            try:
                index = self._configure(tantivy.Index.open(str(files)))
                index.searcher().search(tantivy.Query.all_query(), limit=1)
            except _FAULTS as error:
                log.error("indexer.index.broken", extra={"reason": str(error)[:500]})
            else:
                return index
        if self.record.exists or files.exists():
            log.error("indexer.index.incomplete", extra={"schema": SCHEMA_VERSION})
        self.record.reset(SCHEMA_VERSION)
        if files.exists():
            aside = self._folder / "index.old"
            shutil.rmtree(aside, ignore_errors=True)
            files.rename(aside)
        files.mkdir(parents=True)
        return self._configure(tantivy.Index(self._schema, path=str(files)))

    def _configure(self, index: tantivy.Index) -> tantivy.Index:
        index.register_tokenizer(_WORDS, self._analyzer)
        index.register_tokenizer(_TOKENS, tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
        index.config_reader("manual")
        index.reload()
        return index

    # Writing

    def _apply(self, documents: Sequence[IndexDocument], absent: Sequence[str]) -> None:
        if self._writer is None:
            self._writer = self._index.writer(self._heap, 1)
        writer = self._writer
        try:
            for key in absent:
                writer.delete_documents_by_term("key", key)
            for document in documents:
                writer.delete_documents_by_term("key", document.key)
                writer.add_document(self._format(document))
            writer.commit()
        except _FAULTS:
            self._writer = None
            raise
        self._index.reload()

    def _format(self, document: IndexDocument) -> tantivy.Document:
        entry = tantivy.Document()
        entry.add_text("key", document.key)
        entry.add_text("mailbox", document.mailbox_id)
        entry.add_unsigned("id_high", int.from_bytes(document.email_id[:8], "big"))
        entry.add_unsigned("id_low", int.from_bytes(document.email_id[8:], "big"))
        entry.add_text("body", document.body)
        entry.add_text("head", document.head)
        entry.add_text("header", " ".join(header_words(document, self.cut_words)))
        return entry

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.wait_merging_threads()
            self._index.reload()
            _give_back_memory()

    # Searching

    def _search(self, mailbox_ids: Sequence[MailboxId], phrases: Sequence[Phrase]) -> list[bytes]:
        searcher = self._index.searcher()
        documents = sum(searcher.doc_freq("mailbox", mailbox_id) for mailbox_id in set(mailbox_ids))
        if not documents:
            return [b""] * len(phrases)
        mailboxes = tantivy.Query.term_set_query(self._schema, "mailbox", list(mailbox_ids))
        return [self._find(searcher, mailboxes, phrase, documents) for phrase in phrases]

    def _find(self, searcher: tantivy.Searcher, mailboxes: tantivy.Query, phrase: Phrase, limit: int) -> bytes:
        if phrase.impossible:
            return b""
        try:
            return self._collect(searcher, _both(mailboxes, self._phrase_query(phrase, _in_order)), limit)
        except ValueError as error:
            if "max expansions" not in str(error):
                raise
            log.info("indexer.search.widened", extra={"words": len(phrase.words)})
            return self._collect(searcher, _both(mailboxes, self._phrase_query(phrase, _side_by_side)), limit)

    def _phrase_query(self, phrase: Phrase, build: "_Build") -> tantivy.Query:
        query = tantivy.Query
        if not phrase.words:
            if not phrase.header_name:
                return query.all_query()
            return query.term_query(self._schema, "header", HEADER_MARK + phrase.header_name)
        if phrase.header_name:
            return build(self._schema, "header", phrase.words)
        fields = [name for name, wanted in (("body", phrase.in_body), ("head", phrase.in_head)) if wanted]
        return query.boolean_query([(tantivy.Occur.Should, build(self._schema, name, phrase.words)) for name in fields])

    def _collect(self, searcher: tantivy.Searcher, query: tantivy.Query, limit: int) -> bytes:
        scored = tantivy.Query.const_score_query(query, 1.0)
        addresses = [address for _, address in searcher.search(scored, limit=limit, count=False).hits]
        if not addresses:
            return b""
        halves = array("Q", bytes(16 * len(addresses)))
        halves[0::2] = array("Q", _numbers(searcher.fast_field_values("id_high", addresses)))
        halves[1::2] = array("Q", _numbers(searcher.fast_field_values("id_low", addresses)))
        if sys.byteorder == "little":
            halves.byteswap()
        return halves.tobytes()


_Build = Callable[[tantivy.Schema, str, tuple[str, ...]], tantivy.Query]


def _in_order(schema: tantivy.Schema, field: str, words: tuple[str, ...]) -> tantivy.Query:
    """The words as a phrase, the last one as a prefix."""
    patterns: list[Any] = [_escape(word) for word in words]
    patterns[-1] += ".*"
    if len(patterns) == 1:
        return tantivy.Query.regex_query(schema, field, patterns[0])
    return tantivy.Query.regex_phrase_query(schema, field, patterns)


def _side_by_side(schema: tantivy.Schema, field: str, words: tuple[str, ...]) -> tantivy.Query:
    """All the words anywhere, the last one as a prefix: a superset of the phrase."""
    parts = [tantivy.Query.term_query(schema, field, word) for word in words[:-1]]
    parts.append(tantivy.Query.regex_query(schema, field, _escape(words[-1]) + ".*"))
    return tantivy.Query.boolean_query([(tantivy.Occur.Must, part) for part in parts])


def _both(first: tantivy.Query, second: tantivy.Query) -> tantivy.Query:
    return tantivy.Query.boolean_query([(tantivy.Occur.Must, first), (tantivy.Occur.Must, second)])


def _escape(word: str) -> str:
    """A word for tantivy's regular expressions; it holds letters and digits, a header token a colon as well."""
    return _NOT_WORD.sub(r"\\\1", word)


def _give_back_memory() -> None:
    """Asks glibc to return freed memory to the system: after a batch it keeps tens of megabytes otherwise."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return  # another C library


def _numbers(values: list[int | float | bool | None]) -> list[int]:
    return [value if isinstance(value, int) else 0 for value in values]


def _build_schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("key", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("mailbox", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("id_high", fast=True)
    builder.add_unsigned_field("id_low", fast=True)
    builder.add_text_field("body", tokenizer_name=_WORDS)
    builder.add_text_field("head", tokenizer_name=_WORDS)
    builder.add_text_field("header", tokenizer_name=_TOKENS)
    return builder.build()


def _build_analyzer() -> tantivy.TextAnalyzer:
    filters = (tantivy.Filter.lowercase(), tantivy.Filter.ascii_fold(), tantivy.Filter.remove_long(MAX_WORD_OCTETS))
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for step in filters:
        builder = builder.filter(step)
    return builder.build()
