"""directory's port for what becomes of mailboxes: another address, the archive of the deleted, their end; usage."""

from typing import Protocol

import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner
from postbus.core.ids import MailboxId


class RenameMailboxRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Gives a mailbox another address; its mail, folders, aliases and owner stay."""

    address: str
    new_address: str
    actor: str
    keep_alias: bool = False
    """The old address becomes an alias."""
    condition: Condition = Condition()


class RenameMailboxReply(msgspec.Struct, frozen=True, kw_only=True):
    """As it is now."""

    mailbox: Mailbox


class UsageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Of one mailbox."""

    address: str
    actor: str


class FolderUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds."""

    name: str
    messages: int
    unseen: int
    octets: int


class MailboxUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a mailbox holds; a message in two folders counts twice, as for the quota."""

    address: str
    messages: int
    octets: int
    folders: tuple[FolderUsage, ...]
    """INBOX first, then by name."""
    quota_octets: int | None = None
    """What holds; None: unlimited."""


class ArchivedMailbox(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted mailbox whose mail is still there."""

    mailbox_id: MailboxId
    address: str
    """That it had."""
    deleted_ms: int
    owner: Owner | None = None
    """That it had; None: not known any more."""
    purge_ms: int | None = None
    """When its mail goes for good; None: never by itself."""
    purging: bool = False
    """It is going now: it can't be restored."""
    messages: int = 0
    octets: int = 0


class ListArchivedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One page of archived mailboxes above `after`, a mailbox_id; `address` or `domain` narrow them."""

    actor: str
    domain: str = ""
    address: str = ""
    after: str = ""
    limit: int = 100


class ArchivedPage(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of their ids, which is that of creation; `next_after` empty: the last page."""

    mailboxes: tuple[ArchivedMailbox, ...]
    next_after: str = ""


class RestoreMailboxRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Brings a deleted mailbox back with its mail; `address` empty and `owner` None: those that it had."""

    mailbox_id: str
    actor: str
    address: str = ""
    owner: Owner | None = None
    condition: Condition = Condition()


class RestoreMailboxReply(msgspec.Struct, frozen=True, kw_only=True):
    """As it is now."""

    mailbox: Mailbox


class PurgeMailboxRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Begins the end of an archived mailbox's mail, now."""

    mailbox_id: str
    actor: str
    dry_run: bool = False


class PurgeMailboxReply(msgspec.Struct, frozen=True, kw_only=True):
    """What goes, or would go."""

    mailbox: ArchivedMailbox


class MailboxLife(Protocol):
    """What an administrator does beyond putting and deleting mailboxes."""

    async def rename_mailbox(self, request: RenameMailboxRequest) -> RenameMailboxReply:
        """Raises MailError: NOT_FOUND, FORBIDDEN, INVALID, CONFLICT (the address is taken; an app's), CHANGED."""
        ...

    async def get_usage(self, request: UsageRequest) -> MailboxUsage:
        """By folder. Raises MailError: NOT_FOUND, FORBIDDEN."""
        ...

    async def list_archived(self, request: ListArchivedRequest) -> ArchivedPage:
        """Deleted mailboxes whose mail is still there. Raises MailError: INVALID, FORBIDDEN."""
        ...

    async def restore_mailbox(self, request: RestoreMailboxRequest) -> RestoreMailboxReply:
        """Mail, folders and UIDs are as they were.

        Raises MailError: NOT_FOUND (mailbox_id, domain, owner), FORBIDDEN, INVALID, CONFLICT (the address is taken; it
        is being purged).
        """
        ...

    async def purge_mailbox(self, request: PurgeMailboxRequest) -> PurgeMailboxReply:
        """Raises MailError: NOT_FOUND, FORBIDDEN."""
        ...
