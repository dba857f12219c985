"""All of `postbus.contracts.directory.Directory`, and the news about changes."""

from postbus.bus.outbox import OutboxRelay
from postbus.bus.ports import Bus
from postbus.bus.subjects import SUBJECT_DIRECTORY_CHANGED
from postbus.contracts.directory import (
    AuthenticateReply,
    AuthenticateRequest,
    Domain,
    ListDomainsReply,
    ListDomainsRequest,
    ListMailboxesReply,
    ListMailboxesRequest,
    PutDomainRequest,
    PutMailboxReply,
    PutMailboxRequest,
    ResolveReply,
    ResolveRequest,
)
from postbus.contracts.events import DirectoryChanged
from postbusd.directory.administration import Administration
from postbusd.directory.login import PasswordAuthenticator
from postbusd.directory.ports import DirectoryRepository
from postbusd.directory.resolution import CachedResolver

RELAY_SECONDS = 30.0
"""How often the outbox is looked at without a reason: events of a process that died after its commit."""


class DirectoryService:
    """The parts of directory as one contract."""

    def __init__(
        self,
        *,
        resolver: CachedResolver,
        authenticator: PasswordAuthenticator,
        administration: Administration,
        repository: DirectoryRepository,
        bus: Bus,
    ) -> None:
        self._resolver = resolver
        self._authenticator = authenticator
        self._administration = administration
        self._repository = repository
        self._bus = bus
        self._relay = OutboxRelay(repository.relay_outbox, bus, RELAY_SECONDS)

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        """What becomes of mail for these addresses."""
        return await self._resolver.resolve(request)

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        """Checks a password."""
        return await self._authenticator.authenticate(request)

    async def put_domain(self, request: PutDomainRequest) -> Domain:
        """Creates or replaces a domain."""
        written = await self._administration.put_domain(request)
        if written.changed:
            await self._tell(DirectoryChanged(revision=written.revision, domains=(written.domain.name,)))
        return written.domain

    async def list_domains(self, request: ListDomainsRequest) -> ListDomainsReply:
        """One page of domains."""
        return await self._administration.list_domains(request)

    async def put_mailbox(self, request: PutMailboxRequest) -> PutMailboxReply:
        """Creates or changes a mailbox."""
        written = await self._administration.put_mailbox(request)
        if written.changed:
            await self._tell(DirectoryChanged(revision=written.revision, addresses=(written.mailbox.address,)))
        return PutMailboxReply(mailbox=written.mailbox, created=written.created)

    async def list_mailboxes(self, request: ListMailboxesRequest) -> ListMailboxesReply:
        """One page of mailboxes."""
        return await self._administration.list_mailboxes(request)

    async def check_database(self) -> None:
        """Readiness: raises MailError when the directory can't be read."""
        await self._repository.revision()

    async def note_change(self, changed: DirectoryChanged) -> None:
        """Another process has changed the directory."""
        self._resolver.cache.advance(changed.revision)
        self._authenticator.cache.advance(changed.revision)

    async def forget(self) -> None:
        """Changes may have been missed: the bus was away."""
        self._resolver.cache.clear()
        self._authenticator.cache.clear()

    async def relay_events(self) -> None:
        """Publishes the outbox, for ever."""
        await self._relay.run()

    async def _tell(self, changed: DirectoryChanged) -> None:
        """After the commit. A lost wake-up costs 60 s: no cache lives longer unconfirmed."""
        await self.note_change(changed)
        self._relay.wake()
        await self._bus.wake(SUBJECT_DIRECTORY_CHANGED, changed)
