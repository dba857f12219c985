"""What the books are made of.

A **number** is the place of a message in the book: the sequence that stream MAIL gave plus the offset of its volume. A
**volume** covers one stream, or the part of a stream that it took since it went back. Numbers are dense over all of
them. A second message under a taken number (a clash) has a number of its own, from FIRST_CLASH on.
"""

import msgspec

from postbus.contracts.delivery import LedgerClash

FIRST_CLASH = 9_000_000_000_000_000
"""Below 2**53: JSON readers keep it exact."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers from `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        """How many."""
        return max(self.last - self.first + 1, 0)


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, or a part of one, as the book covers it."""

    volume: int
    created_ms: int
    begins: int
    """The first sequence of the stream that counts here."""
    since_ns: int
    """What the stream took before belongs to earlier volumes."""
    offset: int
    last_sequence: int
    """The highest that anybody has seen."""
    last_stored_ns: int
    opened_ms: int
    alarm: str = ""
    settled: bool = False


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before the stream is looked at: whatever it names, the stream must have."""

    volumes: tuple[Volume, ...]
    """In order; empty: nobody has opened the book."""
    highest: int
    """The highest number that has a row, clashes aside; 0: none."""
    highest_stored_ns: int
    """Of its message; 0: not known."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Messages by how they are accounted for."""

    folder: int = 0
    queued: int = 0
    held: int = 0
    dsn: int = 0
    written_off: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.folder + self.others

    @property
    def others(self) -> int:
        """All but those in folders."""
        return self.queued + self.held + self.dsn + self.written_off


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The database's side of the books, all of it of one snapshot that is younger than the stream's state."""

    volumes: tuple[Volume, ...]
    verified: int
    """Every number up to here is accounted for."""
    vanished: int
    """Rows that somebody deleted where trims have passed; nobody knows what they said."""
    settled_deleted: int
    deletions: int
    """How often rows were deleted or moved, but by trims."""
    others: Counts
    """Rows up to `verified` that are not in folders."""
    trimmed: Counts
    """What was counted and deleted up to `verified`."""
    tail: Counts
    """Rows beyond `verified`, up to the stream's last."""
    clash: Counts
    """Rows and trimmed rows of clashes."""
    pending_rows: int
    """Rows in the spans that the consumer has not done with (`pending_spans`)."""
    deleted_rows: tuple[int, ...]
    """Those of the numbers that the stream lost (`deleted_numbers`) that have a row."""
    gaps: tuple[Span, ...]
    """Numbers beyond `verified` without a row, in order, the first MAX_GAPS spans."""
    open_clashes: int = 0
    clashes: tuple[LedgerClash, ...] = ()
    """The open ones, the first of them."""
