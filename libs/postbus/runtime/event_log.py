"""Events for administrators in bounded batches: never a bus message for each mail (architecture §2)."""

import asyncio
import logging
from collections import deque

from prometheus_client import Counter

from postbus.bus.ports import EventBus
from postbus.contracts.events import Event, EventType
from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbus.core.ids import new_uuid7
from postbus.core.trace import current_trace

log = logging.getLogger(__name__)

MAX_HELD = 10_000
"""Events; the oldest are dropped, and counted."""
BATCH_EVENTS = 500
BATCH_SECONDS = 1.0
RETRY_SECONDS = 5.0


class EventLog:
    """Holds events until `run` has published them."""

    def __init__(self, bus: EventBus, clock: Clock, service: str, dropped: Counter) -> None:
        self._bus = bus
        self._clock = clock
        self._service = service
        self._dropped = dropped
        self._held: deque[Event] = deque()
        self._arrived = asyncio.Event()

    def note(self, kind: EventType, summary: str, *, at_ms: int | None = None, **facts: str) -> None:
        """Adds an event of now or of `at_ms`; `facts` are fields of Event."""
        now_ms = self._clock.now_ms()
        trace = current_trace()
        self._held.append(
            Event(
                event_id=new_uuid7(now_ms),
                type=kind,
                at_ms=now_ms if at_ms is None else at_ms,
                service=self._service,
                summary=summary,
                traceparent=trace.format() if trace else "",
                **facts,
            )
        )
        if len(self._held) > MAX_HELD:
            self._held.popleft()
            self._dropped.inc()
        self._arrived.set()

    async def run(self) -> None:
        """Publishes until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(BATCH_SECONDS)
            try:
                await self.flush()
            except MailError as error:
                log.warning("events.delayed", extra={"held": len(self._held), "reason": str(error)})
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self) -> None:
        """Publishes what is held. Raises MailError: the events stay."""
        while self._held:
            batch = [self._held[index] for index in range(min(BATCH_EVENTS, len(self._held)))]
            await self._bus.publish_events(batch)
            for event in batch:
                if self._held and self._held[0] is event:
                    self._held.popleft()
        self._arrived.clear()
