"""Groups: users who open a mailbox together, or are reached together."""

from postbus.contracts.directory import (
    Group,
    GroupPage,
    PutGroupReply,
    PutGroupRequest,
)
from postbus.contracts.objects import (
    DeleteReply,
    DeleteRequest,
    ObjectRequest,
    PageRequest,
)
from postbus.contracts.standing import Standing
from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.administration.desk import Desk, check_list
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.rules import MAX_MEMBERS
from postbusd.directory.administration.scope import domain_of, forbidden, require_domain, seen_domains
from postbusd.directory.names import check_group_address, check_group_name, check_username


class Groups(Desk):
    """The GroupAdmin."""

    async def put_group(self, request: PutGroupRequest) -> PutGroupReply:
        """Creates or replaces a group."""
        standing = await self._standing(request.actor)
        wanted = request.group
        name = check_group_name(wanted.name)
        if len(wanted.members) > MAX_MEMBERS:
            raise invalid("members", f"at most {MAX_MEMBERS}")
        members = tuple(sorted({check_username(member, "members") for member in wanted.members}))
        address = check_group_address(wanted.address) if wanted.address else None
        group = Group(name=name, members=members, address=str(address) if address else "")
        require_domain(standing, "address", domain_of(group.address))
        facts = [f"members={len(members)}", f"address={group.address or 'none'}"]
        act = self._act(
            standing, request.condition, f"group {name} set", facts, domain=address.domain if address else ""
        )
        written = await self._repository.put_group(group, act)
        await self._announce(written, addresses=[group.address])
        return PutGroupReply(group=written.object, created=written.created)

    async def get_group(self, request: ObjectRequest) -> Group:
        """One group."""
        standing = await self._standing(request.actor)
        return await self._get_group(standing, check_group_name(request.name))

    async def list_groups(self, request: PageRequest) -> GroupPage:
        """One page of groups."""
        standing = await self._standing(request.actor)
        wanted = check_list(request)
        domains = seen_domains(standing)
        page = await self._repository.list_groups(domains, wanted)
        return GroupPage(groups=page.objects, next_after=page.objects[-1].name if page.more else "")

    async def delete_group(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a group that owns no mailbox."""
        standing = await self._standing(request.actor)
        name = check_group_name(request.name)
        await self._get_group(standing, name)
        act = self._act(standing, request.condition, f"group {name} deleted")
        deleted = await self._repository.delete_group(name, act, dry_run=request.dry_run)
        return await self._ended(request, deleted)

    async def _get_group(self, standing: Standing, name: str) -> Group:
        """To domain admins a group that is not there and one of others are the same."""
        try:
            group = await self._repository.get_group(name)
        except MailError as error:
            if standing.superadmin or error.kind is not ErrorKind.NOT_FOUND:
                raise
            group = Group(name=name)
        if not standing.superadmin and domain_of(group.address) not in standing.domains:
            raise forbidden(f"name: {standing.actor} does not administer group {name}")
        return group
