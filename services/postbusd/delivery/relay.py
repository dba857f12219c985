"""The loops beside the worker: trims of the MAIL stream and of the store's history."""

import asyncio
import logging

from postbus.bus.ports import Bus
from postbus.core.clock import Clock
from postbus.core.errors import MailError
from postbus.core.ids import MailboxId
from postbus.mailstore.ports import Upkeep

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
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
