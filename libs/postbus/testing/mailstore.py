"""A mail store in memory: the fake of every port of `postbus.mailstore.ports`, held to the same contract tests."""

import uuid
from collections.abc import Iterable, Sequence

from postbus.contracts.events import Event
from postbus.core.clock import Clock, SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId, FolderId, MailboxId, ModSeq, Uid
from postbus.mailstore.backoff import retry_delay_ms
from postbus.mailstore.database import OutcomeUnknownError
from postbus.mailstore.keywords import MAX_KEYWORDS, check_keywords, merge_keywords
from postbus.mailstore.names import (
    INBOX,
    SEPARATOR,
    SPECIAL_FOLDERS,
    folder_order,
    normalize_folder_name,
    parent_names,
)
from postbus.mailstore.packed import pack_rows
from postbus.mailstore.ports import Publish
from postbus.mailstore.values import (
    Append,
    AppendOutcome,
    AppendResult,
    CopyRequest,
    CopyResult,
    Enqueued,
    Flag,
    Folder,
    FolderHead,
    PackedEntries,
    PendingIndex,
    SpecialUse,
    StoredMessage,
    StoreMode,
    StoreRequest,
    StoreResult,
    Totals,
)
from postbus.testing.mailstore_drops import MemoryDropLocks
from postbus.testing.mailstore_state import (
    EntryRow,
    FolderRow,
    MailboxRow,
    OperationResult,
    OperationRow,
    PendingRow,
    entry_of,
)

LIFT_SPAN = 1_000_000
"""How far a failover lifts (architecture §4)."""


class MemoryMailStore(MemoryDropLocks):
    """All ports at once; `fail_with` makes every call fail (a database that is away).

    `lost_answers` changes from now on are made, but their answer is lost: OutcomeUnknownError.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """Empty and healthy."""
        super().__init__()
        self._clock = clock or SystemClock()
        self._mailboxes: dict[MailboxId, MailboxRow] = {}
        self._pending: dict[tuple[MailboxId, EmailId], PendingRow] = {}
        self._enqueues = 0
        self.outbox: list[Event] = []
        self.fail_with: MailError | None = None
        self.lost_answers = 0

    def _has_mailbox(self, mailbox_id: MailboxId) -> bool:
        return mailbox_id in self._mailboxes

    # MessageAppender

    async def append(self, appends: Sequence[Append]) -> list[AppendResult]:
        """Each fails alone."""
        self._check()
        results = [self._checked_append(append) for append in appends]
        self._lose_answer()
        return results

    def _checked_append(self, append: Append) -> AppendResult:
        try:
            check_keywords(append.keywords)
            return self._append(append)
        except MailError:
            return AppendResult(outcome=AppendOutcome.INVALID)

    def _append(self, append: Append) -> AppendResult:
        box = self._mailboxes.get(append.mailbox_id)
        if box is None:
            return AppendResult(outcome=AppendOutcome.NO_MAILBOX)
        before = box.result_of(append.operation_key)
        if before is not None:
            return _duplicate(box, before)
        wanted = append.folder
        if isinstance(wanted, str) and not isinstance(wanted, SpecialUse):
            wanted = normalize_folder_name(wanted)
        folder = box.find_folder(wanted) or (box.find_folder(SpecialUse.INBOX) if append.fallback_to_inbox else None)
        if folder is None:
            return AppendResult(outcome=AppendOutcome.NO_FOLDER)
        if not append.may_overdraw and _exceeds(box.octets + append.message.octets, append.quota_octets):
            return AppendResult(outcome=AppendOutcome.OVER_QUOTA)
        return self._store(box, folder, append)

    def _store(self, box: MailboxRow, folder: FolderRow, append: Append) -> AppendResult:
        entry = entry_of(append, folder, box.next_mod_seq(), self._clock.now_ms())
        box.add_message(append.message)
        box.add_entry(folder, entry)
        self._enqueue(box.mailbox_id, append.message.email_id, append.traceparent)
        self.outbox.extend(append.events)
        result = AppendResult(
            outcome=AppendOutcome.STORED,
            folder_id=folder.folder_id,
            uid_validity=folder.uid_validity,
            uid=Uid(entry.uid),
            mod_seq=ModSeq(entry.mod_seq),
            folder_name=folder.name,
        )
        self._remember(box, append.operation_key, result)
        return result

    # Accounts

    async def ensure_mailboxes(self, mailbox_ids: Sequence[MailboxId]) -> None:
        """Makes mailboxes with their special-use folders, once."""
        self._check()
        for mailbox_id in mailbox_ids:
            if mailbox_id not in self._mailboxes:
                box = self._mailboxes[mailbox_id] = MailboxRow(mailbox_id=mailbox_id)
                for use, name in SPECIAL_FOLDERS:
                    box.add_folder(name, self._clock.now_ms(), use)

    async def usage(self, mailbox_ids: Sequence[MailboxId]) -> dict[MailboxId, int]:
        """Octets used."""
        self._check()
        return {name: self._mailboxes[name].octets for name in mailbox_ids if name in self._mailboxes}

    async def totals(self, mailbox_ids: Sequence[MailboxId]) -> dict[MailboxId, Totals]:
        """What mailboxes hold."""
        self._check()
        found = {name: self._mailboxes[name] for name in mailbox_ids if name in self._mailboxes}
        return {
            name: Totals(octets=box.octets, messages=sum(len(folder.entries) for folder in box.folders.values()))
            for name, box in found.items()
        }

    async def purge(self, mailbox_id: MailboxId, limit: int) -> bool:
        """Takes away a piece of a mailbox."""
        self._check()
        box = self._mailboxes.get(mailbox_id)
        if box is None:
            return True
        entries = [(folder, uid) for folder in box.folders.values() for uid in folder.entries][:limit]
        for folder, uid in entries:
            self._remove(box, folder, [uid])
        if not entries:
            del self._mailboxes[mailbox_id]
        return not entries

    # FolderCatalog

    async def list_folders(self, mailbox_id: MailboxId) -> list[Folder]:
        """All folders, INBOX first."""
        box = self._box(mailbox_id)
        return [box.show_folder(row) for row in sorted(box.folders.values(), key=lambda row: folder_order(row.name))]

    async def create_folder(self, mailbox_id: MailboxId, name: str) -> Folder:
        """Creates a folder and its missing parents."""
        box = self._box(mailbox_id)
        name = normalize_folder_name(name)
        if box.find_folder(name):
            raise MailError(ErrorKind.ALREADY_EXISTS, "the folder exists")
        return box.show_folder(self._make(box, name))

    async def delete_folder(self, mailbox_id: MailboxId, folder_id: FolderId) -> None:
        """Deletes a folder and its entries."""
        box = self._box(mailbox_id)
        folder = box.folder(folder_id)
        if folder.name == INBOX or any(row.name.startswith(folder.name + SEPARATOR) for row in box.folders.values()):
            raise MailError(ErrorKind.CONFLICT, "INBOX or a folder with folders below")
        self._remove(box, folder, list(folder.entries))
        del box.folders[folder_id]

    async def rename_folder(self, mailbox_id: MailboxId, folder_id: FolderId, name: str) -> None:
        """Renames a folder and everything below; INBOX moves its messages."""
        box = self._box(mailbox_id)
        folder = box.folder(folder_id)
        name = normalize_folder_name(name)
        below = folder.name + SEPARATOR
        if box.find_folder(name):
            raise MailError(ErrorKind.ALREADY_EXISTS, "the folder exists")
        if folder.name == INBOX:
            self._transfer(box, folder, self._make(box, name), sorted(folder.entries), move=True)
            return
        if name.startswith(below):
            raise MailError(ErrorKind.INVALID, "a folder can't move below itself")
        children = [row for row in box.folders.values() if row.name.startswith(below)]
        renamed = {row.folder_id: normalize_folder_name(name + row.name[len(folder.name) :]) for row in children}
        for parent in parent_names(name):
            if not box.find_folder(parent):
                self._make(box, parent)
        for child_id, new_name in renamed.items():
            box.folders[child_id].name = new_name
        folder.name = name

    async def set_subscribed(self, mailbox_id: MailboxId, folder_id: FolderId, subscribed: bool) -> None:
        """SUBSCRIBE and UNSUBSCRIBE."""
        self._box(mailbox_id).folder(folder_id).subscribed = subscribed

    def _make(self, box: MailboxRow, name: str) -> FolderRow:
        for parent in parent_names(name):
            if not box.find_folder(parent):
                box.add_folder(parent, self._clock.now_ms())
        return box.add_folder(name, self._clock.now_ms())

    # FolderReader

    async def heads(self, folders: Sequence[tuple[MailboxId, FolderId]]) -> list[FolderHead]:
        """Heads of those that exist, in the order asked for."""
        self._check()
        boxes = [(self._mailboxes[name], number) for name, number in folders if name in self._mailboxes]
        return [box.head(box.folders[number]) for box, number in boxes if number in box.folders]

    async def load_entries(self, mailbox_id: MailboxId, folder_id: FolderId) -> PackedEntries:
        """A whole folder."""
        box = self._box(mailbox_id)
        folder = box.folder(folder_id)
        return pack_rows(box.head(folder), [box.show_entry(folder.entries[uid]) for uid in sorted(folder.entries)])

    async def load_changes(self, mailbox_id: MailboxId, folder_id: FolderId, since: ModSeq) -> PackedEntries:
        """What changed after `since`."""
        box = self._box(mailbox_id)
        folder = box.folder(folder_id)
        if since < folder.change_floor:
            return pack_rows(box.head(folder), [], complete=False)
        changed = [folder.entries[uid] for uid in sorted(folder.entries) if folder.entries[uid].mod_seq > since]
        rows = [box.show_entry(entry) for entry in changed]
        return pack_rows(box.head(folder), rows, folder.vanished_since(since))

    async def fetch_messages(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> dict[EmailId, StoredMessage]:
        """Rows of those that exist."""
        self._check()
        box = self._mailboxes.get(mailbox_id)
        rows = {email_id: box.show_message(email_id) for email_id in email_ids} if box else {}
        return {email_id: row for email_id, row in rows.items() if row}

    async def fetch_envelopes(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> list[bytes]:
        """Wire-ready ENVELOPEs, empty for a missing message."""
        self._check()
        box = self._mailboxes.get(mailbox_id) or MailboxRow(mailbox_id=mailbox_id)
        rows = [box.messages.get(email_id) for email_id in email_ids]
        return [row.message.envelope if row else b"" for row in rows]

    # FolderWriter

    async def store_flags(self, request: StoreRequest) -> StoreResult:
        """Changes flags where they differ."""
        box = self._box(request.mailbox_id)
        check_keywords(request.keywords)
        key = request.operation_key if request.unchanged_since is not None else None
        before = box.result_of(key) if key else None
        if before is not None and not isinstance(before, StoreResult):
            raise MailError(ErrorKind.CONFLICT, "the operation key belongs to something else")
        result = before or self._store_flags(box, request)
        if key:
            self._remember(box, key, result)
        self._lose_answer()
        return result

    def _store_flags(self, box: MailboxRow, request: StoreRequest) -> StoreResult:
        folder = box.folder(request.folder_id)
        entries = [folder.entries[uid] for uid in sorted(set(request.uids)) if uid in folder.entries]
        limit = request.unchanged_since
        refused = tuple(entry.uid for entry in entries if limit is not None and entry.mod_seq > limit)
        changes = [
            (entry, flags, keywords)
            for entry in entries
            if entry.uid not in refused
            for flags, keywords in [_changed(entry, request)]
            if (flags, keywords) != (entry.flags, entry.keywords)
        ]
        if any(len(keywords) > MAX_KEYWORDS for _, _, keywords in changes):
            raise MailError(ErrorKind.LIMIT, f"more than {MAX_KEYWORDS} keywords")
        if changes:
            folder.touch(box.next_mod_seq(), self._clock.now_ms())
        for entry, flags, keywords in changes:
            entry.flags, entry.keywords, entry.mod_seq = flags, keywords, folder.highest_mod_seq
        return StoreResult(mod_seq=ModSeq(folder.highest_mod_seq), modified=refused, changed=bool(changes))

    async def expunge(
        self, mailbox_id: MailboxId, folder_id: FolderId, uids: Sequence[int] | None
    ) -> tuple[tuple[int, ...], ModSeq]:
        r"""Removes the \Deleted entries."""
        box = self._box(mailbox_id)
        folder = box.folder(folder_id)
        wanted = folder.entries if uids is None else set(uids) & set(folder.entries)
        gone = sorted(uid for uid in wanted if folder.entries[uid].flags & Flag.DELETED)
        self._remove(box, folder, gone)
        self._lose_answer()
        return tuple(gone), ModSeq(folder.highest_mod_seq)

    async def copy(self, request: CopyRequest) -> CopyResult:
        """COPY or MOVE, once per operation key."""
        box = self._box(request.mailbox_id)
        before = box.result_of(request.operation_key)
        if isinstance(before, CopyResult):
            self._lose_answer()
            return before
        if before is not None:
            raise MailError(ErrorKind.CONFLICT, "the operation key belongs to something else")
        source, target = box.folder(request.source), box.folder(request.target)
        uids = sorted(uid for uid in set(request.uids) if uid in source.entries)
        octets = sum(box.messages[source.entries[uid].email_id].message.octets for uid in uids)
        if not request.move and uids and _exceeds(box.octets + octets, request.quota_octets):
            raise MailError(ErrorKind.OVER_QUOTA, "the copies exceed the quota")
        pairs = self._transfer(box, source, target, uids, request.move)
        mod_seq = ModSeq(target.highest_mod_seq)
        result = CopyResult(uid_validity=target.uid_validity, pairs=pairs, mod_seq=mod_seq)
        self._remember(box, request.operation_key, result)
        self._lose_answer()
        return result

    def _transfer(
        self, box: MailboxRow, source: FolderRow, target: FolderRow, uids: Sequence[int], move: bool
    ) -> tuple[tuple[int, int], ...]:
        pairs = []
        mod_seq = box.next_mod_seq() if uids else 0
        for uid in uids:
            entry = source.entries[uid]
            copied = EntryRow(
                uid=target.uid_next,
                email_id=entry.email_id,
                flags=entry.flags,
                keywords=entry.keywords,
                mod_seq=mod_seq,
                save_date_ms=self._clock.now_ms(),
            )
            box.add_entry(target, copied)
            pairs.append((uid, copied.uid))
            if move:
                box.remove_entry(source, uid, mod_seq, copied.save_date_ms)
        return tuple(pairs)

    # IndexQueue

    async def pending(self, limit: int) -> list[PendingIndex]:
        """Rows that are due, the oldest first."""
        self._check()
        now_ms = self._clock.now_ms()
        due = sorted((row.due_ms, row.enqueue, key) for key, row in self._pending.items() if row.due_ms <= now_ms)
        return self._show_pending((key for _, _, key in due), limit)

    async def pending_of(self, mailbox_ids: Sequence[MailboxId], limit: int) -> list[PendingIndex]:
        """Rows of these mailboxes, due or not."""
        self._check()
        keys = [key for key in self._pending if key[0] in mailbox_ids]
        return self._show_pending(sorted(keys, key=lambda key: self._pending[key].enqueue), limit)

    async def indexed(self, rows: Sequence[PendingIndex]) -> None:
        """Deletes the rows, unless they were enqueued anew meanwhile."""
        self._check()
        for row in rows:
            key = row.mailbox_id, row.email_id
            if key in self._pending and self._pending[key].enqueue == row.enqueue:
                del self._pending[key]

    async def failed(self, row: PendingIndex, reason: str) -> None:
        """Counts an attempt; the row is due again later."""
        self._check()
        kept = self._pending.get((row.mailbox_id, row.email_id))
        if kept and kept.enqueue == row.enqueue:
            kept.attempt += 1
            kept.due_ms = self._clock.now_ms() + retry_delay_ms(kept.attempt)

    async def enqueue_all(self, after: Enqueued | None, limit: int) -> Enqueued | None:
        """The next piece of all messages."""
        self._check()
        start = (after.mailbox_id, after.email_id) if after else ("", "")
        known = ((box.mailbox_id, email_id) for box in self._mailboxes.values() for email_id in box.messages)
        piece = sorted(key for key in known if key > start)[:limit]
        for key in piece:
            if key not in self._pending:
                self._enqueue(*key)
        return Enqueued(mailbox_id=piece[-1][0], email_id=piece[-1][1], messages=len(piece)) if piece else None

    async def message_ids(self, mailbox_id: MailboxId) -> list[bytes]:
        """The email_ids of a mailbox, as octets."""
        self._check()
        box = self._mailboxes.get(mailbox_id)
        return [uuid.UUID(email_id).bytes for email_id in box.messages] if box else []

    async def enqueue(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> None:
        """Enqueues these messages."""
        self._check()
        for email_id in email_ids:
            if mailbox_id in self._mailboxes and (mailbox_id, email_id) not in self._pending:
                self._enqueue(mailbox_id, email_id)

    def _show_pending(self, keys: Iterable[tuple[MailboxId, EmailId]], limit: int) -> list[PendingIndex]:
        return [
            PendingIndex(
                mailbox_id=key[0],
                email_id=key[1],
                enqueued_ms=self._pending[key].enqueued_ms,
                attempt=self._pending[key].attempt,
                message=self._mailboxes[key[0]].show_message(key[1]) if key[0] in self._mailboxes else None,
                enqueue=self._pending[key].enqueue,
                traceparent=self._pending[key].traceparent,
            )
            for key in list(keys)[:limit]
        ]

    # Outbox, Upkeep

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Hands up to `limit` events to `publish`; they stay when it raises."""
        self._check()
        claimed, self.outbox = self.outbox[:limit], self.outbox[limit:]
        try:
            if claimed:
                await publish(claimed)
        except BaseException:
            self.outbox = claimed + self.outbox
            raise
        return len(claimed)

    async def trim_history(self, before_ms: int, after: MailboxId | None, limit: int) -> MailboxId | None:
        """Forgets operation keys and changes."""
        self._check()
        chosen = sorted(name for name in self._mailboxes if after is None or name > after)[:limit]
        for name in chosen:
            operations = self._mailboxes[name].operations
            for key in [key for key, row in operations.items() if row.at_ms < before_ms]:
                del operations[key]
            for folder in self._mailboxes[name].folders.values():
                folder.forget(before_ms)
        return chosen[-1] if chosen else None

    # Epochs

    async def lift(self, span: int = LIFT_SPAN) -> None:
        """A new epoch, as after a failover."""
        for box in self._mailboxes.values():
            box.lift(span, self._clock.now_ms())

    # What they share

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def _lose_answer(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise OutcomeUnknownError("mail store: the connection was lost")

    def _box(self, mailbox_id: MailboxId) -> MailboxRow:
        self._check()
        try:
            return self._mailboxes[mailbox_id]
        except KeyError:
            raise MailError(ErrorKind.NOT_FOUND, f"mailbox {mailbox_id} is not there") from None

    def _enqueue(self, mailbox_id: MailboxId, email_id: EmailId, traceparent: str = "") -> None:
        self._enqueues += 1
        now_ms, before = self._clock.now_ms(), self._pending.get((mailbox_id, email_id))
        self._pending[mailbox_id, email_id] = PendingRow(
            enqueue=self._enqueues,
            enqueued_ms=now_ms,
            due_ms=now_ms,
            traceparent=traceparent or (before.traceparent if before else ""),
        )

    def _remember(self, box: MailboxRow, operation_key: str, result: OperationResult) -> None:
        box.operations[operation_key] = OperationRow(result=result, at_ms=self._clock.now_ms())

    def _remove(self, box: MailboxRow, folder: FolderRow, uids: Sequence[int]) -> None:
        mod_seq = box.next_mod_seq() if uids else 0
        for uid in uids:
            email_id = box.remove_entry(folder, uid, mod_seq, self._clock.now_ms())
            if email_id is not None:
                self._enqueue(box.mailbox_id, email_id)


def _duplicate(box: MailboxRow, before: OperationResult) -> AppendResult:
    if not isinstance(before, AppendResult):
        return AppendResult(outcome=AppendOutcome.INVALID)
    folder = box.folders.get(before.folder_id)
    return AppendResult(
        outcome=AppendOutcome.DUPLICATE,
        folder_id=before.folder_id,
        uid_validity=before.uid_validity,
        uid=before.uid,
        mod_seq=before.mod_seq,
        folder_name=folder.name if folder else "",
    )


def _exceeds(octets: int, quota_octets: int | None) -> bool:
    return quota_octets is not None and octets > quota_octets


def _changed(entry: EntryRow, request: StoreRequest) -> tuple[int, tuple[str, ...]]:
    given = int(request.flags) & 31
    flags = {
        StoreMode.REPLACE: given,
        StoreMode.ADD: entry.flags | given,
        StoreMode.REMOVE: entry.flags & ~given,
    }[request.mode]
    return flags, merge_keywords(entry.keywords, request.keywords, request.mode)
