"""Lists: addresses that many receive, ours and others', and groups. A list in a list is allowed, in itself not."""

from postbus.contracts.mailing_lists import (
    ListPage,
    MailingList,
    PutListReply,
    PutListRequest,
)
from postbus.contracts.objects import (
    DeleteReply,
    DeleteRequest,
    ObjectRequest,
    PageRequest,
)
from postbusd.directory.administration.desk import Desk, check_list, word
from postbusd.directory.administration.refusals import MAX_NAMED, invalid
from postbusd.directory.administration.rules import MAX_MEMBERS
from postbusd.directory.administration.scope import require_domain, seen_domains
from postbusd.directory.administration.values import ListChange
from postbusd.directory.names import check_group_name, check_list_address, read_address, read_any_address

MAX_GROUPS = 100  # of one list


class Lists(Desk):
    """The ListAdmin."""

    async def put_list(self, request: PutListRequest) -> PutListReply:
        """Creates or replaces a list."""
        standing = await self._standing(request.actor)
        wanted = request.list
        if len(wanted.members) > MAX_MEMBERS:
            raise invalid("members", f"at most {MAX_MEMBERS}")
        if len(wanted.groups) > MAX_GROUPS:
            raise invalid("groups", f"at most {MAX_GROUPS}")
        change = ListChange(
            address=check_list_address(wanted.address),
            members=tuple(read_any_address("members", member) for member in wanted.members),
            active=wanted.active,
            members_only=wanted.members_only,
            groups=tuple(sorted({check_group_name(name, "groups") for name in wanted.groups})),
        )
        require_domain(standing, "address", change.address.domain)
        facts = [
            f"active={word(wanted.active)}",
            f"members_only={word(wanted.members_only)}",
            f"members={len(wanted.members)}",
            *([f"groups={' '.join(change.groups[:MAX_NAMED])}"] if change.groups else []),
        ]
        act = self._act(standing, request.condition, f"list {change.address} set", facts, domain=change.address.domain)
        written = await self._repository.put_list(change, act)
        await self._announce(written, addresses=[str(change.address)])
        return PutListReply(list=written.object, created=written.created)

    async def get_list(self, request: ObjectRequest) -> MailingList:
        """One list."""
        standing = await self._standing(request.actor)
        address = read_address("name", request.name)
        require_domain(standing, "name", address.domain)
        return await self._repository.get_list(address)

    async def list_lists(self, request: PageRequest) -> ListPage:
        """One page of lists."""
        standing = await self._standing(request.actor)
        wanted = check_list(request, request.domain)
        domains = seen_domains(standing, wanted.domain)
        page = await self._repository.list_lists(domains, wanted)
        return ListPage(lists=page.objects, next_after=page.objects[-1].address if page.more else "")

    async def delete_list(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a list."""
        standing = await self._standing(request.actor)
        address = read_address("name", request.name)
        require_domain(standing, "name", address.domain)
        act = self._act(standing, request.condition, f"list {address} deleted", domain=address.domain)
        deleted = await self._repository.delete_list(address, act, dry_run=request.dry_run)
        return await self._ended(request, deleted, addresses=[str(address)])
