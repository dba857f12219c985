"""A durable pull consumer that always has a request standing, so that a lone message comes at once.

nats-py's own `fetch(n)` holds a first message until n are there or its time is up. Messages wait here in memory for at
most one batch; whoever dies with them in hand gets them redelivered after the ack wait.
"""

import asyncio
import collections
import json
import logging
import time
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from postbus.core.errors import ErrorKind, MailError

log = logging.getLogger(__name__)

REQUEST_SECONDS = 30.0
"""How long the server keeps a pull request standing."""
CONFLICT_SECONDS = 0.5
"""Pause after a refused request (no such consumer, too many waiting)."""
ACK_SECONDS = 5.0
_STATUS = "Status"
_REQUEST_OVER = {"404", "408", "409", "503"}


class PulledMessage:
    """One message in hand."""

    def __init__(self, message: Msg) -> None:
        self._message = message
        self.payload = message.data
        metadata = message.metadata
        self.stream_sequence = metadata.sequence.stream
        self.attempt = metadata.num_delivered or 1
        self.reply = message.reply

    async def ack(self) -> None:
        """Double ack: returns when the server has noted it. Raises MailError: UNAVAILABLE."""
        await self._answer(lambda: self._message.ack_sync(ACK_SECONDS))

    async def retry(self, seconds: float) -> None:
        """Not before `seconds` again."""
        await self._answer(lambda: self._message.nak(delay=seconds))

    async def heartbeat(self) -> None:
        """Moves the ack deadline."""
        await self._answer(self._message.in_progress)

    async def _answer(self, answer: Callable[[], Awaitable[object]]) -> None:
        try:
            await answer()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise MailError(ErrorKind.UNAVAILABLE, f"bus: ack: {type(error).__name__}") from error


class PullConsumer:
    """Binds to an existing durable consumer."""

    def __init__(self, client: Client, stream: str, durable: str, batch: int) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._batch = batch
        self._inbox = client.new_inbox()
        self._messages: collections.deque[Msg] = collections.deque()
        self._changed = asyncio.Event()
        self._standing = 0
        """How many messages the server may still send us."""
        self._expires = 0.0
        self._not_before = 0.0
        self._unsubscribe: Callable[[], Awaitable[None]] | None = None

    async def open(self) -> None:
        """Subscribes to the reply inbox."""
        self._unsubscribe = (await self._client.subscribe(self._inbox, cb=self._on_message)).unsubscribe

    async def close(self) -> None:
        """Unsubscribes; what is in hand is redelivered to others."""
        if self._unsubscribe is not None:
            try:
                await self._unsubscribe()
            except nats.errors.Error:
                log.info("bus.pull.unsubscribe_failed")

    async def forget_requests(self) -> None:
        """A reconnect callback: the server knows of no request any more."""
        self._standing = 0
        self._changed.set()

    async def fetch(self, limit: int, wait_seconds: float) -> list[PulledMessage]:
        """The messages that are there, at most `limit`, or the first that comes within `wait_seconds`."""
        deadline = time.monotonic() + wait_seconds
        while not self._messages:
            self._changed.clear()
            await self._request()
            now = time.monotonic()
            if now >= deadline:
                return []
            try:
                async with asyncio.timeout(min(deadline, self._expires) - now):
                    await self._changed.wait()
            except TimeoutError:
                continue
        found = [PulledMessage(self._messages.popleft()) for _ in range(min(limit, len(self._messages)))]
        await self._request()
        return found

    async def _request(self) -> None:
        now = time.monotonic()
        if now < self._not_before or not self._client.is_connected:
            self._expires = max(self._not_before, now + 0.1)
            return
        waiting = len(self._messages)
        if self._standing > 0 and now < self._expires:
            return
        if waiting >= self._batch:
            return
        self._standing = self._batch - waiting
        self._expires = now + REQUEST_SECONDS
        request = {"batch": self._standing, "expires": int((REQUEST_SECONDS - 1) * 1e9)}
        try:
            await self._client.publish(self._subject, json.dumps(request).encode(), self._inbox)
        except (nats.errors.Error, OSError) as error:
            self._standing = 0
            raise MailError(ErrorKind.UNAVAILABLE, f"bus: pull: {type(error).__name__}") from error

    async def _on_message(self, message: Msg) -> None:
        status = message.headers.get(_STATUS) if message.headers else None
        if status is None:
            self._standing = max(self._standing - 1, 0)
            self._messages.append(message)
            self._changed.set()
        elif status in _REQUEST_OVER:
            self._standing = 0
            if status in {"409", "503"}:
                self._not_before = time.monotonic() + CONFLICT_SECONDS
            self._changed.set()
