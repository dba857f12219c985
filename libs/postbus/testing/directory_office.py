"""The administrator's commands over a directory in memory or another: short ways to put things; what was told."""

import contextlib
from collections.abc import Iterator

import pytest

from postbus.contracts.directory import (
    Alias,
    Group,
    PutAliasReply,
    PutAliasRequest,
    PutAppReply,
    PutAppRequest,
    PutGroupReply,
    PutGroupRequest,
    PutMailboxReply,
    PutMailboxRequest,
    PutUserReply,
    PutUserRequest,
    User,
)
from postbus.contracts.domains import Domain, PutDomainRequest
from postbus.contracts.events import DirectoryChanged
from postbus.contracts.mailing_lists import MailingList, PutListReply, PutListRequest
from postbus.contracts.objects import DeleteReply, DeleteRequest, ObjectRequest
from postbus.contracts.owners import Owner
from postbus.contracts.relays import Relay
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer
from postbus.testing.directory import KEYS, ManualClock, MemoryAccounts, MemoryDirectory, PlainHasher
from postbus.testing.identity_provider import MemoryProvider
from postbusd.directory.administration import Administration, Tools
from postbusd.directory.administration.ports import DirectoryRepository

SEALER = Sealer(bytes(32))
ADMIN = "admin"
PASSWORD = "secret"  # noqa: S105  for tests


@contextlib.contextmanager
def refused(kind: ErrorKind, detail: str) -> Iterator[None]:
    """The block must raise a MailError of this kind whose detail begins with `detail`: a field, perhaps a reason."""
    with pytest.raises(MailError) as caught:
        yield
    assert caught.value.kind is kind, caught.value
    assert caught.value.detail.startswith(detail), caught.value


class Office:
    """An administrator at work; names are as he types them."""

    def __init__(self, repository: DirectoryRepository | None = None) -> None:
        self.memory = MemoryDirectory()
        self.repository = repository or self.memory
        self.accounts = MemoryAccounts()
        self.hasher = PlainHasher()
        self.keys = KEYS
        self.clock = ManualClock()
        self.provider = MemoryProvider(self.clock)
        self.told: list[DirectoryChanged] = []
        tools = Tools(
            repository=self.repository,
            accounts=self.accounts,
            hasher=self.hasher,
            keys=KEYS,
            sealer=SEALER,
            clock=self.clock,
            party=self.provider.party(self.repository),
        )
        self.administration = Administration(tools, self._hear)

    async def put_domain(
        self, name: str, *, incoming: bool = False, catch_all: tuple[str, ...] = (), relay: Relay | None = None
    ) -> Domain:
        """A domain."""
        domain = Domain(name=name, incoming=incoming, catch_all=catch_all, relay=relay)
        return await self.administration.put_domain(PutDomainRequest(domain=domain, actor=ADMIN))

    async def put_mailbox(
        self,
        address: str,
        password: str | None = PASSWORD,
        *,
        owner: Owner | None = None,
        quota_octets: int | None = None,
        active: bool | None = None,
    ) -> PutMailboxReply:
        """A mailbox; with an owner it needs `password=None`."""
        request = PutMailboxRequest(
            address=address, actor=ADMIN, password=password, owner=owner, quota_octets=quota_octets, active=active
        )
        return await self.administration.put_mailbox(request)

    async def put_user(
        self, username: str, password: str | None = None, *, display_name: str = "", active: bool = True
    ) -> PutUserReply:
        """A user."""
        user = User(username=username, display_name=display_name, active=active)
        return await self.administration.put_user(PutUserRequest(user=user, actor=ADMIN, password=password))

    async def put_group(self, name: str, *members: str, address: str = "") -> PutGroupReply:
        """A group."""
        group = Group(name=name, members=members, address=address)
        return await self.administration.put_group(PutGroupRequest(group=group, actor=ADMIN))

    async def put_app(
        self, name: str, domain: str = "", *, address: str = "", active: bool = True, rotate: bool = False
    ) -> PutAppReply:
        """An app."""
        request = PutAppRequest(name=name, actor=ADMIN, domain=domain, address=address, active=active, rotate=rotate)
        return await self.administration.put_app(request)

    async def put_alias(self, address: str, mailbox: str) -> PutAliasReply:
        """An alias."""
        return await self.administration.put_alias(
            PutAliasRequest(alias=Alias(address=address, mailbox=mailbox), actor=ADMIN)
        )

    async def put_list(
        self,
        address: str,
        *members: str,
        active: bool = True,
        members_only: bool = False,
        groups: tuple[str, ...] = (),
        actor: str = ADMIN,
    ) -> PutListReply:
        """A list."""
        wanted = MailingList(address=address, members=members, active=active, members_only=members_only, groups=groups)
        return await self.administration.put_list(PutListRequest(list=wanted, actor=actor))

    async def delete(self, noun: str, name: str, *, dry_run: bool = False) -> tuple[str, ...]:
        """Any object; the lines of the reply."""
        method = getattr(self.administration, f"delete_{noun}")
        reply: DeleteReply = await method(DeleteRequest(name=name, actor=ADMIN, dry_run=dry_run))
        return reply.deleted

    async def get(self, noun: str, name: str) -> object:
        """Any object."""
        found: object = await getattr(self.administration, f"get_{noun}")(ObjectRequest(name=name, actor=ADMIN))
        return found

    async def trace(self) -> tuple[int, int]:
        """Revision and number of changes told: what a write that changes nothing leaves as it is."""
        return await self.repository.revision(), len(self.told)

    async def _hear(self, changed: DirectoryChanged) -> None:
        self.told.append(changed)
