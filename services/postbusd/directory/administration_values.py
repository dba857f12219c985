"""What the administrator's commands write and what writing did, as directory's own values."""

import msgspec

from postbus.contracts.directory import Domain, Mailbox
from postbus.core.ids import MailboxId


class MailboxChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to write about a mailbox; None leaves a value as it is (or at its default)."""

    mailbox_id: MailboxId
    """Used when the mailbox is new."""
    local_part: str
    domain: str
    actor: str
    password_hash: str | None = None
    active: bool | None = None
    quota_octets: int | None = None
    """0: unlimited."""
    create_only: bool = False


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a write did."""

    changed: bool
    """False: everything was so already, nothing was written."""
    revision: int


class DomainWritten(Written, frozen=True, kw_only=True):
    """A written domain."""

    domain: Domain


class MailboxWritten(Written, frozen=True, kw_only=True):
    """A written mailbox."""

    mailbox: Mailbox
    created: bool


class DomainPage(msgspec.Struct, frozen=True, kw_only=True):
    """Domains by name; `more`: others follow."""

    domains: tuple[Domain, ...]
    more: bool


class MailboxPage(msgspec.Struct, frozen=True, kw_only=True):
    """Mailboxes by address; `more`: others follow."""

    mailboxes: tuple[Mailbox, ...]
    more: bool
