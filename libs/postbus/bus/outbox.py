"""The outbox relay: events written in a transaction reach the event log (architecture §3.6).

Rows are claimed by SKIP LOCKED, published, and deleted after the PubAck, in one transaction of their owner: a process
that dies in between leaves them, and they are published once more, perhaps in a larger batch. Who consumes events
knows them by their event_id.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from postbus.bus.ports import EventBus
from postbus.contracts.events import Event
from postbus.core.errors import MailError

log = logging.getLogger(__name__)

BATCH_ROWS = 500
"""Published as one bus message; several replicas share the work."""
RETRY_SECONDS = 5.0


class PublishEvents(Protocol):
    """Returns after the PubAck."""

    async def __call__(self, events: Sequence[Event]) -> None:
        """Raises MailError: the rows stay."""
        ...


class Claim(Protocol):
    """The owner of an outbox: claims rows, publishes and deletes them."""

    async def __call__(self, limit: int, publish: PublishEvents) -> int:
        """The number relayed. Raises MailError: UNAVAILABLE."""
        ...


class OutboxRelay:
    """One loop; may run in every replica."""

    def __init__(self, claim: Claim, bus: EventBus, pause_seconds: float) -> None:
        """`pause_seconds`: between looks without a reason, for rows of a process that died after its commit."""
        self._claim = claim
        self._bus = bus
        self._pause_seconds = pause_seconds
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """There are rows."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        waiting = False
        while True:
            self._wanted.clear()
            try:
                while await self._claim(BATCH_ROWS, self._bus.publish_events) == BATCH_ROWS:
                    pass
            except MailError as error:
                if not waiting:
                    log.warning("outbox.relay.waiting", extra={"reason": str(error)})
                waiting = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if waiting:
                log.info("outbox.relay.back")
            waiting = False
            await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._pause_seconds):
                await self._wanted.wait()
        except TimeoutError:
            return
