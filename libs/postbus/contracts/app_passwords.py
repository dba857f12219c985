"""directory's port for app passwords: what a user gives to one program, for some protocols, perhaps for some time."""

import enum
from typing import Protocol

import msgspec


class Access(enum.StrEnum):
    """The protocol that a login is for."""

    IMAP = "imap"
    SMTP = "smtp"
    POP3 = "pop3"
    SIEVE = "sieve"
    API = "api"


class AppPassword(msgspec.Struct, frozen=True, kw_only=True):
    """A generated password of a user; it opens what the user's own does, by the protocols of its scopes alone."""

    name: str
    """What it is for; one of a user's has it."""
    scopes: tuple[Access, ...]
    """In the order of Access, at least one."""
    expires_ms: int | None = None
    """Unix time; None: never."""
    created_ms: int = 0
    last_used_ms: int | None = None
    """To the hour; None: never."""


class AddAppPasswordRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Makes one for a user."""

    username: str
    actor: str
    app_password: AppPassword


class AddAppPasswordReply(msgspec.Struct, frozen=True, kw_only=True):
    """It, and its secret, told once."""

    app_password: AppPassword
    secret: str


class ListAppPasswordsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All of a user."""

    username: str
    actor: str


class AppPasswords(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of their names."""

    app_passwords: tuple[AppPassword, ...]


class DeleteAppPasswordRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ends one; sessions that began with it end too."""

    username: str
    name: str
    actor: str
    dry_run: bool = False


class AppPasswordReply(msgspec.Struct, frozen=True, kw_only=True):
    """The one that was deleted, or would be."""

    app_password: AppPassword


class AppPasswordAdmin(Protocol):
    """Of the user himself, and of who may change that user."""

    async def add_app_password(self, request: AddAppPasswordRequest) -> AddAppPasswordReply:
        """Makes an app password. Raises MailError: INVALID, NOT_FOUND, FORBIDDEN, ALREADY_EXISTS, LIMIT."""
        ...

    async def list_app_passwords(self, request: ListAppPasswordsRequest) -> AppPasswords:
        """Without their secrets. Raises MailError: NOT_FOUND, FORBIDDEN."""
        ...

    async def delete_app_password(self, request: DeleteAppPasswordRequest) -> AppPasswordReply:
        """Ends an app password. Raises MailError: NOT_FOUND, FORBIDDEN."""
        ...
