"""What directory knows, as its own values: rows never leave the repository."""

import msgspec

from postbus.contracts.directory import Domain, Mailbox
from postbus.core.ids import MailboxId


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What the resolver needs to know about one name: the mailbox of that local part, both parts folded.

    With `system`, the oldest active mailbox of the domain instead; an empty domain then means the oldest domain with
    incoming mail (RFC 5321 §4.5.1: <postmaster> needs no domain).
    """

    local_part: str
    domain: str
    system: bool = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the repository holds for a Key."""

    domain: Domain | None = None
    """None: not one of ours."""
    mailbox: Mailbox | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of the directory: everything that a batch of addresses is decided by."""

    revision: int
    found: dict[Key, Found]
    used_octets: dict[MailboxId, int]
    """Of mailboxes with a quota."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox with what proves its owner."""

    mailbox: Mailbox
    password_hash: str
    """Empty: it has no password."""
    revision: int


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
