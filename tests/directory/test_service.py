"""The whole of directory over fakes: what a change tells others, and what others' changes do here."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from postbus.bus.ports import Bus
from postbus.bus.subjects import SUBJECT_DIRECTORY_CHANGED
from postbus.contracts.app_passwords import Access
from postbus.contracts.directory import (
    Directory,
    FindRouteRequest,
    ListMailboxesRequest,
    PutMailboxRequest,
    ResolveRequest,
)
from postbus.contracts.domains import Domain, ListDomainsRequest, PutDomainRequest
from postbus.contracts.events import DirectoryChanged, EventType
from postbus.contracts.logins import AuthenticateRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer
from postbus.testing.bus import FakeBus
from postbus.testing.directory import KEYS, ManualClock, MemoryAccounts, MemoryDirectory, PlainHasher
from postbus.testing.directory_contract import put, put_domain
from postbus.testing.identity_provider import MemoryProvider
from postbusd.directory.administration import Tools
from postbusd.directory.confirming import LoginConfirming
from postbusd.directory.login import PasswordAuthenticator
from postbusd.directory.resolution import CachedResolver
from postbusd.directory.routes import CachedRoutes
from postbusd.directory.service import DirectoryService, LoginParts
from postbusd.directory.token_login import TokenLogin

SEALER = Sealer(bytes(32))


class Site:
    def __init__(self) -> None:
        clock, hasher, registry = ManualClock(), PlainHasher(), CollectorRegistry()
        self.repository = MemoryDirectory()
        self.bus = FakeBus()
        bus: Bus = self.bus
        accounts = MemoryAccounts()
        party = MemoryProvider(clock).party(self.repository)
        self.service = DirectoryService(
            resolver=CachedResolver(self.repository, accounts, clock, registry),
            logins=LoginParts(
                authenticator=PasswordAuthenticator(self.repository, hasher, KEYS, clock, registry),
                token_login=TokenLogin(self.repository, party, KEYS, clock, registry),
                confirming=LoginConfirming(self.repository, KEYS),
            ),
            routes=CachedRoutes(self.repository, SEALER, clock),
            tools=Tools(
                repository=self.repository,
                accounts=accounts,
                hasher=hasher,
                keys=KEYS,
                sealer=SEALER,
                clock=clock,
                party=party,
            ),
            bus=bus,
        )
        self.port: Directory = self.service

    async def put_domain(self, name: str = "a.test") -> None:
        await self.port.put_domain(PutDomainRequest(domain=Domain(name=name, incoming=True), actor="admin"))

    async def put_mailbox(self, address: str = "kim@a.test", password: str | None = "secret") -> None:
        await self.port.put_mailbox(PutMailboxRequest(address=address, actor="admin", password=password))

    async def login(self, password: str) -> str:
        request = AuthenticateRequest(
            username="kim@a.test", password=password, access=Access.SMTP, client_address="192.0.2.1"
        )
        return (await self.port.authenticate(request)).address

    async def outcome(self, address: str) -> str:
        reply = await self.port.resolve(ResolveRequest(forward_paths=(address,)))
        return reply.resolutions[0].outcome.value


@pytest.fixture
async def site() -> Site:
    site = Site()
    await site.put_domain()
    await site.put_mailbox()
    return site


async def test_a_change_is_told_once_with_its_revision(site: Site) -> None:
    await site.put_mailbox()
    revision = await site.repository.revision()
    assert site.bus.wakes == [
        (SUBJECT_DIRECTORY_CHANGED, DirectoryChanged(revision=revision - 1, domains=("a.test",))),
        (SUBJECT_DIRECTORY_CHANGED, DirectoryChanged(revision=revision, addresses=("kim@a.test",))),
    ]


async def test_a_change_here_holds_at_once(site: Site) -> None:
    assert await site.outcome("new@a.test") == "reject"
    assert await site.login("secret") == "kim@a.test"
    await site.put_mailbox("new@a.test")
    await site.put_mailbox("kim@a.test", "another")
    assert await site.outcome("new@a.test") == "mailbox"
    with pytest.raises(MailError) as error:
        await site.login("secret")
    assert error.value.kind is ErrorKind.UNAUTHENTICATED


async def test_a_change_elsewhere_holds_from_its_wake_up(site: Site) -> None:
    assert await site.outcome("new@a.test") == "reject"
    written = await put(site.repository, "new@a.test")
    assert await site.outcome("new@a.test") == "reject"
    await site.service.note_change(DirectoryChanged(revision=written.revision))
    assert await site.outcome("new@a.test") == "mailbox"


async def test_a_route_holds_from_its_wake_up_or_a_reconnect(site: Site) -> None:
    async def signing_domain() -> str:
        return (await site.port.find_route(FindRouteRequest(domain="x.b.test"))).signing_domain

    assert await signing_domain() == ""
    written = await put_domain(site.repository, "b.test")
    assert await signing_domain() == ""
    await site.service.note_change(DirectoryChanged(revision=written.revision))
    assert await signing_domain() == "b.test"
    await put_domain(site.repository, "x.b.test")
    await site.service.forget()
    assert await signing_domain() == "x.b.test"


async def test_after_a_reconnect_nothing_is_believed(site: Site) -> None:
    assert await site.outcome("new@a.test") == "reject"
    await put(site.repository, "new@a.test")
    await site.service.forget()
    assert await site.outcome("new@a.test") == "mailbox"


async def test_the_outbox_reaches_the_event_log_also_after_the_bus_was_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postbus.bus.outbox.RETRY_SECONDS", 0)
    site.bus.fail_with = MailError(ErrorKind.UNAVAILABLE, "away")
    relay = asyncio.ensure_future(site.service.relay_events())
    for _ in range(10):
        await asyncio.sleep(0)
    assert site.bus.events == []
    site.bus.fail_with = None
    await site.put_domain("b.test")
    while len(site.bus.events) < 3:
        await asyncio.sleep(0)
    relay.cancel()
    assert [event.domain for event in site.bus.events] == ["a.test", "a.test", "b.test"]
    assert {event.type for event in site.bus.events} == {EventType.CONFIGURATION}


async def test_the_contract_is_whole(site: Site) -> None:
    domains = await site.port.list_domains(ListDomainsRequest(actor="admin"))
    mailboxes = await site.port.list_mailboxes(ListMailboxesRequest(actor="admin"))
    assert [each.name for each in domains.domains] == ["a.test"]
    assert [each.address for each in mailboxes.mailboxes] == ["kim@a.test"]
    await site.service.check_database()
    site.repository.away = True
    with pytest.raises(MailError):
        await site.service.check_database()
