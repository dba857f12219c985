"""Aliases: other names of mailboxes, exact ones and wildcards. A target is a mailbox, so that no loop can be made."""

from postbus.contracts.directory import (
    Alias,
    AliasPage,
    PutAliasReply,
    PutAliasRequest,
)
from postbus.contracts.objects import (
    DeleteReply,
    DeleteRequest,
    ObjectRequest,
    PageRequest,
)
from postbusd.directory.administration.desk import Desk, check_list
from postbusd.directory.administration.scope import require_domain, seen_domains
from postbusd.directory.names import check_alias_address, read_address


class Aliases(Desk):
    """The AliasAdmin."""

    async def put_alias(self, request: PutAliasRequest) -> PutAliasReply:
        """Creates or replaces an alias."""
        standing = await self._standing(request.actor)
        address = check_alias_address(request.alias.address)
        mailbox = read_address("mailbox", request.alias.mailbox)
        require_domain(standing, "address", address.domain)
        require_domain(standing, "mailbox", mailbox.domain)
        act = self._act(
            standing,
            request.condition,
            f"alias {address} set",
            [f"mailbox={mailbox}"],
            domain=address.domain,
            mailbox=str(mailbox),
        )
        written = await self._repository.put_alias(address, mailbox, act)
        await self._announce(written, addresses=[str(address)])
        return PutAliasReply(alias=written.object, created=written.created)

    async def get_alias(self, request: ObjectRequest) -> Alias:
        """One alias."""
        standing = await self._standing(request.actor)
        address = read_address("name", request.name)
        require_domain(standing, "name", address.domain)
        return await self._repository.get_alias(address)

    async def list_aliases(self, request: PageRequest) -> AliasPage:
        """One page of aliases, of the domain that they are in."""
        standing = await self._standing(request.actor)
        wanted = check_list(request, request.domain)
        domains = seen_domains(standing, wanted.domain)
        page = await self._repository.list_aliases(domains, wanted)
        return AliasPage(aliases=page.objects, next_after=page.objects[-1].address if page.more else "")

    async def delete_alias(self, request: DeleteRequest) -> DeleteReply:
        """Deletes an alias."""
        standing = await self._standing(request.actor)
        address = read_address("name", request.name)
        require_domain(standing, "name", address.domain)
        act = self._act(standing, request.condition, f"alias {address} deleted", domain=address.domain)
        deleted = await self._repository.delete_alias(address, act, dry_run=request.dry_run)
        return await self._ended(request, deleted, addresses=[str(address)])
