"""The ports of the mail store, by need. `postbus.mailstore.postgres.PostgresMailStore` implements them all.

Every method raises MailError: UNAVAILABLE when the database is away, NOT_FOUND, ALREADY_EXISTS, OVER_QUOTA, INVALID.
Changes raise `postbus.mailstore.database.OutcomeUnknownError`, which is UNAVAILABLE too, when the connection was lost
after they were sent: they may have happened.
"""

from collections.abc import Sequence
from typing import Protocol

from postbus.contracts.events import Event
from postbus.core.ids import EmailId, FolderId, MailboxId, ModSeq
from postbus.mailstore.values import (
    Append,
    AppendResult,
    CopyRequest,
    CopyResult,
    Enqueued,
    Folder,
    FolderHead,
    PackedEntries,
    PendingIndex,
    StoredMessage,
    StoreRequest,
    StoreResult,
    Totals,
)


class MessageAppender(Protocol):
    """The port of delivery and APPEND."""

    async def append(self, appends: Sequence[Append]) -> list[AppendResult]:
        """One round trip for the whole batch, any mailboxes, results in the order asked for.

        Each append is atomic by itself: key, message, entry, quota, change row, outbox rows and index_pending
        (architecture §3.5).
        """
        ...


class Accounts(Protocol):
    """The port of directory."""

    async def ensure_mailboxes(self, mailbox_ids: Sequence[MailboxId]) -> None:
        """Makes the rows of mailboxes and their special-use folders, all or none; idempotent."""
        ...

    async def usage(self, mailbox_ids: Sequence[MailboxId]) -> dict[MailboxId, int]:
        """Octets used; mailboxes without a row are absent."""
        ...

    async def totals(self, mailbox_ids: Sequence[MailboxId]) -> dict[MailboxId, Totals]:
        """What mailboxes hold; those without a row are absent."""
        ...

    async def list_folders(self, mailbox_id: MailboxId) -> list[Folder]:
        """As the FolderCatalog does."""
        ...

    async def purge(self, mailbox_id: MailboxId, limit: int) -> bool:
        """Takes away up to `limit` entries, or other rows, of a mailbox that nobody may open; True: nothing is left.

        The index learns of each message. Repeated until it is done; may be broken off anywhere.
        """
        ...


class FolderCatalog(Protocol):
    """The port of the IMAP commands that name folders."""

    async def list_folders(self, mailbox_id: MailboxId) -> list[Folder]:
        """All folders by name, INBOX first, with counters as of now."""
        ...

    async def create_folder(self, mailbox_id: MailboxId, name: str) -> Folder:
        """Creates a folder and its missing parents."""
        ...

    async def delete_folder(self, mailbox_id: MailboxId, folder_id: FolderId) -> None:
        """Deletes a folder and its entries; CONFLICT for INBOX and for one with children."""
        ...

    async def rename_folder(self, mailbox_id: MailboxId, folder_id: FolderId, name: str) -> None:
        """Renames a folder and everything below; INBOX moves its messages (RFC 9051 §6.3.6)."""
        ...

    async def set_subscribed(self, mailbox_id: MailboxId, folder_id: FolderId, subscribed: bool) -> None:
        """SUBSCRIBE and UNSUBSCRIBE."""
        ...


class FolderReader(Protocol):
    """The port of folder views and FETCH."""

    async def heads(self, folders: Sequence[tuple[MailboxId, FolderId]]) -> list[FolderHead]:
        """Heads of many folders in one query; deleted ones are absent."""
        ...

    async def load_entries(self, mailbox_id: MailboxId, folder_id: FolderId) -> PackedEntries:
        """A whole folder."""
        ...

    async def load_changes(self, mailbox_id: MailboxId, folder_id: FolderId, since: ModSeq) -> PackedEntries:
        """What changed after `since`: changed entries and vanished uids."""
        ...

    async def fetch_messages(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> dict[EmailId, StoredMessage]:
        """Rows of the given messages; missing ones are absent."""
        ...

    async def fetch_envelopes(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> list[bytes]:
        """Wire-ready ENVELOPEs in the order asked for (empty for a missing one), in chunks of thousands."""
        ...


class FolderWriter(Protocol):
    """The port of STORE, EXPUNGE, COPY and MOVE."""

    async def store_flags(self, request: StoreRequest) -> StoreResult:
        """Changes flags; one change row."""
        ...

    async def expunge(
        self, mailbox_id: MailboxId, folder_id: FolderId, uids: Sequence[int] | None
    ) -> tuple[tuple[int, ...], ModSeq]:
        r"""Removes the \Deleted entries (of `uids`, or all); the removed uids and the operation's mod_seq."""
        ...

    async def copy(self, request: CopyRequest) -> CopyResult:
        """COPY or MOVE as one operation with a key."""
        ...


class DropLocks(Protocol):
    """The port of POP3: one session has a mailbox at a time (RFC 1939 §3)."""

    async def claim_drop(self, mailbox_id: MailboxId, holder: str, seconds: float) -> bool:
        """Takes or renews the lock, a uuid as `holder`; False: another has it, or there is no mailbox."""
        ...

    async def release_drop(self, mailbox_id: MailboxId, holder: str) -> None:
        """Gives it back, if it is still the holder's."""
        ...


class IndexQueue(Protocol):
    """The port of indexer (architecture §3.7)."""

    async def pending(self, limit: int) -> list[PendingIndex]:
        """The oldest rows with their messages."""
        ...

    async def pending_of(self, mailbox_ids: Sequence[MailboxId], limit: int) -> list[PendingIndex]:
        """The tail that SEARCH scans."""
        ...

    async def indexed(self, rows: Sequence[PendingIndex]) -> None:
        """Deletes the rows, unless they were enqueued anew meanwhile."""
        ...

    async def failed(self, row: PendingIndex, reason: str) -> None:
        """Counts an attempt."""
        ...

    async def enqueue_all(self, after: Enqueued | None, limit: int) -> Enqueued | None:
        """Enqueues up to `limit` messages above `after`, of any mailboxes in ascending order; None at the end.

        Rows that wait already stay as they are. Called again and again it reaches every message that was stored before
        the first call (promise 6).
        """
        ...

    async def message_ids(self, mailbox_id: MailboxId) -> list[bytes]:
        """The email_ids, 16 octets each, of all messages of a mailbox."""
        ...

    async def enqueue(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> None:
        """Enqueues these messages of a mailbox; rows that wait already stay as they are."""
        ...


class Outbox(Protocol):
    """The port of the relay (delivery): claimed by SKIP LOCKED, deleted after the PubAck (architecture §3.6)."""

    async def relay_outbox(self, limit: int, publish: "Publish") -> int:
        """Claims up to `limit` rows, hands them to `publish`, deletes them; the number relayed."""
        ...


class Publish(Protocol):
    """Publishes a batch durably; returns after the PubAck."""

    async def __call__(self, events: Sequence[Event]) -> None:
        """Raises MailError: the rows stay."""
        ...


class Upkeep(Protocol):
    """The port of the loop that keeps the history short (delivery's elected loop)."""

    async def trim_history(self, before_ms: int, after: MailboxId | None, limit: int) -> MailboxId | None:
        """Forgets operation keys and change rows older than `before_ms` of up to `limit` mailboxes above `after`.

        Returns the last mailbox handled, None at the end. Keys must be kept longer than anything can be redelivered
        (promise 2); a view older than the change rows is told to load again (`PackedEntries.complete`).
        """
        ...
