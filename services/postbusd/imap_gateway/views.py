"""A folder in memory: what FLAGS, UID, date and size fetches and searches are answered from (architecture §4).

53 octets a message in parallel arrays, shared by all sessions of a process. Sessions number messages by the `uids`
array they know: it grows in place at its end, and is replaced, never changed, when messages vanish; so a session with
an older array keeps its numbers until it is told (RFC 9051 §7.5.1).
"""

import sys
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable

from postbus.core.ids import FolderId, MailboxId
from postbus.mailstore.values import FolderHead, PackedEntries

KNOWN_CHANGES = 64
"""Updates remembered, so that telling them needs no scan of the folder."""
HAS_KEYWORDS = 0x80
SYSTEM_FLAGS = 0x1F
ID_OCTETS = 16


def unpack(typecode: str, octets: bytes) -> "array[int]":
    """An array of numbers in network byte order."""
    numbers: array[int] = array(typecode)
    numbers.frombytes(octets)
    if sys.byteorder == "little" and numbers.itemsize > 1:
        numbers.byteswap()
    return numbers


class FolderView:
    """One open folder, up to `mod_seq`."""

    def __init__(self, mailbox_id: MailboxId, folder_id: FolderId, packed: PackedEntries) -> None:
        self.mailbox_id = mailbox_id
        self.folder_id = folder_id
        self.watchers: set[Callable[[], None]] = set()
        self.gone = False
        """The folder was deleted, or made anew: sessions that have it open must end."""
        self._load(packed)

    def _load(self, packed: PackedEntries) -> None:
        self.uid_validity = packed.head.uid_validity
        self.uids = unpack("I", packed.uids)
        self.flags = array("B", packed.flags)
        self.mod_seqs = unpack("Q", packed.mod_seqs)
        self.octets = unpack("I", packed.octets)
        self.internal_dates = unpack("q", packed.internal_dates)
        self.sent_days = unpack("i", packed.sent_days)
        self.save_dates = unpack("q", packed.save_dates)
        self.email_ids = bytearray(packed.email_ids)
        self.keywords = dict(packed.keywords)
        self._changes: deque[tuple[int, tuple[int, ...]]] = deque()
        self._changes_since: int = packed.head.highest_mod_seq
        self._follow(packed.head)

    def _follow(self, head: FolderHead) -> None:
        self.mod_seq: int = head.highest_mod_seq
        self.uid_next: int = head.uid_next

    @property
    def key(self) -> tuple[MailboxId, FolderId]:
        """Identifies the folder."""
        return self.mailbox_id, self.folder_id

    def __len__(self) -> int:
        """Messages."""
        return len(self.uids)

    def is_behind(self, head: FolderHead) -> bool:
        """Whether the store knows more."""
        return head.highest_mod_seq > self.mod_seq or head.uid_next > self.uid_next

    def row_of(self, uid: int) -> int:
        """Index of the message; -1 when it is gone."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else -1

    def email_id(self, row: int) -> bytes:
        """16 octets."""
        return bytes(self.email_ids[ID_OCTETS * row : ID_OCTETS * row + ID_OCTETS])

    def notify(self) -> None:
        """Rings every session that has this folder open."""
        for watcher in tuple(self.watchers):
            watcher()

    def replace(self, packed: PackedEntries) -> None:
        """Loads everything anew: the changes do not reach back far enough."""
        if packed.head.uid_validity != self.uid_validity:
            self.gone = True
        else:
            self._load(packed)
        self.notify()

    def apply(self, packed: PackedEntries) -> None:
        """Takes over an update; sessions are told when they may be."""
        if packed.head.uid_validity != self.uid_validity:
            self.gone = True
            self.notify()
            return
        self._remove(packed.vanished)
        changed = self._merge(packed)
        self._changes.append((packed.head.highest_mod_seq, changed))
        if len(self._changes) > KNOWN_CHANGES:
            self._changes_since = self._changes.popleft()[0]
        self._follow(packed.head)
        self.notify()

    def changed_since(self, mod_seq: int) -> Iterable[int]:
        """Uids of messages whose flags changed after `mod_seq`, ascending."""
        if mod_seq >= self.mod_seq:
            return ()
        if mod_seq >= self._changes_since:
            found = {uid for upto, uids in self._changes if upto > mod_seq for uid in uids}
            return sorted(found)
        return [uid for uid, own in zip(self.uids, self.mod_seqs, strict=True) if own > mod_seq]

    def _remove(self, vanished: Iterable[tuple[int, int]]) -> None:
        spans = [(bisect_left(self.uids, first), bisect_left(self.uids, last + 1)) for first, last in vanished]
        spans = [(start, end) for start, end in spans if start < end]
        if not spans:
            return
        uids = self.uids[:]
        for start, end in sorted(spans, reverse=True):
            if self.keywords:
                for uid in uids[start:end]:
                    self.keywords.pop(uid, None)
            for column in (uids, self.flags, self.mod_seqs, self.octets):
                del column[start:end]
            for column in (self.internal_dates, self.sent_days, self.save_dates):
                del column[start:end]
            del self.email_ids[ID_OCTETS * start : ID_OCTETS * end]
        self.uids = uids

    def _merge(self, packed: PackedEntries) -> tuple[int, ...]:
        """Changes known messages and adds new ones; the uids of those changed."""
        uids = unpack("I", packed.uids)
        mod_seqs = unpack("Q", packed.mod_seqs)
        keywords = dict(packed.keywords)
        first_new = bisect_left(uids, self.uids[-1] + 1) if self.uids else 0
        changed: list[int] = []
        for index in range(first_new):
            uid = uids[index]
            row = self.row_of(uid)
            if row < 0 or self.mod_seqs[row] == mod_seqs[index]:
                continue
            self.flags[row] = packed.flags[index]
            self.mod_seqs[row] = mod_seqs[index]
            self._set_keywords(uid, keywords.get(uid))
            changed.append(uid)
        self._extend(packed, first_new)
        for uid in uids[first_new:]:
            self._set_keywords(uid, keywords.get(uid))
        return tuple(changed)

    def _set_keywords(self, uid: int, keywords: tuple[str, ...] | None) -> None:
        if keywords:
            self.keywords[uid] = keywords
        else:
            self.keywords.pop(uid, None)

    def _extend(self, packed: PackedEntries, start: int) -> None:
        self.uids.extend(unpack("I", packed.uids[4 * start :]))
        self.flags.frombytes(packed.flags[start:])
        self.mod_seqs.extend(unpack("Q", packed.mod_seqs[8 * start :]))
        self.octets.extend(unpack("I", packed.octets[4 * start :]))
        self.internal_dates.extend(unpack("q", packed.internal_dates[8 * start :]))
        self.sent_days.extend(unpack("i", packed.sent_days[4 * start :]))
        self.save_dates.extend(unpack("q", packed.save_dates[8 * start :]))
        self.email_ids += packed.email_ids[ID_OCTETS * start :]
