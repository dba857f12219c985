"""Pinned expansions in Postgres (schema `delivery`)."""

from collections.abc import Sequence

import asyncpg
import msgspec

from postbus.contracts.directory import Resolution
from postbus.core.ids import QueueId
from postbus.runtime.database import connection

_DECODER = msgspec.msgpack.Decoder(tuple[Resolution, ...])
_FIND = "SELECT resolutions FROM delivery.expansion WHERE queue_id = $1"
_PIN = """
INSERT INTO delivery.expansion (queue_id, resolutions, pinned_ms) VALUES ($1, $2, $3) ON CONFLICT (queue_id) DO NOTHING
"""
# A dead letter that is retried goes where it went at first.
_TRIM = """
DELETE FROM delivery.expansion e
WHERE e.pinned_ms < $1 AND NOT EXISTS (SELECT FROM delivery.dead_letter d WHERE d.queue_id = e.queue_id)
"""


class PostgresExpansions:
    """Implements `Expansions`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """On the service's pool."""
        self._pool = pool

    async def find(self, queue_id: QueueId) -> tuple[Resolution, ...] | None:
        """See `Expansions.find`."""
        async with connection(self._pool) as session:
            packed = await session.fetchval(_FIND, queue_id)
        return None if packed is None else _DECODER.decode(packed)

    async def pin(self, queue_id: QueueId, resolutions: Sequence[Resolution], now_ms: int) -> tuple[Resolution, ...]:
        """See `Expansions.pin`."""
        async with connection(self._pool) as session:
            await session.execute(_PIN, queue_id, msgspec.msgpack.encode(tuple(resolutions)), now_ms)
            packed = await session.fetchval(_FIND, queue_id)
        return _DECODER.decode(packed)

    async def trim(self, before_ms: int) -> None:
        """See `Expansions.trim`."""
        async with connection(self._pool) as session:
            await session.execute(_TRIM, before_ms)
