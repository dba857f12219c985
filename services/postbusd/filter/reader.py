"""Gets a message's octets and scan, from the call or from the blob store."""

import asyncio
from concurrent.futures import Executor
from typing import Final

import msgspec

from postbus.blobs.ports import BlobStore
from postbus.contracts.filter import CheckMessageRequest
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.mime.codec import decode_scan
from postbus.mime.scanner import scan_message
from postbus.mime.values import Scan

LARGE_SCAN_OCTETS: Final = 256 * 1024
"""A larger message that came without its scan is scanned off the loop."""


class LoadedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """All octets of a message, its scan, and when we got it."""

    content: bytes
    scan: Scan
    received_ms: int


class MessageReader:
    """Loads what a request names."""

    def __init__(self, blobs: BlobStore, executor: Executor, clock: Clock) -> None:
        self._blobs = blobs
        self._executor = executor
        self._clock = clock

    async def read(self, request: CheckMessageRequest) -> LoadedMessage:
        """The message. Raises MailError: as the blob store, INVALID for a scan of another message."""
        content = request.content
        if not content and request.blob_id is not None:
            content = await self._blobs.get(request.blob_id)
        scan = await self._scan(request.scan, content)
        if scan.octets != len(content):
            raise MailError(ErrorKind.INVALID, "scan: of another message")
        return LoadedMessage(content=content, scan=scan, received_ms=self._clock.now_ms())

    async def _scan(self, encoded: bytes, content: bytes) -> Scan:
        if encoded:
            return decode_scan(encoded)
        if len(content) <= LARGE_SCAN_OCTETS:
            return scan_message(content)
        return await asyncio.get_running_loop().run_in_executor(self._executor, scan_message, content)
