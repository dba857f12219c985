"""DKIM keys in schema `dns`.

Whoever adds keys locks the one row of `dns.installation` first: replicas that are asked together make one pair.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import asyncpg

from postbus.contracts.dns_provisioner import DkimAlgorithm
from postbus.runtime.database import connection
from postbusd.dns_provisioner.values import SealedDkimKey

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_LOAD = """
SELECT domain, selector, algorithm, key_sealed, public_key FROM dns.dkim_key
WHERE domain = $1 AND retired IS NULL ORDER BY algorithm DESC, selector
"""
_LOCK = "SELECT installation_id FROM dns.installation FOR UPDATE"
_ADD = """
INSERT INTO dns.dkim_key (domain, selector, algorithm, key_sealed, public_key) VALUES ($1, $2, $3, $4, $5)
"""


class PostgresDkimKeyStore:
    """Implements `DkimKeyStore`."""

    def __init__(self, open_pool: Callable[[], Awaitable[asyncpg.Pool]]) -> None:
        self._open_pool = open_pool

    async def load_installation_id(self) -> str:
        """See `DkimKeyStore.load_installation_id`."""
        async with connection(await self._open_pool()) as session:
            return str(await session.fetchval("SELECT installation_id FROM dns.installation"))

    async def load_keys(self, domain: str) -> tuple[SealedDkimKey, ...]:
        """See `DkimKeyStore.load_keys`."""
        async with connection(await self._open_pool()) as session:
            return await _load(session, domain)

    async def add_keys(self, domain: str, keys: Sequence[SealedDkimKey]) -> tuple[SealedDkimKey, ...]:
        """See `DkimKeyStore.add_keys`."""
        async with connection(await self._open_pool()) as session, session.transaction():
            await session.execute(_LOCK)
            present = await _load(session, domain)
            if present:
                return present
            for key in keys:
                await session.execute(
                    _ADD, key.domain, key.selector, key.algorithm.value, key.key_sealed, key.public_key
                )
            return await _load(session, domain)


async def _load(session: "Session", domain: str) -> tuple[SealedDkimKey, ...]:
    return tuple(
        SealedDkimKey(
            domain=row["domain"],
            selector=row["selector"],
            algorithm=DkimAlgorithm(row["algorithm"]),
            key_sealed=row["key_sealed"],
            public_key=row["public_key"],
        )
        for row in await session.fetch(_LOAD, domain)
    )
