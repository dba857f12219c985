"""The rows of the fake mail store, and what changes them the same way for every operation."""

import uuid
from collections import Counter

import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId, FolderId, MailboxId, ModSeq, ThreadId, Uid
from postbus.mailstore.keywords import check_keywords
from postbus.mailstore.names import MAX_FOLDERS
from postbus.mailstore.packed import merge_ranges
from postbus.mailstore.threads import id_keys, joins_by_subject, subject_key
from postbus.mailstore.values import (
    Append,
    AppendResult,
    CopyResult,
    Flag,
    Folder,
    FolderHead,
    NewMessage,
    SpecialUse,
    StoredMessage,
    StoreResult,
    ViewRow,
)

NUMBERS_SKIPPED = 100_000
"""Folder numbers and uid_validities that a lift skips."""
OperationResult = AppendResult | CopyResult | StoreResult


class EntryRow(msgspec.Struct, kw_only=True):
    """One message in one folder."""

    uid: int
    email_id: EmailId
    flags: int
    keywords: tuple[str, ...]
    mod_seq: int
    save_date_ms: int


class MessageRow(msgspec.Struct, kw_only=True):
    """One message of the mailbox and the number of its entries."""

    message: NewMessage
    thread_id: ThreadId
    references: int = 0


class FolderRow(msgspec.Struct, kw_only=True):
    """A folder with its entries and its history."""

    folder_id: FolderId
    name: str
    uid_validity: int
    special_use: SpecialUse | None
    highest_mod_seq: int
    uid_next: int = 1
    subscribed: bool = True
    change_floor: int = 0
    entries: dict[int, EntryRow] = msgspec.field(default_factory=dict)
    vanished: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """(mod_seq, uid)"""
    skipped: list[tuple[int, int, int]] = msgspec.field(default_factory=list)
    """(mod_seq, first uid, last uid) of each lift"""
    changes: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """(time, mod_seq)"""

    def touch(self, mod_seq: int, now_ms: int) -> None:
        """Notes a change."""
        self.highest_mod_seq = mod_seq
        self.changes.append((now_ms, mod_seq))

    def vanished_since(self, since: int) -> tuple[tuple[int, int], ...]:
        """Ranges of uids that are no more, or never were."""
        gone = [(uid, uid) for mod_seq, uid in self.vanished if mod_seq > since]
        return merge_ranges([*gone, *((first, last) for mod_seq, first, last in self.skipped if mod_seq > since)])

    def forget(self, before_ms: int) -> None:
        """Drops the changes before that time."""
        old = [mod_seq for at_ms, mod_seq in self.changes if at_ms < before_ms]
        self.change_floor = max([self.change_floor, *old])
        self.changes = [change for change in self.changes if change[0] >= before_ms]


class PendingRow(msgspec.Struct, kw_only=True):
    """A row of index_pending."""

    enqueue: int
    enqueued_ms: int
    due_ms: int
    attempt: int = 0
    traceparent: str = ""


class OperationRow(msgspec.Struct, kw_only=True):
    """The remembered outcome of an operation key."""

    result: OperationResult
    at_ms: int


class MailboxRow(msgspec.Struct, kw_only=True):
    """A mailbox and all that is in it."""

    mailbox_id: MailboxId
    octets: int = 0
    mod_seq: int = 1
    folder_next: int = 1
    uid_validity_last: int = 0
    folders: dict[FolderId, FolderRow] = msgspec.field(default_factory=dict)
    messages: dict[EmailId, MessageRow] = msgspec.field(default_factory=dict)
    operations: dict[str, OperationRow] = msgspec.field(default_factory=dict)
    thread_keys: dict[int, ThreadId] = msgspec.field(default_factory=dict)
    thread_uses: Counter[int] = msgspec.field(default_factory=Counter)

    def next_mod_seq(self) -> int:
        """The mod_seq of one operation."""
        self.mod_seq += 1
        return self.mod_seq

    def lift(self, span: int, now_ms: int) -> None:
        """A new epoch: uids and mod_seqs go on far above, every entry counts as changed."""
        self.mod_seq += span
        self.folder_next += NUMBERS_SKIPPED
        self.uid_validity_last = max(self.uid_validity_last, now_ms // 1000) + NUMBERS_SKIPPED
        for folder in self.folders.values():
            folder.skipped.append((self.mod_seq, folder.uid_next, folder.uid_next + span - 1))
            folder.uid_next += span
            folder.touch(self.mod_seq, now_ms)
            for entry in folder.entries.values():
                entry.mod_seq = self.mod_seq

    def folder(self, folder_id: FolderId) -> FolderRow:
        """Raises MailError NOT_FOUND."""
        try:
            return self.folders[folder_id]
        except KeyError:
            raise MailError(ErrorKind.NOT_FOUND, f"folder {folder_id} is not there") from None

    def find_folder(self, folder: SpecialUse | FolderId | str) -> FolderRow | None:
        """By use, id or name."""
        for row in self.folders.values():
            wanted = row.special_use if isinstance(folder, SpecialUse) else row.name
            if folder == (row.folder_id if isinstance(folder, int) else wanted):
                return row
        return None

    def add_folder(self, name: str, now_ms: int, special_use: SpecialUse | None = None) -> FolderRow:
        """A new folder; its id and uid_validity were never used before."""
        if len(self.folders) >= MAX_FOLDERS:
            raise MailError(ErrorKind.LIMIT, f"more than {MAX_FOLDERS} folders")
        self.uid_validity_last = max(now_ms // 1000, self.uid_validity_last + 1)
        row = FolderRow(
            folder_id=FolderId(self.folder_next),
            name=name,
            uid_validity=self.uid_validity_last,
            special_use=special_use,
            highest_mod_seq=self.mod_seq,
        )
        self.folder_next += 1
        self.folders[row.folder_id] = row
        return row

    def add_message(self, message: NewMessage) -> None:
        """A message without entries yet; the same email_id again is the same message."""
        if message.email_id in self.messages:
            return
        ids, subject = id_keys(message), subject_key(message)
        wanted = [*ids, *([subject] if subject is not None and joins_by_subject(message) else [])]
        known = (self.thread_keys[key] for key in wanted if key in self.thread_keys)
        thread_id = next(known, ThreadId(message.email_id))
        for key in (*ids, *(() if subject is None else (subject,))):
            self.thread_uses[key] += 1
            self.thread_keys[key] = thread_id if key == subject else self.thread_keys.get(key, thread_id)
        self.messages[message.email_id] = MessageRow(message=message, thread_id=thread_id)

    def add_entry(self, folder: FolderRow, entry: EntryRow) -> None:
        """Counts the entry in; the uid is the folder's next."""
        folder.entries[entry.uid] = entry
        folder.uid_next = entry.uid + 1
        folder.touch(entry.mod_seq, entry.save_date_ms)
        row = self.messages[entry.email_id]
        row.references += 1
        self.octets += row.message.octets

    def remove_entry(self, folder: FolderRow, uid: int, mod_seq: int, now_ms: int) -> EmailId | None:
        """Counts the entry out; the email_id when it was the message's last one."""
        entry = folder.entries.pop(uid)
        folder.vanished.append((mod_seq, uid))
        folder.touch(mod_seq, now_ms)
        row = self.messages[entry.email_id]
        row.references -= 1
        self.octets -= row.message.octets
        if row.references:
            return None
        del self.messages[entry.email_id]
        subject = subject_key(row.message)
        for key in (*id_keys(row.message), *(() if subject is None else (subject,))):
            self.thread_uses[key] -= 1
            if not self.thread_uses[key]:
                del self.thread_uses[key], self.thread_keys[key]
        return entry.email_id

    def head(self, folder: FolderRow) -> FolderHead:
        """What tells a view whether it is up to date."""
        return FolderHead(
            mailbox_id=self.mailbox_id,
            folder_id=folder.folder_id,
            uid_validity=folder.uid_validity,
            uid_next=Uid(folder.uid_next),
            highest_mod_seq=ModSeq(folder.highest_mod_seq),
        )

    def show_folder(self, folder: FolderRow) -> Folder:
        """The folder with counters as of now."""
        entries = folder.entries.values()
        return Folder(
            mailbox_id=self.mailbox_id,
            folder_id=folder.folder_id,
            name=folder.name,
            uid_validity=folder.uid_validity,
            uid_next=Uid(folder.uid_next),
            highest_mod_seq=ModSeq(folder.highest_mod_seq),
            special_use=folder.special_use,
            subscribed=folder.subscribed,
            messages=len(entries),
            unseen=sum(not entry.flags & Flag.SEEN for entry in entries),
            deleted=sum(bool(entry.flags & Flag.DELETED) for entry in entries),
            octets=sum(self.messages[entry.email_id].message.octets for entry in entries),
        )

    def show_entry(self, entry: EntryRow) -> ViewRow:
        """The entry with its message's facts."""
        message = self.messages[entry.email_id].message
        return ViewRow(
            uid=entry.uid,
            flags=entry.flags,
            mod_seq=entry.mod_seq,
            octets=message.octets,
            internal_date_ms=message.internal_date_ms,
            sent_day=message.sent_day,
            email_id=uuid.UUID(entry.email_id).bytes,
            keywords=entry.keywords,
            save_date_ms=entry.save_date_ms,
        )

    def show_message(self, email_id: EmailId) -> StoredMessage | None:
        """The message's row; None when it is gone."""
        row = self.messages.get(email_id)
        if row is None:
            return None
        return StoredMessage(
            email_id=email_id,
            blob_id=row.message.blob_id,
            prefix=row.message.prefix,
            octets=row.message.octets,
            internal_date_ms=row.message.internal_date_ms,
            structure=row.message.structure,
            thread_id=row.thread_id,
            preview=row.message.preview,
        )

    def result_of(self, operation_key: str) -> OperationResult | None:
        """What an operation with this key came to."""
        row = self.operations.get(operation_key)
        return row.result if row else None


def entry_of(append: Append, folder: FolderRow, mod_seq: int, now_ms: int) -> EntryRow:
    """The entry that an append makes."""
    return EntryRow(
        uid=folder.uid_next,
        email_id=append.message.email_id,
        flags=int(append.flags) & 31,
        keywords=tuple(sorted(check_keywords(append.keywords), key=str.lower)),
        mod_seq=mod_seq,
        save_date_ms=now_ms,
    )
