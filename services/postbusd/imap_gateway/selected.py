"""The selected folder of one session: its sequence numbers, and what it has still to be told (RFC 9051 §7.5.1)."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

from postbus.imap.sets import SequenceSet
from postbusd.imap_gateway.flags import format_view_flags
from postbusd.imap_gateway.views import FolderView


class SelectedFolder:
    """A view as one session knows it: `uids` up to `count`, flags up to `told` (a mod_seq)."""

    def __init__(self, name: str, view: FolderView, read_only: bool, watcher: Callable[[], None]) -> None:
        self.name = name
        self.view = view
        self.read_only = read_only
        self.watcher = watcher
        self.uids: array[int] = view.uids
        self.count = len(view.uids)
        self._told = view.mod_seq
        self._told_flags: dict[int, int] = {}

    @property
    def told(self) -> int:
        """The mod_seq up to which the client knows all flags."""
        return self._told

    @property
    def has_news(self) -> bool:
        """Whether there may be something to tell."""
        view = self.view
        return view.gone or view.mod_seq > self._told or self.uids is not view.uids or self.count != len(view.uids)

    def sequence_number(self, uid: int) -> int:
        """The number by which this session knows the message; 0: it does not."""
        index = bisect_left(self.uids, uid, 0, self.count)
        return index + 1 if index < self.count and self.uids[index] == uid else 0

    def resolve(self, numbers: SequenceSet, uid: bool) -> list[int] | None:
        """Uids of the messages meant, ascending. None: a sequence number that is not there (RFC 9051 §6.4.9)."""
        spans = self.resolve_spans(numbers, uid)
        if spans is None:
            return None
        return [each for start, end in spans for each in self.uids[start:end]]

    def resolve_spans(self, numbers: SequenceSet, uid: bool) -> list[tuple[int, int]] | None:
        """The same as half-open spans of indexes."""
        if uid:
            largest = self.uids[self.count - 1] if self.count else 0
            if not largest:
                return []
            return [
                (bisect_left(self.uids, first, 0, self.count), bisect_right(self.uids, last, 0, self.count))
                for first, last in numbers.resolve(largest)
            ]
        if not self.count:
            # `1:*` on an empty folder names nothing; it is what clients send to see whether it is empty
            return [] if all(0 in pair for pair in numbers.ranges) else None
        spans = numbers.resolve(self.count)
        return None if spans[-1][1] > self.count else [(first - 1, last) for first, last in spans]

    def resolve_changed(self, numbers: SequenceSet, uid: bool, since: int) -> list[int] | None:
        """Those of `resolve` whose mod_seq is higher than `since` (RFC 7162 §3.1.4.1)."""
        spans = self.resolve_spans(numbers, uid)
        if spans is None:
            return None
        view, uids = self.view, self.uids
        mod_seqs = view.mod_seqs
        if uids is view.uids:
            return [uids[row] for start, end in spans for row in range(start, end) if mod_seqs[row] > since]
        found = [each for start, end in spans for each in uids[start:end]]
        return [each for each in found if (row := view.row_of(each)) >= 0 and mod_seqs[row] > since]

    def note_told(self, uids: Iterable[int]) -> None:
        """The client knows the present flags of these messages already."""
        for uid in uids:
            row = self.view.row_of(uid)
            if row >= 0:
                self._told_flags[uid] = self.view.mod_seqs[row]

    def format_news(self, allow_expunge: bool, with_mod_seqs: bool) -> bytes:
        """Untagged EXPUNGE, EXISTS and FETCH; without `allow_expunge` numbers stay as they are."""
        pieces: list[bytes] = []
        view = self.view
        if allow_expunge and self.uids is not view.uids:
            self._take_expunges(pieces)
        if self.uids is view.uids and self.count != len(view.uids):
            self._told_flags.update(
                (uid, mod_seq)
                for uid, mod_seq in zip(view.uids[self.count :], view.mod_seqs[self.count :], strict=True)
            )
            self.count = len(view.uids)
            pieces.append(b"* %d EXISTS\r\n" % self.count)
        self._take_flags(pieces, with_mod_seqs)
        return b"".join(pieces)

    def _take_expunges(self, pieces: list[bytes]) -> None:
        """Numbers fall from the highest on, so that none of them shifts before it is told."""
        view = self.view
        known = self.uids[: self.count]
        kept_count = bisect_right(view.uids, known[-1]) if known else 0
        kept = set(view.uids[:kept_count])
        gone = (index for index in range(len(known) - 1, -1, -1) if known[index] not in kept)
        pieces.extend(b"* %d EXPUNGE\r\n" % (index + 1) for index in gone)
        self.uids = view.uids
        self.count = kept_count

    def _take_flags(self, pieces: list[bytes], with_mod_seqs: bool) -> None:
        view = self.view
        for uid in view.changed_since(self._told):
            row = view.row_of(uid)
            if row < 0 or self._told_flags.get(uid) == view.mod_seqs[row]:
                continue
            number = self.sequence_number(uid)
            if number:
                tail = b" MODSEQ (%d)" % view.mod_seqs[row] if with_mod_seqs else b""
                flags = format_view_flags(view, row)
                pieces.append(b"* %d FETCH (UID %d FLAGS %b%b)\r\n" % (number, uid, flags, tail))
        self._told = view.mod_seq
        self._told_flags.clear()
