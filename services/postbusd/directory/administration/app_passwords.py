"""App passwords: generated, told once, found by a keyed index; they cost no slow hash."""

from collections.abc import Sequence

from postbus.contracts.app_passwords import (
    Access,
    AddAppPasswordReply,
    AddAppPasswordRequest,
    AppPassword,
    AppPasswordReply,
    AppPasswords,
    DeleteAppPasswordRequest,
    ListAppPasswordsRequest,
)
from postbus.contracts.condition import Condition
from postbusd.directory.administration.desk import Desk
from postbusd.directory.administration.refusals import invalid
from postbusd.directory.administration.secrets import make_secret
from postbusd.directory.names import check_username, is_plain_text

MAX_APP_PASSWORDS = 50  # of one user
MAX_NAME_CHARACTERS = 100


class AppPasswordsDesk(Desk):
    """The AppPasswordAdmin."""

    async def add_app_password(self, request: AddAppPasswordRequest) -> AddAppPasswordReply:
        """Makes an app password."""
        standing = await self._standing(request.actor)
        username, wanted = check_username(request.username), request.app_password
        now_ms = self._tools.clock.now_ms()
        if wanted.expires_ms is not None and wanted.expires_ms <= now_ms:
            raise invalid("expires_ms", "is over already")
        made = AppPassword(
            name=_check_name(wanted.name),
            scopes=_check_scopes(wanted.scopes),
            expires_ms=wanted.expires_ms,
            created_ms=now_ms,
        )
        facts = [f"for {' '.join(made.scopes)}", *(["with an end"] if made.expires_ms is not None else [])]
        act = self._act(standing, Condition(), f"app password {made.name} of user {username} made", facts)
        secret = make_secret()
        written = await self._repository.add_app_password(
            username, made, self._tools.keys.index(secret), MAX_APP_PASSWORDS, act
        )
        await self._announce(written)
        return AddAppPasswordReply(app_password=written.object, secret=secret)

    async def list_app_passwords(self, request: ListAppPasswordsRequest) -> AppPasswords:
        """Without their secrets."""
        standing = await self._standing(request.actor)
        username = check_username(request.username)
        return AppPasswords(app_passwords=await self._repository.list_app_passwords(username, standing))

    async def delete_app_password(self, request: DeleteAppPasswordRequest) -> AppPasswordReply:
        """Ends an app password."""
        standing = await self._standing(request.actor)
        username, name = check_username(request.username), _check_name(request.name)
        act = self._act(standing, Condition(plan=request.dry_run), f"app password {name} of user {username} deleted")
        written = await self._repository.delete_app_password(username, name, act)
        await self._announce(written)
        return AppPasswordReply(app_password=written.object)


def _check_name(text: str) -> str:
    name = text.strip()
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or not is_plain_text(name) or "/" in name:
        raise invalid("name", f"1 to {MAX_NAME_CHARACTERS} characters, no / and no control characters")
    return name


def _check_scopes(scopes: Sequence[Access]) -> tuple[Access, ...]:
    if not scopes:
        raise invalid("scopes", f"name at least one of {', '.join(Access)}")
    return tuple(each for each in Access if each in scopes)
