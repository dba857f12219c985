"""Values of the mail store. Rows themselves never leave this package."""

import enum

import msgspec

from postbus.contracts.events import Event
from postbus.core.ids import BlobId, EmailId, FolderId, MailboxId, ModSeq, ThreadId, Uid


class SpecialUse(enum.StrEnum):
    """RFC 6154 attributes, and INBOX. Folders for all of them are made with the mailbox."""

    INBOX = "inbox"
    SENT = "sent"
    DRAFTS = "drafts"
    JUNK = "junk"
    """Named Spam."""
    TRASH = "trash"
    ARCHIVE = "archive"


class Flag(enum.IntFlag):
    """System flags as stored in entry.flags (RFC 9051 §2.3.2)."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """What IMAP calls a mailbox. `name` is UTF-8 with `/` between levels; INBOX is spelled so."""

    mailbox_id: MailboxId
    folder_id: FolderId
    name: str
    uid_validity: int
    uid_next: Uid
    highest_mod_seq: ModSeq
    """Of the last change in this folder."""
    special_use: SpecialUse | None
    subscribed: bool
    messages: int
    unseen: int
    deleted: int
    octets: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What a mailbox holds, in all folders."""

    octets: int
    messages: int


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message ready to be stored; made by `postbus.mailstore.prepare.prepare_message`."""

    email_id: EmailId
    blob_id: BlobId
    prefix: bytes
    """Header fields that stand before the blob; BODY[] and RFC822.SIZE include them."""
    octets: int
    """prefix + blob."""
    internal_date_ms: int
    sent_day: int | None
    structure: bytes
    """`postbus.mime.codec` form of the scan; offsets are relative to the blob."""
    envelope: bytes
    """Wire-ready IMAP ENVELOPE: `(...)`."""
    message_id: str
    references: tuple[str, ...]
    thread_subject: str
    """Base subject (RFC 5256 §2.1), for threads without references."""
    preview: str
    """At most 256 characters of text (RFC 8970)."""
    is_reply: bool = False
    """The subject says reply or forward (RFC 5256 §2.1): without references the message joins a thread by subject."""


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """One message into one mailbox: the unit of promise 2."""

    mailbox_id: MailboxId
    operation_key: str
    """queue_id for delivery, an operation id for IMAP: a second append with the same key in this mailbox stores nothing
    and answers DUPLICATE with the first one's place."""
    folder: SpecialUse | FolderId | str
    """By use, id or name. Delivery falls back to INBOX where it does not exist; see `fallback_to_inbox`."""
    message: NewMessage
    flags: Flag = Flag(0)
    keywords: tuple[str, ...] = ()
    fallback_to_inbox: bool = False
    may_overdraw: bool = False
    """Delivery after `250` stores even over quota (promise 3)."""
    quota_octets: int | None = None
    """The limit in force; None: unlimited."""
    events: tuple[Event, ...] = ()
    """Outbox rows of the same transaction."""
    traceparent: str = ""
    """The span that indexing the message belongs to; empty: none."""


class AppendOutcome(enum.StrEnum):
    """What became of an Append; each of a batch fails alone."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    NO_FOLDER = "no_folder"
    OVER_QUOTA = "over_quota"
    NO_MAILBOX = "no_mailbox"
    INVALID = "invalid"
    """The database refuses its values (a bug of the caller): retrying does not help."""


class AppendResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where the message is (STORED, DUPLICATE); zero otherwise."""

    outcome: AppendOutcome
    folder_id: FolderId = FolderId(0)
    uid_validity: int = 0
    uid: Uid = Uid(0)
    mod_seq: ModSeq = ModSeq(0)
    folder_name: str = ""


class ViewRow(msgspec.Struct, frozen=True, array_like=True):
    """One message of a folder, as a folder view gives it out."""

    uid: int
    flags: int
    mod_seq: int
    octets: int
    internal_date_ms: int
    sent_day: int | None
    email_id: bytes
    """16 octets."""
    keywords: tuple[str, ...]
    save_date_ms: int


class FolderHead(msgspec.Struct, frozen=True, kw_only=True):
    """What tells a view whether it is up to date: one row read (SELECT, STATUS, NOOP)."""

    mailbox_id: MailboxId
    folder_id: FolderId
    uid_validity: int
    uid_next: Uid
    highest_mod_seq: ModSeq


class PackedEntries(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of a folder as packed columns (network byte order), ascending by uid; n = len(uids) / 4.

    A load holds every entry; an update holds those changed since a mod_seq, and `vanished`.
    """

    head: FolderHead
    uids: bytes
    """uint32"""
    flags: bytes
    """uint8, bits of Flag; bit 7: the message has keywords (see `keywords`)."""
    mod_seqs: bytes
    """uint64"""
    octets: bytes
    """uint32"""
    internal_dates: bytes
    """int64, Unix milliseconds"""
    sent_days: bytes
    """int32, days since 1970-01-01; the minimum int32 means none"""
    save_dates: bytes
    """int64, Unix milliseconds"""
    email_ids: bytes
    """16 octets each"""
    keywords: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """(uid, keywords) of messages that have any."""
    vanished: tuple[tuple[int, int], ...] = ()
    """Inclusive uid ranges expunged since the mod_seq asked for."""
    complete: bool = True
    """False: the change rows do not reach back that far; load the folder again."""


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What FETCH needs beyond the view."""

    email_id: EmailId
    blob_id: BlobId
    prefix: bytes
    octets: int
    internal_date_ms: int
    structure: bytes
    thread_id: ThreadId
    preview: str


class StoreMode(enum.StrEnum):
    """STORE FLAGS, +FLAGS, -FLAGS."""

    REPLACE = "replace"
    ADD = "add"
    REMOVE = "remove"


class StoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Changes flags of the given uids."""

    mailbox_id: MailboxId
    folder_id: FolderId
    uids: tuple[int, ...]
    mode: StoreMode
    flags: Flag
    keywords: tuple[str, ...] = ()
    unchanged_since: ModSeq | None = None
    """RFC 7162 §3.1.3: entries with a higher mod_seq are left alone and reported."""
    operation_key: str | None = None
    """With `unchanged_since`: what makes a repetition after a lost answer tell the outcome instead of failing."""


class StoreResult(msgspec.Struct, frozen=True, kw_only=True):
    """The operation's mod_seq (unchanged head when nothing changed) and the uids refused by unchanged_since."""

    mod_seq: ModSeq
    modified: tuple[int, ...] = ()
    changed: bool = True
    """Whether mod_seq is this operation's own."""


class CopyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """COPY or MOVE within one mailbox."""

    mailbox_id: MailboxId
    source: FolderId
    uids: tuple[int, ...]
    target: FolderId
    operation_key: str
    move: bool = False
    quota_octets: int | None = None


class CopyResult(msgspec.Struct, frozen=True, kw_only=True):
    """COPYUID (RFC 4315 §3): pairs in ascending order of source uid."""

    uid_validity: int
    pairs: tuple[tuple[int, int], ...]
    mod_seq: ModSeq


class PendingIndex(msgspec.Struct, frozen=True, kw_only=True):
    """A row of index_pending; the message is absent when it was deleted meanwhile (or that is the news)."""

    mailbox_id: MailboxId
    email_id: EmailId
    enqueued_ms: int
    attempt: int
    message: StoredMessage | None
    enqueue: int = 0
    """Grows with every enqueuing: `indexed` deletes the row only while it is the same."""
    traceparent: str = ""
    """Of the append that enqueued it; empty: none was told."""


class Enqueued(msgspec.Struct, frozen=True, kw_only=True):
    """How far `IndexQueue.enqueue_all` has come: the last message of a piece, and how many the piece had."""

    mailbox_id: MailboxId
    email_id: EmailId
    messages: int
