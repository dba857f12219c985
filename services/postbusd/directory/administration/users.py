"""Users: the people whose passwords open mailboxes, their own and those of their groups."""

from postbus.contracts.directory import (
    DeleteReply,
    DeleteRequest,
    ObjectRequest,
    PageRequest,
    PutUserReply,
    PutUserRequest,
    User,
    UserPage,
)
from postbusd.directory.administration.desk import Desk, check_page, require_superadmin, word
from postbusd.directory.administration.values import UserChange
from postbusd.directory.names import check_display_name, check_username


class Users(Desk):
    """The UserAdmin."""

    async def put_user(self, request: PutUserRequest) -> PutUserReply:
        """Creates or replaces a user."""
        require_superadmin(request.actor)
        user = User(
            username=check_username(request.user.username),
            display_name=check_display_name(request.user.display_name),
            active=request.user.active,
        )
        password, told = await self._hash_if_new(user.username, request.password)
        event = self._event(f"user {user.username} set by {request.actor}", [f"active={word(user.active)}", *told])
        written = await self._repository.put_user(UserChange(user=user, password=password), event)
        await self._announce(written)
        return PutUserReply(user=written.object, created=written.created)

    async def get_user(self, request: ObjectRequest) -> User:
        """One user."""
        require_superadmin(request.actor)
        return await self._repository.get_user(check_username(request.name, "name"))

    async def list_users(self, request: PageRequest) -> UserPage:
        """One page of users."""
        require_superadmin(request.actor)
        wanted = check_page(request.after, request.limit)
        page = await self._repository.list_users(wanted.after, wanted.limit)
        return UserPage(users=page.objects, next_after=page.objects[-1].username if page.more else "")

    async def delete_user(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a user who owns no mailbox; memberships end."""
        require_superadmin(request.actor)
        username = check_username(request.name, "name")
        event = self._event(f"user {username} deleted by {request.actor}")
        deleted = await self._repository.delete_user(username, event, dry_run=request.dry_run)
        return await self._ended(request, deleted)
