"""directory's port for open sessions: whether the logins that began them still stand."""

from typing import Protocol

import msgspec

from postbus.core.ids import MailboxId


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


class LoginConfirmer(Protocol):
    """The port of whatever holds sessions that people logged in to."""

    async def confirm_logins(self, request: ConfirmLoginsRequest) -> ConfirmLoginsReply:
        """Which of these logins still stand, past every cache. Raises MailError: UNAVAILABLE, LIMIT."""
        ...
