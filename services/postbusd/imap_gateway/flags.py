r"""Flags between the wire (`\Seen`) and the store (bits and keywords)."""

from collections.abc import Iterable

from postbus.mailstore.values import Flag
from postbusd.imap_gateway.views import HAS_KEYWORDS, SYSTEM_FLAGS, FolderView

BITS = {
    "\\Seen": Flag.SEEN,
    "\\Answered": Flag.ANSWERED,
    "\\Flagged": Flag.FLAGGED,
    "\\Deleted": Flag.DELETED,
    "\\Draft": Flag.DRAFT,
}


def _names(bits: int) -> bytes:
    return b" ".join(name.encode("ascii") for name, bit in BITS.items() if bits & bit)


_NAMES = tuple(_names(bits) for bits in range(SYSTEM_FLAGS + 1))
_LISTS = tuple(b"(%b)" % names for names in _NAMES)


def split_flags(flags: Iterable[str]) -> tuple[Flag, tuple[str, ...]]:
    """System flags as bits, and the keywords."""
    bits = Flag(0)
    keywords: list[str] = []
    for flag in flags:
        bit = BITS.get(flag)
        if bit is None:
            keywords.append(flag)
        else:
            bits |= bit
    return bits, tuple(keywords)


def format_view_flags(view: FolderView, row: int) -> bytes:
    """The flags of a message in parentheses."""
    bits = view.flags[row]
    if not bits & HAS_KEYWORDS:
        return _LISTS[bits & SYSTEM_FLAGS]
    words = [keyword.encode("ascii", "replace") for keyword in view.keywords.get(view.uids[row], ())]
    names = _NAMES[bits & SYSTEM_FLAGS]
    return b"(%b)" % b" ".join([names, *words] if names else words)
