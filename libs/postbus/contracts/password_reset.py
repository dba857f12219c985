"""directory's port for users who have forgotten their password: a code that goes to their recovery address."""

from typing import Protocol

import msgspec

RESET_SECONDS = 3600
"""How long a code holds."""


class BeginResetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """For the user of that name, whoever asks."""

    username: str


class BeginResetReply(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be sent; all empty: nothing."""

    recovery_address: str = ""
    code: str = ""
    username: str = ""


class FinishResetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The code, and the password that is to be."""

    code: str
    new_password: str


class FinishResetReply(msgspec.Struct, frozen=True, kw_only=True):
    """Whose password it is now."""

    username: str


class PasswordReset(Protocol):
    """The port of admin-api."""

    async def begin_reset(self, request: BeginResetRequest) -> BeginResetReply:
        """A code in place of the one before; nothing where there is no such active user with a recovery address,
        and nothing within minutes of the one before. Raises MailError: UNAVAILABLE.
        """
        ...

    async def finish_reset(self, request: FinishResetRequest) -> FinishResetReply:
        """Sets the password; the code ends. A second factor stays.

        Raises MailError: UNAUTHENTICATED (code), INVALID (new_password), UNAVAILABLE.
        """
        ...
