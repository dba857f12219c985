"""A new epoch of the mail store as the outgoing queue sees it: after a restore it starts held (architecture §3)."""

import logging

import asyncpg
from prometheus_client import CollectorRegistry, Counter

from postbus.mailstore.epoch import Epoch
from postbusd.delivery.adapters.postgres_queue import PostgresQueue
from postbusd.delivery.adapters.postgres_queue_rows import HELD_AFTER_RESTORE

log = logging.getLogger(__name__)

PIECE_COPIES = 5000
"""Held in one transaction: well below a second."""
_BEGIN = "SELECT delivery.begin_epoch_v1($1, $2, $3, $4, $5)"
_IS_SAME = "SELECT EXISTS (SELECT FROM delivery.epoch WHERE epoch = $1 AND restored = $2)"
_FREE_LEDGER = "UPDATE delivery.ledger_book SET keeper_until = '-infinity'"
"""Who kept the ledger in the epoch before may be gone: what the bus is to deliver again waits for nobody."""


class QueueEpochs:
    """Listens to the epochs of delivery's connections."""

    def __init__(self, queue: PostgresQueue, registry: CollectorRegistry) -> None:
        self._queue = queue
        self._held = Counter(
            "postbus_delivery_restore_held_copies", "Outgoing copies held because of a restore.", registry=registry
        )

    async def begin(self, epoch: Epoch, before: Epoch | None, connection: asyncpg.Connection) -> None:
        """Holds what waits when the epoch began with a restore; on the given connection, no other may be used yet."""
        if before is not None:
            self._queue.drop_lock()
        if await connection.fetchval(_IS_SAME, epoch.number, epoch.restored):
            return
        await connection.execute(_FREE_LEDGER)
        held = 0
        while True:
            arguments = (epoch.number, epoch.restored, epoch.restored_ms, HELD_AFTER_RESTORE, PIECE_COPIES)
            count = await connection.fetchval(_BEGIN, *arguments)
            self._held.inc(count)
            held += count
            if count < PIECE_COPIES:
                break
        if held:
            log.error("delivery.queue.held", extra={"copies": held, "epoch": epoch.number, "reason": epoch.reason})
