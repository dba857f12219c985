"""directory's port for second factors: codes of an authenticator app (TOTP, RFC 6238) beside a user's password."""

from typing import Protocol

import msgspec


class SecondFactor(msgspec.Struct, frozen=True, kw_only=True):
    """Of one user."""

    on: bool
    since_ms: int | None = None
    """Unix time; None: it is off."""
    recovery_codes: int = 0
    """Codes that are left."""


class SecondFactorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """That of a user."""

    username: str
    actor: str


class BeginSecondFactorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The actor's own: a new secret, not in force yet."""

    actor: str
    current_password: str


class BeginSecondFactorReply(msgspec.Struct, frozen=True, kw_only=True):
    """For an authenticator app, told once."""

    secret: str
    """Base32, to be typed."""
    uri: str
    """`otpauth://`, to be shown as a QR code."""


class ConfirmSecondFactorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A first code puts the new secret in force."""

    actor: str
    code: str


class ConfirmSecondFactorReply(msgspec.Struct, frozen=True, kw_only=True):
    """Each opens once, when the app is lost; told once."""

    recovery_codes: tuple[str, ...]


class EndSecondFactorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ends a user's: one's own with the password, those of others as their administrator."""

    username: str
    actor: str
    current_password: str = ""
    dry_run: bool = False


class SecondFactorAdmin(Protocol):
    """Of the user himself, and of who may change that user."""

    async def get_second_factor(self, request: SecondFactorRequest) -> SecondFactor:
        """Whether there is one. Raises MailError: FORBIDDEN, NOT_FOUND."""
        ...

    async def begin_second_factor(self, request: BeginSecondFactorRequest) -> BeginSecondFactorReply:
        """A new secret in place of one that was not confirmed.

        Raises MailError: FORBIDDEN (current_password is not it), RATE_LIMITED, CONFLICT (it is on already).
        """
        ...

    async def confirm_second_factor(self, request: ConfirmSecondFactorRequest) -> ConfirmSecondFactorReply:
        """From now on signing in needs a code, and mail programs need app passwords.

        Raises MailError: FORBIDDEN (not the code of now), CONFLICT (it is on; none was begun), RATE_LIMITED.
        """
        ...

    async def end_second_factor(self, request: EndSecondFactorRequest) -> SecondFactor:
        """What it was. Raises MailError: FORBIDDEN, RATE_LIMITED, NOT_FOUND (it is off)."""
        ...
