"""The loops beside worker and scheduler: DSNs on their way to the bus, trims of stream, history and queue."""

import asyncio
import logging

from postbus.bus.outbox import Claim, PublishEvents
from postbus.bus.ports import Bus
from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbus.core.ids import MailboxId
from postbus.mailstore.ports import Upkeep
from postbusd.delivery.outbound.queue import QueueUpkeep
from postbusd.delivery.ports import Expansions

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
REPORT_ROWS = 20
QUEUE_ROWS = 1000
HISTORY_MAILBOXES = 100
HISTORY_PAUSE_SECONDS = 0.5
"""Between steps of a trim, so that it never stands in the way of mail."""


async def trim_forever(bus: Bus, pause_seconds: float) -> None:
    """Purges what is below the ack floor and older than the replay window (architecture §3.4)."""
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            purged = await bus.trim_mail()
        except MailError as error:
            log.warning("delivery.trim.deferred", extra={"reason": str(error)})
        else:
            if purged:
                log.info("delivery.trim.done", extra={"messages": purged})


async def trim_history_forever(store: Upkeep, clock: Clock, keep_days: int) -> None:
    """Forgets old operation keys and change rows, a few mailboxes at a time, once a day."""
    while True:
        after: MailboxId | None = None
        try:
            while True:
                after = await store.trim_history(clock.now_ms() - keep_days * DAY_MS, after, HISTORY_MAILBOXES)
                if after is None:
                    break
                await asyncio.sleep(HISTORY_PAUSE_SECONDS)
        except MailError as error:
            log.warning("delivery.history.deferred", extra={"reason": str(error)})
        await asyncio.sleep(DAY_MS / 1000)


def one_after_another(*claims: Claim) -> Claim:
    """Several outboxes as one: a claim keeps its database connection until the bus has answered, so that outboxes side
    by side would take all there are from those who deliver mail."""

    async def claim(limit: int, publish: PublishEvents) -> int:
        return max([await each(limit, publish) for each in claims])

    return claim


async def relay_reports_forever(queue: QueueUpkeep, bus: Bus, pause_seconds: float) -> None:
    """Publishes DSNs; one that was published before its row could be deleted is known to the bus by its queue_id."""
    while True:
        try:
            while await queue.relay_reports(REPORT_ROWS, bus.publish_mail) == REPORT_ROWS:
                pass
        except MailError as error:
            log.warning("delivery.reports.deferred", extra={"reason": str(error)})
        await asyncio.sleep(pause_seconds)


async def trim_queue_forever(queue: QueueUpkeep, expansions: Expansions, clock: Clock, keep_days: int) -> None:
    """Forgets what was finished long ago, once a day."""
    while True:
        before_ms = clock.now_ms() - keep_days * DAY_MS
        try:
            trimmed = await queue.trim(before_ms, QUEUE_ROWS)
            while trimmed:
                await asyncio.sleep(HISTORY_PAUSE_SECONDS)
                trimmed = await queue.trim(before_ms, QUEUE_ROWS)
            await expansions.trim(before_ms)
        except MailError as error:
            log.warning("delivery.queue_history.deferred", extra={"reason": str(error)})
        await asyncio.sleep(DAY_MS / 1000)
