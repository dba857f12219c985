"""dns-provisioner's store on real Postgres: replicas agree, keys are sealed, retired keys are gone."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from postbus.contracts.dns_provisioner import ListCertificatesRequest
from postbus.core.clock import SystemClock
from postbusd.dns_provisioner.adapters.postgres import PostgresCertificateStore
from postbusd.dns_provisioner.provisioner import CertificateProvisioner
from postbus.runtime.sealing import Sealer
from postbusd.dns_provisioner.settings import DnsProvisionerSettings

if TYPE_CHECKING:
    from postbus.testing.installation import Database


@pytest.fixture
async def pool(database: "Database") -> AsyncIterator[asyncpg.Pool]:
    await database.execute("TRUNCATE dns.authority, dns.certificate; UPDATE dns.revision SET revision = 0")
    pool = await asyncpg.create_pool(
        database.dsn,
        user="postbus_dns_provisioner",
        password=database.password("dns-provisioner"),
        min_size=0,
        max_size=8,
    )
    yield pool
    await pool.close()


def make(pool: asyncpg.Pool, extra: tuple[str, ...] = ()) -> CertificateProvisioner:
    async def open_pool() -> asyncpg.Pool:
        return pool

    settings = DnsProvisionerSettings(extra_names=extra)
    store = PostgresCertificateStore(open_pool)
    return CertificateProvisioner(store, Sealer(b"k" * 32), SystemClock(), "mail.demo.example", settings)


async def test_replicas_that_start_together_make_one_ca(pool: asyncpg.Pool) -> None:
    replicas = [make(pool) for _ in range(6)]
    revisions = await asyncio.gather(*(replica.renew() for replica in replicas))
    assert sorted(revision or 0 for revision in revisions) == [0, 0, 0, 0, 0, 1]
    replies = [await replica.list_certificates(ListCertificatesRequest()) for replica in replicas]
    assert all(reply == replies[0] for reply in replies)
    assert await pool.fetchval("SELECT count(*) FROM dns.authority") == 1


async def test_keys_are_sealed_and_deleted_when_retired(pool: asyncpg.Pool) -> None:
    assert await make(pool).renew() == 1
    assert await make(pool, ("imap.demo.example",)).renew() == 2
    rows = await pool.fetch("SELECT key_sealed, retired FROM dns.certificate ORDER BY created")
    assert [(bool(row["key_sealed"]), row["retired"] is None) for row in rows] == [(False, False), (True, True)]
    assert all(b"PRIVATE KEY" not in row["key_sealed"] for row in rows)
    reply = await make(pool).list_certificates(ListCertificatesRequest())
    assert (reply.revision, len(reply.certificates)) == (2, 1)
    assert reply.certificates[0].key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
