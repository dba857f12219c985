"""Packing of folder rows into columns and back, and of uid sets into ranges."""

import struct
from collections.abc import Iterable, Sequence

from postbus.mailstore.values import FolderHead, PackedEntries, ViewRow

HAS_KEYWORDS = 0x80
"""Bit 7 of a flags octet: the message has keywords."""
NO_DAY = -(1 << 31)
"""sent_day of a message without a Date."""


def pack_rows(
    head: FolderHead,
    rows: Sequence[ViewRow],
    vanished: tuple[tuple[int, int], ...] = (),
    complete: bool = True,
) -> PackedEntries:
    """Columns of `rows`, which ascend by uid."""
    n = len(rows)
    return PackedEntries(
        head=head,
        uids=struct.pack(f">{n}I", *(row.uid for row in rows)),
        flags=bytes(row.flags | (HAS_KEYWORDS if row.keywords else 0) for row in rows),
        mod_seqs=struct.pack(f">{n}Q", *(row.mod_seq for row in rows)),
        octets=struct.pack(f">{n}I", *(row.octets for row in rows)),
        internal_dates=struct.pack(f">{n}q", *(row.internal_date_ms for row in rows)),
        sent_days=struct.pack(f">{n}i", *(NO_DAY if row.sent_day is None else row.sent_day for row in rows)),
        save_dates=struct.pack(f">{n}q", *(row.save_date_ms for row in rows)),
        email_ids=b"".join(row.email_id for row in rows),
        keywords=tuple((row.uid, row.keywords) for row in rows if row.keywords),
        vanished=vanished,
        complete=complete,
    )


def unpack_rows(packed: PackedEntries) -> list[ViewRow]:
    """The rows of packed columns."""
    n = len(packed.uids) // 4
    keywords = dict(packed.keywords)
    uids = struct.unpack(f">{n}I", packed.uids)
    days = struct.unpack(f">{n}i", packed.sent_days)
    numbers = zip(
        uids,
        struct.unpack(f">{n}Q", packed.mod_seqs),
        struct.unpack(f">{n}I", packed.octets),
        struct.unpack(f">{n}q", packed.internal_dates),
        struct.unpack(f">{n}q", packed.save_dates),
        strict=True,
    )
    return [
        ViewRow(
            uid=uid,
            flags=packed.flags[index] & ~HAS_KEYWORDS,
            mod_seq=mod_seq,
            octets=octets,
            internal_date_ms=internal_date_ms,
            sent_day=None if days[index] == NO_DAY else days[index],
            email_id=packed.email_ids[16 * index : 16 * index + 16],
            keywords=keywords.get(uid, ()),
            save_date_ms=save_date_ms,
        )
        for index, (uid, mod_seq, octets, internal_date_ms, save_date_ms) in enumerate(numbers)
    ]


def merge_ranges(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Inclusive ranges, ascending, none of them touching another."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def to_ranges(uids: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Inclusive ranges, ascending, of any uids."""
    return merge_ranges((uid, uid) for uid in uids)


def unpack_ranges(packed: bytes) -> tuple[tuple[int, int], ...]:
    """Inclusive ranges from pairs of int64."""
    return tuple(struct.iter_unpack(">qq", packed))


def expand_ranges(ranges: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Every uid of inclusive ranges."""
    return tuple(uid for first, last in ranges for uid in range(first, last + 1))
