"""What imap-gateway needs from others, where the libraries have no port for it."""

import asyncio
from typing import Protocol

from postbus.mailstore.ports import DropLocks, FolderCatalog, FolderReader, FolderWriter, MessageAppender


class GatewayStore(FolderCatalog, FolderReader, FolderWriter, MessageAppender, DropLocks, Protocol):
    """The mail store as far as IMAP and POP3 use it."""


class Wire(Protocol):
    """A connection as a session sees it: octets in and out, a bell that rings when there is something to look at."""

    peer_address: str
    is_secure: bool
    bell: asyncio.Event

    def take(self) -> bytes:
        """What has come since the last call. Raises ConnectionError once everything is taken and the peer is gone."""
        ...

    def write(self, data: bytes) -> None:
        """Queues octets."""
        ...

    async def drain(self) -> None:
        """Waits until the queue is below its high-water mark. Raises ConnectionError."""
        ...

    async def start_tls(self) -> None:
        """Sends what is queued, throws away what came too early, and does the handshake. Raises ConnectionError."""
        ...

    def welcome(self) -> None:
        """The peer has logged in: it is no stranger any more, and not counted as one."""
        ...

    def close(self) -> None:
        """Sends what is queued, then closes."""
        ...
