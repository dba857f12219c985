"""directory's ports for logins by password, and for open sessions: whether the logins that began them still stand."""

from typing import Protocol

import msgspec

from postbus.contracts.app_passwords import Access
from postbus.core.ids import MailboxId


class AuthenticateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A login attempt with user name and password (SASL PLAIN, LOGIN)."""

    username: str
    password: str
    access: Access
    client_address: str
    """IP address of the client, for counting failures per network."""


class AuthenticateReply(msgspec.Struct, frozen=True, kw_only=True):
    """A successful login; a failed one raises MailError (UNAUTHENTICATED, INACTIVE, RATE_LIMITED, UNAVAILABLE)."""

    mailbox_id: MailboxId
    address: str
    quota_octets: int | None = None
    revision: int = 0
    member: str = ""
    """Whose password it was: the user's name, of a group mailbox the member's; empty: an app's."""
    proof: str = ""
    """Of the secret that opened the mailbox, for `confirm_logins`; says nothing to anybody but directory."""
    app_password: str = ""
    """The name of the app password that it was; empty: none."""

    @property
    def shown(self) -> str:
        """Whose secret it was, for events."""
        return f"{self.member}, app password {self.app_password}" if self.app_password else self.member


class ShownLogin(msgspec.Struct, frozen=True, kw_only=True):
    """The login of an open session, as Authenticate gave it (`AuthenticateReply`)."""

    mailbox_id: MailboxId
    member: str = ""
    proof: str


class ConfirmLoginsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The logins of many sessions at once, at most MAX_SHOWN_LOGINS."""

    logins: tuple[ShownLogin, ...]


class ConfirmedLogin(msgspec.Struct, frozen=True, kw_only=True):
    """What a login is worth now."""

    stands: bool
    """False: the mailbox or who opened it is gone or switched off, or the secret is another one."""
    quota_octets: int | None = None
    """Of the mailbox, where the login stands; None: unlimited."""


class ConfirmLoginsReply(msgspec.Struct, frozen=True, kw_only=True):
    """Answers in the order asked for."""

    logins: tuple[ConfirmedLogin, ...]
    revision: int
    """The directory's revision that the answers belong to."""


MAX_SHOWN_LOGINS = 1_000
"""Of one request."""


class Authenticator(Protocol):
    """The port of everything that people log in to."""

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        """Checks a password; Raises MailError."""
        ...


class LoginConfirmer(Protocol):
    """The port of whatever holds sessions that people logged in to."""

    async def confirm_logins(self, request: ConfirmLoginsRequest) -> ConfirmLoginsReply:
        """Which of these logins still stand, past every cache. Raises MailError: UNAVAILABLE, LIMIT."""
        ...
