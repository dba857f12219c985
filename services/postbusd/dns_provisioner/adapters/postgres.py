"""Schema `dns` in Postgres: all SQL of this service.

Whoever changes something locks the one row of `dns.revision` first: replicas that start together make one CA.
"""

import datetime
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from postbus.runtime.database import connection
from postbusd.dns_provisioner.ports import Change
from postbusd.dns_provisioner.values import SealedPair, Stock

if TYPE_CHECKING:
    from postbus.runtime.database import Session

_LOAD = """
SELECT r.revision, p.* FROM dns.revision r LEFT JOIN (
    SELECT 'authority' AS kind, authority_id AS pair_id, certificate_pem, key_sealed, not_after, '{}'::text[] AS names
    FROM dns.authority WHERE retired IS NULL
    UNION ALL
    SELECT 'certificate', certificate_id, certificate_pem, key_sealed, not_after, names
    FROM dns.certificate WHERE retired IS NULL
) p ON true
ORDER BY p.kind, p.pair_id
"""
_LOCK = "SELECT revision FROM dns.revision FOR UPDATE"
_RETIRE = """
UPDATE dns.{table} SET retired = now(), key_sealed = '' WHERE retired IS NULL AND NOT {table}_id = ANY ($1::uuid[])
"""
_PUT_AUTHORITY = """
INSERT INTO dns.authority (authority_id, certificate_pem, key_sealed, not_after)
VALUES ($1, $2, $3, $4) ON CONFLICT (authority_id) DO NOTHING
"""
_PUT_CERTIFICATE = """
INSERT INTO dns.certificate (certificate_id, certificate_pem, key_sealed, not_after, names)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (certificate_id) DO NOTHING
"""
_COUNT = "UPDATE dns.revision SET revision = revision + 1"


class PostgresCertificateStore:
    """Implements `CertificateStore`."""

    def __init__(self, open_pool: Callable[[], Awaitable[asyncpg.Pool]]) -> None:
        self._open_pool = open_pool

    async def load_revision(self) -> int:
        """See `CertificateStore.load_revision`."""
        async with connection(await self._open_pool()) as session:
            return int(await session.fetchval("SELECT revision FROM dns.revision"))

    async def load(self) -> Stock:
        """See `CertificateStore.load`."""
        async with connection(await self._open_pool()) as session:
            return await _load(session)

    async def change(self, decide: Change) -> tuple[Stock, bool]:
        """See `CertificateStore.change`."""
        async with connection(await self._open_pool()) as session, session.transaction():
            await session.execute(_LOCK)
            present = await _load(session)
            wanted = decide(present)
            if wanted is None:
                return present, False
            await _save(session, wanted)
            return await _load(session), True


async def _load(session: "Session") -> Stock:
    rows = await session.fetch(_LOAD)
    authorities = [_pair(row) for row in rows if row["kind"] == "authority"]
    return Stock(
        revision=rows[0]["revision"],
        authority=authorities[0] if authorities else None,
        certificates=tuple(_pair(row) for row in rows if row["kind"] == "certificate"),
    )


async def _save(session: "Session", wanted: Stock) -> None:
    pairs = [(_PUT_CERTIFICATE, pair) for pair in wanted.certificates]
    authorities = [wanted.authority] if wanted.authority else []
    await session.execute(_RETIRE.format(table="authority"), [UUID(pair.pair_id) for pair in authorities])
    await session.execute(_RETIRE.format(table="certificate"), [UUID(pair.pair_id) for pair in wanted.certificates])
    for statement, pair in [*((_PUT_AUTHORITY, pair) for pair in authorities), *pairs]:
        values = [UUID(pair.pair_id), pair.certificate_pem, pair.key_sealed, _time(pair.not_after_ms)]
        if statement is _PUT_CERTIFICATE:
            values.append(list(pair.names))
        await session.execute(statement, *values)
    await session.execute(_COUNT)


def _pair(row: asyncpg.Record) -> SealedPair:
    return SealedPair(
        pair_id=str(row["pair_id"]),
        certificate_pem=row["certificate_pem"],
        key_sealed=row["key_sealed"],
        not_after_ms=int(row["not_after"].timestamp() * 1000),
        names=tuple(row["names"]),
    )


def _time(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
