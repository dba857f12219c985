"""directory's port for users who change their own password."""

from typing import Protocol

import msgspec


class ChangePasswordRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Of the actor, who knows the current one."""

    actor: str
    current_password: str
    new_password: str


class ChangePasswordReply(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it is another one now."""

    changed: bool


class OwnPassword(Protocol):
    """Of every user."""

    async def change_password(self, request: ChangePasswordRequest) -> ChangePasswordReply:
        """Sessions that began with the former one end; app passwords stay.

        Raises MailError: FORBIDDEN (current_password is not it; the actor is no user with a password), RATE_LIMITED,
        INVALID (new_password), CONFLICT (it was changed meanwhile), UNAVAILABLE.
        """
        ...
