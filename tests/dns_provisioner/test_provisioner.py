"""When certificates are made, renewed and handed out."""

import pytest

from postbus.contracts.dns_provisioner import ListCertificatesRequest
from postbus.core.errors import MailError
from postbus.runtime.sealing import Sealer
from postbusd.dns_provisioner.ports import Change
from postbusd.dns_provisioner.provisioner import DAY_MS, CertificateProvisioner
from postbusd.dns_provisioner.settings import DnsProvisionerSettings
from postbusd.dns_provisioner.values import Stock


class FakeStore:
    """Certificates in memory; counts full reads."""

    def __init__(self) -> None:
        self.stock = Stock(revision=0)
        self.loads = 0

    async def load_revision(self) -> int:
        return self.stock.revision

    async def load(self) -> Stock:
        self.loads += 1
        return self.stock

    async def change(self, decide: Change) -> tuple[Stock, bool]:
        wanted = decide(self.stock)
        if wanted is not None:
            self.stock = Stock(
                revision=self.stock.revision + 1, authority=wanted.authority, certificates=wanted.certificates
            )
        return self.stock, wanted is not None


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


def make(
    store: FakeStore, clock: FakeClock, key: bytes = b"k" * 32, extra: tuple[str, ...] = ()
) -> CertificateProvisioner:
    settings = DnsProvisionerSettings(extra_names=extra)
    return CertificateProvisioner(store, Sealer(key), clock, "mail.demo.example", settings)


async def test_a_location_of_the_mail_server_comes_into_the_certificate() -> None:
    store, clock = FakeStore(), FakeClock()
    provisioner = make(store, clock, extra=("192.0.2.1",))
    await provisioner.renew()
    provisioner.set_locations(["mx.b.example", "mail.demo.example"])
    assert await provisioner.renew() == 2
    names = (await provisioner.list_certificates(ListCertificatesRequest())).certificates[0].names
    assert names[0] == "mail.demo.example"
    assert {"192.0.2.1", "mx.b.example"} <= set(names)
    assert await provisioner.renew() is None
    provisioner.set_locations([])
    assert await provisioner.renew() is None


async def test_the_first_start_makes_a_ca_and_a_certificate() -> None:
    store, clock = FakeStore(), FakeClock()
    provisioner = make(store, clock)
    assert await provisioner.renew() == 1
    reply = await provisioner.list_certificates(ListCertificatesRequest())
    assert reply.revision == 1
    assert reply.ca_pem.startswith(b"-----BEGIN CERTIFICATE-----")
    assert reply.certificates[0].names == ("mail.demo.example", "localhost", "127.0.0.1", "::1")
    assert reply.certificates[0].key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert provisioner.soonest_end_ms == clock.ms + 90 * DAY_MS


async def test_asking_before_that_makes_it_too() -> None:
    reply = await make(FakeStore(), FakeClock()).list_certificates(ListCertificatesRequest())
    assert len(reply.certificates) == 1


async def test_a_second_start_or_replica_changes_nothing() -> None:
    store, clock = FakeStore(), FakeClock()
    assert await make(store, clock).renew() == 1
    assert await make(store, clock).renew() is None


async def test_a_known_revision_is_answered_without_keys() -> None:
    store = FakeStore()
    provisioner = make(store, FakeClock())
    first = await provisioner.list_certificates(ListCertificatesRequest())
    again = await provisioner.list_certificates(ListCertificatesRequest(known_revision=first.revision))
    assert (again.certificates, again.revision) == ((), 1)
    loads = store.loads
    assert await provisioner.list_certificates(ListCertificatesRequest()) == first
    assert store.loads == loads


async def test_a_certificate_is_replaced_before_its_end_under_the_same_ca() -> None:
    store, clock = FakeStore(), FakeClock()
    provisioner = make(store, clock)
    await provisioner.renew()
    first = await provisioner.list_certificates(ListCertificatesRequest())
    clock.ms += 59 * DAY_MS
    assert await provisioner.renew() is None
    clock.ms += 2 * DAY_MS
    assert await provisioner.renew() == 2
    second = await provisioner.list_certificates(ListCertificatesRequest(known_revision=1))
    assert second.ca_pem == first.ca_pem
    assert second.certificates[0].not_after_ms == clock.ms + 90 * DAY_MS


async def test_a_ca_near_its_end_is_replaced() -> None:
    store, clock = FakeStore(), FakeClock()
    provisioner = make(store, clock)
    await provisioner.renew()
    first = store.stock.authority
    clock.ms += (3650 - 89) * DAY_MS
    await provisioner.renew()
    assert store.stock.authority != first
    assert provisioner.soonest_end_ms == clock.ms + 90 * DAY_MS


async def test_a_new_name_needs_a_new_certificate() -> None:
    store, clock = FakeStore(), FakeClock()
    await make(store, clock).renew()
    assert await make(store, clock, extra=("imap.demo.example",)).renew() == 2
    assert "imap.demo.example" in store.stock.certificates[0].names


async def test_another_master_key_is_told_and_nothing_is_overwritten() -> None:
    store, clock = FakeStore(), FakeClock()
    await make(store, clock).renew()
    before = store.stock
    stranger = make(store, clock, key=b"x" * 32)
    with pytest.raises(MailError, match=r"another master\.key"):
        await stranger.list_certificates(ListCertificatesRequest())
    clock.ms += 80 * DAY_MS
    with pytest.raises(MailError, match=r"another master\.key"):
        await stranger.renew()
    assert store.stock == before
