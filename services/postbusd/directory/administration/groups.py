"""Groups: users who open a mailbox together, or are reached together."""

from postbus.contracts.directory import (
    DeleteReply,
    DeleteRequest,
    Group,
    GroupPage,
    ObjectRequest,
    PageRequest,
    PutGroupReply,
    PutGroupRequest,
)
from postbusd.directory.administration.desk import Desk, check_page, require_superadmin
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.rules import MAX_MEMBERS
from postbusd.directory.names import check_group_address, check_group_name, check_username


class Groups(Desk):
    """The GroupAdmin."""

    async def put_group(self, request: PutGroupRequest) -> PutGroupReply:
        """Creates or replaces a group."""
        require_superadmin(request.actor)
        wanted = request.group
        name = check_group_name(wanted.name)
        if len(wanted.members) > MAX_MEMBERS:
            raise invalid("members", f"at most {MAX_MEMBERS}")
        members = tuple(sorted({check_username(member, "members") for member in wanted.members}))
        address = check_group_address(wanted.address) if wanted.address else None
        group = Group(name=name, members=members, address=str(address) if address else "")
        facts = [f"members={len(members)}", f"address={group.address or 'none'}"]
        event = self._event(f"group {name} set by {request.actor}", facts, domain=address.domain if address else "")
        written = await self._repository.put_group(group, event)
        await self._announce(written, addresses=[group.address])
        return PutGroupReply(group=written.object, created=written.created)

    async def get_group(self, request: ObjectRequest) -> Group:
        """One group."""
        require_superadmin(request.actor)
        return await self._repository.get_group(check_group_name(request.name))

    async def list_groups(self, request: PageRequest) -> GroupPage:
        """One page of groups."""
        require_superadmin(request.actor)
        wanted = check_page(request.after, request.limit)
        page = await self._repository.list_groups(wanted.after, wanted.limit)
        return GroupPage(groups=page.objects, next_after=page.objects[-1].name if page.more else "")

    async def delete_group(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a group that owns no mailbox."""
        require_superadmin(request.actor)
        name = check_group_name(request.name)
        event = self._event(f"group {name} deleted by {request.actor}")
        deleted = await self._repository.delete_group(name, event, dry_run=request.dry_run)
        return await self._ended(request, deleted)
