"""The loops beside the worker: the mail store's outbox to the event log, and the trim of the MAIL stream."""

import asyncio
import logging

from postbus.bus.ports import Bus
from postbus.core.errors import MailError
from postbus.mailstore.ports import Outbox

log = logging.getLogger(__name__)

RELAY_ROWS = 500
"""Outbox rows published as one bus message; several replicas share the work by SKIP LOCKED."""


async def relay_forever(outbox: Outbox, bus: Bus, pause_seconds: float) -> None:
    """Publishes outbox rows; they are deleted after the PubAck only (architecture §3.6)."""
    while True:
        try:
            relayed = await outbox.relay_outbox(RELAY_ROWS, bus.publish_events)
        except MailError as error:
            log.warning("delivery.relay.deferred", extra={"reason": str(error)})
            relayed = 0
        if relayed < RELAY_ROWS:
            await asyncio.sleep(pause_seconds)


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
