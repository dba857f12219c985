"""What a FETCH needs, and how its lines are made from it: pure, so that it can be tested without a store."""

from collections.abc import Callable, Sequence

import msgspec

from postbus.imap.bodystructure import format_body
from postbus.imap.commands.fetch import BodyItem, FetchItem, Item
from postbus.imap.dates import format_date_time
from postbus.imap.sections import Range, SectionText, locate_section, select_fields
from postbus.imap.wire import NIL, format_text
from postbus.mime.values import Scan
from postbusd.imap_gateway.flags import format_view_flags
from postbusd.imap_gateway.views import FolderView

LIGHT_CHUNK = 1_000
"""Messages whose items come from the view, or ENVELOPEs, between two looks at the peer."""
STRUCTURE_CHUNK = 200
BODY_CHUNK = 200
BODY_CHUNK_OCTETS = 4_194_304
"""Bodies in memory at once, unless one alone is larger."""


class FetchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The items sorted by where their data come from."""

    light: tuple[FetchItem, ...]
    envelope: bool
    structures: tuple[FetchItem, ...]
    bodies: tuple[BodyItem, ...]

    @property
    def needs_messages(self) -> bool:
        """Whether rows of the store are needed beyond ENVELOPEs."""
        return bool(self.structures or self.bodies)

    @property
    def sets_seen(self) -> bool:
        r"""Whether the command sets \Seen (RFC 9051 §6.4.5)."""
        return any(not item.peek for item in self.bodies)

    def split(self, view: FolderView, uids: Sequence[int]) -> list[Sequence[int]]:
        """Uids in chunks that bound what is held in memory."""
        if self.bodies:
            return _split_by_octets(view, uids)
        size = STRUCTURE_CHUNK if self.structures else LIGHT_CHUNK
        return [uids[start : start + size] for start in range(0, len(uids), size)]


_STRUCTURES = (FetchItem.BODY, FetchItem.BODYSTRUCTURE, FetchItem.PREVIEW)
"""What a row of the store tells without the message's octets."""


def make_plan(items: Sequence[Item]) -> FetchPlan:
    """Sorts the items."""
    simple = [item for item in items if isinstance(item, FetchItem)]
    return FetchPlan(
        light=tuple(item for item in simple if item in LIGHT_COLUMNS),
        envelope=FetchItem.ENVELOPE in simple,
        structures=tuple(item for item in simple if item in _STRUCTURES),
        bodies=tuple(item for item in items if isinstance(item, BodyItem)),
    )


def _split_by_octets(view: FolderView, uids: Sequence[int]) -> list[Sequence[int]]:
    chunks: list[Sequence[int]] = []
    start = octets = 0
    for index, uid in enumerate(uids):
        row = view.row_of(uid)
        octets += view.octets[row] if row >= 0 else 0
        if index > start and (octets > BODY_CHUNK_OCTETS or index - start >= BODY_CHUNK):
            chunks.append(uids[start:index])
            start = index
            octets = view.octets[row] if row >= 0 else 0
    chunks.append(uids[start:])
    return chunks


Column = Callable[[FolderView, Sequence[int]], list[bytes]]
"""The item of many rows at once: a call a column is several times faster than a call a message."""


def _format_uids(view: FolderView, rows: Sequence[int]) -> list[bytes]:
    uids = view.uids
    return [b"UID %d" % uids[row] for row in rows]


def _format_flag_items(view: FolderView, rows: Sequence[int]) -> list[bytes]:
    """FLAGS."""
    return [b"FLAGS " + format_view_flags(view, row) for row in rows]


def _format_dates(view: FolderView, rows: Sequence[int]) -> list[bytes]:
    dates = view.internal_dates
    return [b"INTERNALDATE " + format_date_time(dates[row]) for row in rows]


def _format_sizes(view: FolderView, rows: Sequence[int]) -> list[bytes]:
    octets = view.octets
    return [b"RFC822.SIZE %d" % octets[row] for row in rows]


def _format_mod_seqs(view: FolderView, rows: Sequence[int]) -> list[bytes]:
    """MODSEQ (RFC 7162 §3.1.4.2)."""
    mod_seqs = view.mod_seqs
    return [b"MODSEQ (%d)" % mod_seqs[row] for row in rows]


LIGHT_COLUMNS: dict[FetchItem, Column] = {
    FetchItem.UID: _format_uids,
    FetchItem.FLAGS: _format_flag_items,
    FetchItem.INTERNALDATE: _format_dates,
    FetchItem.SIZE: _format_sizes,
    FetchItem.MODSEQ: _format_mod_seqs,
}


def format_structure(item: FetchItem, scan: Scan, preview: str) -> bytes:
    """BODY, BODYSTRUCTURE or PREVIEW."""
    if item is FetchItem.PREVIEW:
        return b"PREVIEW " + format_text(preview)
    return bytes(item.value) + b" " + format_body(scan.root, extended=item is FetchItem.BODYSTRUCTURE)


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Octets for one BodyItem: some of the prefix, then `start`..`end` of the blob. None of both: NIL."""

    item: BodyItem
    head: bytes = b""
    start: int = 0
    end: int = 0
    missing: bool = False


def cut_item(item: BodyItem, scan: Scan, prefix: bytes) -> Cut:
    """Which octets the item needs; a partial narrows them unless fields are chosen from them (RFC 9051 §6.4.5)."""
    found = locate_section(scan, item.section)
    if found is None:
        return Cut(item=item, missing=True)
    head = prefix if found.with_prefix else b""
    cut = Cut(item=item, head=head, start=found.start, end=found.end)
    if item.partial is None or chooses_fields(cut):
        return cut
    return _narrow(item, head, found, item.partial)


def _narrow(item: BodyItem, head: bytes, found: Range, partial: tuple[int, int]) -> Cut:
    first, count = partial
    start = min(found.end, found.start + max(0, first - len(head)))
    end = min(found.end, found.start + max(0, first + count - len(head)))
    return Cut(item=item, head=head[first : first + count], start=start, end=max(start, end))


def chooses_fields(cut: Cut) -> bool:
    """Whether the item is some fields of its octets, not all of the octets."""
    text = cut.item.section.text
    return not cut.missing and text in (SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT)


def format_cut_label(cut: Cut) -> bytes:
    """The item up to where the octets of the blob follow."""
    label = cut.item.format_label()
    if cut.missing:
        return label + b" " + NIL
    return b"%b {%d}\r\n%b" % (label, len(cut.head) + cut.end - cut.start, cut.head)


def format_chosen_fields(cut: Cut, octets: bytes) -> bytes:
    """The whole item, of which `octets` are those of the blob."""
    wanted = cut.item.section.text is SectionText.HEADER_FIELDS
    fields = select_fields(cut.head + octets, cut.item.section.names, wanted)
    if cut.item.partial is not None:
        first, count = cut.item.partial
        fields = fields[first : first + count]
    return b"%b {%d}\r\n%b" % (cut.item.format_label(), len(fields), fields)
