"""directory's port for users who sign in to the API, and for the sessions that begin so."""

import enum
from typing import Protocol

import msgspec


class SignInMethod(enum.StrEnum):
    """How a user has shown who he is."""

    PASSWORD = "password"  # noqa: S105  # with the code of the second factor, where there is one
    APP_PASSWORD = "app_password"  # noqa: S105  # one whose scopes name the API
    IDENTITY_PROVIDER = "identity_provider"


class SignInRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A username with its password, or an app password."""

    username: str
    password: str
    code: str = ""
    """Of the second factor: six digits, or a recovery code. Empty: none is shown."""
    client_address: str = ""


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Who it is."""

    username: str
    method: SignInMethod
    proof: str
    """What a session shows for it (`ConfirmSignInRequest`)."""


class ConfirmSignInRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A session that goes on, with what `SignedIn` gave it."""

    username: str
    method: SignInMethod
    proof: str


class ConfirmSignInReply(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it may."""

    stands: bool
    """False: the user is gone or not active, or the secret is another one."""


class SignIn(Protocol):
    """The port of admin-api."""

    async def sign_in(self, request: SignInRequest) -> SignedIn:
        """Checks a password, and the second factor where there is one.

        Raises MailError: UNAUTHENTICATED (`code: …` once the password is right), RATE_LIMITED, INACTIVE, UNAVAILABLE.
        """
        ...

    async def confirm_sign_in(self, request: ConfirmSignInRequest) -> ConfirmSignInReply:
        """Whether a session's sign-in still stands, past every cache. Raises MailError: UNAVAILABLE."""
        ...
