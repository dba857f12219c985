"""From a queue row to a document: reads the message's text octets and cuts nothing yet.

Messages up to LARGE_OCTETS are read whole and many at once; of larger ones only the header section and the text parts
are read, so that attachments cost nothing.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

import msgspec

from postbus.blobs.ports import BlobStore
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import BlobId
from postbus.mailstore.values import PendingIndex, StoredMessage
from postbus.mime.codec import decode_scan
from postbus.mime.scanner import scan_message
from postbus.mime.sections import Slices
from postbus.mime.text import MessageText, TextSlices, extract_text, text_ranges
from postbus.mime.values import Scan
from postbusd.indexer.analysis import fold_text, indexable_value
from postbusd.indexer.values import EMPTY_TEXT, IndexDocument, format_name

log = logging.getLogger(__name__)

LARGE_OCTETS = 512 * 1024
GROUP_OCTETS = 8 * 1024 * 1024
"""Read at once."""


class Extracted(msgspec.Struct, frozen=True, kw_only=True):
    """A row with its document, or with why it has none."""

    row: PendingIndex
    document: IndexDocument | None
    reason: str = ""


class Extractor:
    """Reads messages; the work on their text is done on `executor`."""

    def __init__(self, blobs: BlobStore, executor: Executor) -> None:
        self._blobs = blobs
        self._executor = executor

    async def extract(self, rows: Sequence[PendingIndex]) -> list[Extracted]:
        """One result a row that has a message. Raises MailError UNAVAILABLE when the blob store is away."""
        found: list[Extracted] = []
        small: list[PendingIndex] = []
        for row in rows:
            if row.message is None:
                continue
            if row.message.octets > LARGE_OCTETS:
                found.append(await self._extract_large(row, row.message))
            else:
                small.append(row)
        for group in _groups(small):
            found += await self._extract_group(group)
        return found

    async def _extract_group(self, rows: list[PendingIndex]) -> list[Extracted]:
        blob_ids = [row.message.blob_id for row in rows if row.message is not None]
        try:
            contents: list[bytes | None] = list(await self._blobs.get_many(blob_ids))
        except MailError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            contents = [await self._get(blob_id) for blob_id in blob_ids]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _extract_all, list(zip(rows, contents, strict=True)))

    async def _get(self, blob_id: BlobId) -> bytes | None:
        try:
            return await self._blobs.get(blob_id)
        except MailError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return None

    async def _extract_large(self, row: PendingIndex, message: StoredMessage) -> Extracted:
        loop = asyncio.get_running_loop()
        try:
            scan = decode_scan(message.structure)
            spans = text_ranges(scan)
            pieces = [(start, await self._blobs.get(message.blob_id, start, end - start)) for start, end in spans]
        except MailError as error:
            if error.kind is ErrorKind.UNAVAILABLE:
                raise
            return Extracted(row=row, document=None, reason=str(error))
        return await loop.run_in_executor(self._executor, _extract_one, row, TextSlices(pieces), scan)


def _groups(rows: Sequence[PendingIndex]) -> Iterator[list[PendingIndex]]:
    group: list[PendingIndex] = []
    octets = 0
    for row in rows:
        size = row.message.octets if row.message is not None else 0
        if group and octets + size > GROUP_OCTETS:
            yield group
            group, octets = [], 0
        group.append(row)
        octets += size
    if group:
        yield group


def _extract_all(pairs: list[tuple[PendingIndex, bytes | None]]) -> list[Extracted]:
    return [
        _extract_one(row, content, None)
        if content is not None
        else Extracted(row=row, document=None, reason="the blob is not there")
        for row, content in pairs
    ]


def _extract_one(row: PendingIndex, content: Slices, scan: Scan | None) -> Extracted:
    message = row.message
    if message is None:
        return Extracted(row=row, document=None, reason="no message")
    try:
        known = scan if scan is not None else _scan_of(message, content)
        text = extract_text(content, known, message.prefix)
        return Extracted(row=row, document=_document(row, text))
    except Exception as error:  # this is the consumer loop's guard: one message must not stop the queue
        log.exception("indexer.message.unreadable", extra={"email_id": row.email_id, "mailbox_id": row.mailbox_id})
        return Extracted(row=row, document=None, reason=type(error).__name__)


def _scan_of(message: StoredMessage, content: Slices) -> Scan:
    """The stored structure; an unreadable one is made anew."""
    try:
        return decode_scan(message.structure)
    except MailError:
        if not isinstance(content, bytes):
            raise
        return scan_message(content)


def partial_document(row: PendingIndex) -> IndexDocument:
    """What is known of a message that can't be read: the preview."""
    preview = row.message.preview if row.message is not None else ""
    return _document(row, msgspec.structs.replace(EMPTY_TEXT, body=preview))


def _document(row: PendingIndex, text: MessageText) -> IndexDocument:
    header = tuple((format_name(name), indexable_value(name, value)) for name, value in text.headers)
    body = "\n".join((text.body, *text.attachment_names))
    return IndexDocument(
        mailbox_id=row.mailbox_id,
        email_id=uuid.UUID(row.email_id).bytes,
        body=fold_text(body),
        head="\n".join(value for _, value in header),
        header=header,
    )
