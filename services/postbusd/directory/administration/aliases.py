"""Aliases: other names of mailboxes, exact ones and wildcards. A target is a mailbox, so that no loop can be made."""

from postbus.contracts.directory import (
    Alias,
    AliasPage,
    DeleteReply,
    DeleteRequest,
    ObjectRequest,
    PageRequest,
    PutAliasReply,
    PutAliasRequest,
)
from postbusd.directory.administration.desk import Desk, check_page, require_superadmin
from postbusd.directory.names import check_alias_address, read_address


class Aliases(Desk):
    """The AliasAdmin."""

    async def put_alias(self, request: PutAliasRequest) -> PutAliasReply:
        """Creates or replaces an alias."""
        require_superadmin(request.actor)
        address = check_alias_address(request.alias.address)
        mailbox = read_address("mailbox", request.alias.mailbox)
        event = self._event(
            f"alias {address} set by {request.actor}",
            [f"mailbox={mailbox}"],
            domain=address.domain,
            mailbox=str(mailbox),
        )
        written = await self._repository.put_alias(address, mailbox, event)
        await self._announce(written, addresses=[str(address)])
        return PutAliasReply(alias=written.object, created=written.created)

    async def get_alias(self, request: ObjectRequest) -> Alias:
        """One alias."""
        require_superadmin(request.actor)
        return await self._repository.get_alias(read_address("name", request.name))

    async def list_aliases(self, request: PageRequest) -> AliasPage:
        """One page of aliases, of the domain that they are in."""
        require_superadmin(request.actor)
        wanted = check_page(request.after, request.limit, request.domain)
        page = await self._repository.list_aliases(wanted.domain, wanted.after, wanted.limit)
        return AliasPage(aliases=page.objects, next_after=page.objects[-1].address if page.more else "")

    async def delete_alias(self, request: DeleteRequest) -> DeleteReply:
        """Deletes an alias."""
        require_superadmin(request.actor)
        address = read_address("name", request.name)
        event = self._event(f"alias {address} deleted by {request.actor}", domain=address.domain)
        deleted = await self._repository.delete_alias(address, event, dry_run=request.dry_run)
        return await self._ended(request, deleted, addresses=[str(address)])
