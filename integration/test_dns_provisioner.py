"""dns-provisioner on real Postgres: replicas agree, keys are sealed, retired keys are gone; plans beside a real DNS."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from postbus.contracts import Empty
from postbus.contracts.dns_provisioner import (
    GetDkimKeysReply,
    GetDkimKeysRequest,
    ListCertificatesRequest,
    PlanDomainRequest,
    RecordState,
)
from postbus.contracts.domains import Domain
from postbus.contracts.objects import ObjectRequest
from postbus.contracts.policy import Policy, PolicyReply
from postbus.core.clock import SystemClock
from postbus.core.errors import MailError
from postbus.runtime.dns import DnsResolver
from postbus.runtime.sealing import Sealer
from postbus.testing.dns_server import serving_dns
from postbusd.dns_provisioner.adapters.postgres import PostgresCertificateStore
from postbusd.dns_provisioner.adapters.postgres_dkim import PostgresDkimKeyStore
from postbusd.dns_provisioner.keyring import DkimKeyring
from postbusd.dns_provisioner.planner import DomainPlanner
from postbusd.dns_provisioner.provisioner import CertificateProvisioner
from postbusd.dns_provisioner.settings import DnsProvisionerSettings

if TYPE_CHECKING:
    from postbus.testing.installation import Database


@pytest.fixture
async def pool(database: "Database") -> AsyncIterator[asyncpg.Pool]:
    await database.execute(
        "TRUNCATE dns.authority, dns.certificate, dns.dkim_key; UPDATE dns.revision SET revision = 0"
    )
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


class EveryDomain:
    """directory, to which every domain is ours."""

    async def get_domain(self, request: ObjectRequest) -> Domain:
        return Domain(name=request.name, incoming=True)

    async def find_policy(self, request: Empty) -> PolicyReply:
        return PolicyReply(policy=Policy(), revision=1)


def make_keyring(pool: asyncpg.Pool, key: bytes = b"k") -> DkimKeyring:
    async def open_pool() -> asyncpg.Pool:
        return pool

    return DkimKeyring(PostgresDkimKeyStore(open_pool), Sealer(key * 32), EveryDomain())


async def test_replicas_that_are_asked_together_make_one_pair_of_dkim_keys(pool: asyncpg.Pool) -> None:
    request = GetDkimKeysRequest(domain="demo.example")
    replies: list[GetDkimKeysReply] = await asyncio.gather(
        *(make_keyring(pool).get_dkim_keys(request) for _ in range(4))
    )
    assert all(reply == replies[0] for reply in replies)
    installation_id = await pool.fetchval("SELECT installation_id FROM dns.installation")
    assert [key.selector for key in replies[0].keys] == [f"postbus-{installation_id}-{number}" for number in (1, 2)]
    rows = await pool.fetch("SELECT key_sealed, public_key FROM dns.dkim_key")
    assert len(rows) == 2
    assert all(b"PRIVATE KEY" not in row["key_sealed"] for row in rows)
    with pytest.raises(MailError, match=r"another master\.key"):
        await make_keyring(pool, b"x").get_dkim_keys(request)


async def test_the_keys_of_a_domain_are_its_own(pool: asyncpg.Pool) -> None:
    keyring = make_keyring(pool)
    one, other = [await keyring.get_dkim_keys(GetDkimKeysRequest(domain=name)) for name in ("a.example", "b.example")]
    assert {key.private_key_pem for key in one.keys}.isdisjoint(key.private_key_pem for key in other.keys)


async def test_a_zone_made_from_the_plan_satisfies_it(pool: asyncpg.Pool) -> None:
    async with serving_dns() as server:
        resolver = DnsResolver(f"127.0.0.1:{server.port}", timeout_seconds=0.5, max_entries=0)
        planner = DomainPlanner(make_keyring(pool), EveryDomain(), resolver, "mail.demo.example")
        request = PlanDomainRequest(domain="demo.example", actor="admin", compare=True)
        server.add("demo.example", "NS", "ns.demo.example.")
        before = await planner.plan_domain(request)
        assert [record.state for record in before.records] == [RecordState.MISSING] * 5
        server.add_zone(before.zone, "example.")
        after = await planner.plan_domain(request)
        assert [(record.state, record.advice) for record in after.records] == [(RecordState.OK, "")] * 5
        server.add("demo.example", "TXT", '"v=spf1 -all"')
        server.add("_dmarc.demo.example", "TXT", '"v=DMARC1; p=none"')
        judged = {
            record.name: record for record in (await planner.plan_domain(request)).records if record.type == "TXT"
        }
        assert judged["demo.example"].state is judged["_dmarc.demo.example"].state is RecordState.DIFFERS
        assert len(judged["_dmarc.demo.example"].live) == 2
        await resolver.close()


async def test_a_silent_dns_is_unknown(pool: asyncpg.Pool) -> None:
    async with serving_dns() as server:
        resolver = DnsResolver(f"127.0.0.1:{server.port}", timeout_seconds=0.2, max_entries=0)
        planner = DomainPlanner(make_keyring(pool), EveryDomain(), resolver, "mail.demo.example")
        request = PlanDomainRequest(domain="broken.example", actor="admin", compare=True)
        records = (await planner.plan_domain(request)).records
        assert {record.state for record in records if record.name == "broken.example"} == {RecordState.UNKNOWN}
        await resolver.close()
