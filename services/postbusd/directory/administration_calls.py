"""The administrator's half of the contract: each command is carried out, and what it changed is told to everybody."""

from collections.abc import Awaitable, Callable

from postbus.contracts.directory import (
    Domain,
    ListDomainsReply,
    ListDomainsRequest,
    ListMailboxesReply,
    ListMailboxesRequest,
    PutDomainRequest,
    PutMailboxReply,
    PutMailboxRequest,
)
from postbus.contracts.events import DirectoryChanged
from postbusd.directory.administration import Administration


class AdministrationCalls:
    """The DirectoryAdmin part of DirectoryService; `tell` is called after each commit."""

    def __init__(self, administration: Administration, tell: Callable[[DirectoryChanged], Awaitable[None]]) -> None:
        self._administration = administration
        self._tell = tell

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
