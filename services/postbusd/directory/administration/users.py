"""Users: the people whose passwords open mailboxes, their own and those of their groups."""

from collections.abc import Sequence

from postbus.contracts.directory import (
    PutUserReply,
    PutUserRequest,
    User,
    UserPage,
)
from postbus.contracts.objects import (
    DeleteReply,
    DeleteRequest,
    ObjectRequest,
    PageRequest,
)
from postbus.contracts.standing import ADMINISTRATOR
from postbusd.directory.administration.desk import Desk, check_list, word
from postbusd.directory.administration.refusals import MAX_NAMED, invalid
from postbusd.directory.administration.scope import domain_of, forbidden, is_seen, require_domain, seen_domains
from postbusd.directory.administration.values import UserChange
from postbusd.directory.names import check_display_name, check_username, read_any_address, read_domain

MAX_ADMIN_OF = 1_000  # domains of one domain admin


class Users(Desk):
    """The UserAdmin."""

    async def put_user(self, request: PutUserRequest) -> PutUserReply:
        """Creates or replaces a user."""
        standing = await self._standing(request.actor)
        user = User(
            username=check_username(request.user.username),
            display_name=check_display_name(request.user.display_name),
            active=request.user.active,
            superadmin=request.user.superadmin,
            admin_of=_check_domains(request.user.admin_of),
            recovery_address=_check_recovery(request.user.recovery_address),
        )
        if user.username == ADMINISTRATOR:
            raise invalid("username", f"{ADMINISTRATOR} is the installation's own administrator")
        require_domain(standing, "username", domain_of(user.username))
        password, told = await self._hash_if_new(user.username, request.password, request.password_hash)
        act = self._act(standing, request.condition, f"user {user.username} set", [*_facts(user), *told])
        written = await self._repository.put_user(UserChange(user=user, password=password), act)
        await self._announce(written)
        return PutUserReply(user=written.object, created=written.created)

    async def get_user(self, request: ObjectRequest) -> User:
        """One user."""
        standing = await self._standing(request.actor)
        username = check_username(request.name, "name")
        if not is_seen(standing, username, await self._repository.owned_domains(username)):
            raise forbidden(f"name: {standing.actor} does not administer user {username}")
        return await self._repository.get_user(username)

    async def list_users(self, request: PageRequest) -> UserPage:
        """One page of users."""
        standing = await self._standing(request.actor)
        wanted = check_list(request)
        domains = seen_domains(standing)
        page = await self._repository.list_users(domains, wanted)
        return UserPage(users=page.objects, next_after=page.objects[-1].username if page.more else "")

    async def delete_user(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a user who owns no mailbox; memberships end."""
        standing = await self._standing(request.actor)
        username = check_username(request.name, "name")
        require_domain(standing, "name", domain_of(username))
        act = self._act(standing, request.condition, f"user {username} deleted")
        deleted = await self._repository.delete_user(username, act, dry_run=request.dry_run)
        return await self._ended(request, deleted)


def _check_domains(names: Sequence[str]) -> tuple[str, ...]:
    if len(names) > MAX_ADMIN_OF:
        raise invalid("admin_of", f"at most {MAX_ADMIN_OF} domains")
    return tuple(sorted({read_domain("admin_of", name) for name in names}))


def _check_recovery(address: str) -> str:
    return str(read_any_address("recovery_address", address)) if address else ""


def _facts(user: User) -> list[str]:
    facts = [f"active={word(user.active)}"]
    facts += ["superadmin"] if user.superadmin else []
    facts += [f"admin of {' '.join(user.admin_of[:MAX_NAMED])}"] if user.admin_of else []
    return facts + (["recovery address"] if user.recovery_address else [])
