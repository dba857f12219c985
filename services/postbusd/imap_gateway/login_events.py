"""The events login and login_failed: collected and published in batches, the oldest dropped when the bus is away.

Never one bus message a login: an attack would otherwise be multiplied.
"""

import asyncio
import logging
from collections import deque

from postbus.bus.ports import EventBus
from postbus.contracts.events import Event, EventType
from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbus.core.ids import new_uuid7
from postbusd.imap_gateway.metrics import GatewayMetrics

log = logging.getLogger(__name__)

MAX_WAITING_EVENTS = 1_000
MAX_BATCH_EVENTS = 200
BATCH_SECONDS = 1.0
RETRY_SECONDS = 10.0


class LoginEvents:
    """A bounded queue and its publisher."""

    def __init__(self, bus: EventBus, clock: Clock, metrics: GatewayMetrics) -> None:
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()

    def add(self, kind: EventType, address: str, client_address: str, detail: str = "") -> None:
        """Notes a login or a failed one."""
        if len(self._waiting) >= MAX_WAITING_EVENTS:
            self._waiting.popleft()
            self._metrics.events_dropped.inc()
        now_ms = self._clock.now_ms()
        verb = "logged in" if kind is EventType.LOGIN else "failed to log in"
        self._waiting.append(
            Event(
                event_id=new_uuid7(now_ms),
                type=kind,
                at_ms=now_ms,
                service="imap-gateway",
                summary=f"{address or 'somebody'} {verb} over IMAP",
                domain=address.rpartition("@")[2],
                mailbox=address,
                client_address=client_address,
                detail=detail,
            )
        )
        self._arrived.set()

    async def run(self) -> None:
        """Publishes for ever."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(BATCH_SECONDS)
            if not await self.flush():
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self) -> bool:
        """Publishes what waits; False: the bus is away and it still waits."""
        while self._waiting:
            batch = [self._waiting[index] for index in range(min(MAX_BATCH_EVENTS, len(self._waiting)))]
            try:
                await self._bus.publish_events(batch)
            except MailError as error:
                log.warning("imap.events.waiting", extra={"events": len(self._waiting), "reason": error.detail})
                return False
            published = {event.event_id for event in batch}
            while self._waiting and self._waiting[0].event_id in published:
                self._waiting.popleft()
        self._arrived.clear()
        return True
