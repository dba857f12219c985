"""The smallest pieces of what we send: strings, lists, sets. Bytes out, never text.

Octets above 127 travel in literals: a quoted string with UTF-8 is for clients that enabled IMAP4rev2 (RFC 9051 §4.3),
a literal is understood by all. NUL can't travel in either and is left out (RFC 9051 §4.3.1).
"""

import re
from collections.abc import Iterable

MAX_QUOTED_OCTETS = 1024
"""Longer strings travel as literals: clients bound their lines."""

NIL = b"NIL"

_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*\Z")
_SPECIAL = re.compile(rb'(["\\])')
_ATOM = re.compile(rb"[\x21\x23\x24\x26\x27\x2b-\x5b\x5e-\x7a\x7c\x7d\x7e]+\Z")
_DIGITS = re.compile(rb"[0-9]+\Z")


def format_literal(value: bytes) -> bytes:
    """A synchronizing literal (RFC 9051 §4.3)."""
    return b"{%d}\r\n%b" % (len(value), value)


def format_string(value: bytes) -> bytes:
    """A quoted string where the octets allow it, else a literal; NULs are left out."""
    if len(value) <= MAX_QUOTED_OCTETS and _QUOTABLE.match(value):
        return b'"%b"' % _SPECIAL.sub(rb"\\\1", value)
    return format_literal(value.replace(b"\0", b""))


def format_nstring(value: bytes | None) -> bytes:
    """A string, or NIL for None."""
    return NIL if value is None else format_string(value)


def format_text(value: str) -> bytes:
    """A string of UTF-8 octets."""
    return format_string(value.encode("utf-8", "replace"))


def format_ntext(value: str) -> bytes:
    """A string of UTF-8 octets, NIL when empty."""
    return format_text(value) if value else NIL


def format_astring(value: bytes) -> bytes:
    """An atom where the octets allow it, else a string (RFC 9051 §9, astring)."""
    if _ATOM.match(value) and value.upper() != b"NIL":
        return value
    return format_string(value)


def format_list(items: Iterable[bytes]) -> bytes:
    """A parenthesized list."""
    return b"(%b)" % b" ".join(items)


def format_set(numbers: Iterable[int]) -> bytes:
    """Ascending numbers as a sequence set with ranges, as `1:3,5` (RFC 9051 §9, sequence-set)."""
    pieces: list[bytes] = []
    first = last = -1
    for number in numbers:
        if number == last + 1 and first >= 0:
            last = number
            continue
        if first >= 0:
            pieces.append(_format_range(first, last))
        first = last = number
    if first >= 0:
        pieces.append(_format_range(first, last))
    return b",".join(pieces)


def _format_range(first: int, last: int) -> bytes:
    return b"%d" % first if first == last else b"%d:%d" % (first, last)
