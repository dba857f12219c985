r"""Flags on the wire (RFC 9051 §2.3.2): system flags in their usual spelling, keywords as the client wrote them."""

import re

from postbus.core.errors import RemoteProtocolError
from postbus.imap.cursor import Cursor
from postbus.imap.limits import MAX_FLAGS, MAX_KEYWORD_OCTETS

SYSTEM_FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")
r"""\Recent is the server's alone and gone with IMAP4rev2: nobody can set it here."""

_NO_MORE = re.compile(rb" *+\Z")
_SPELLING = {flag.upper(): flag for flag in SYSTEM_FLAGS}
_FLAG = re.compile(rb'\\?[^\x00-\x20\x7f-\xff(){%*"\\\]]+')


def parse_flag(cursor: Cursor) -> str:
    """A system flag or a keyword."""
    match = cursor.match(_FLAG)
    if match is None:
        raise RemoteProtocolError("Expected a flag")
    flag = match[0].decode("ascii")
    if flag.startswith("\\"):
        known = _SPELLING.get(flag.upper())
        if known is None:
            raise RemoteProtocolError(f"There is no flag {flag}")
        return known
    if len(flag) > MAX_KEYWORD_OCTETS:
        raise RemoteProtocolError("The keyword is too long")
    return flag


def parse_flag_list(cursor: Cursor) -> tuple[str, ...]:
    """Flags in parentheses, doubles left out; keywords are equal whatever their case."""
    cursor.expect(b"(")
    found: dict[str, str] = {}
    while not cursor.accept(b")"):
        if found:
            cursor.expect_space()
        flag = parse_flag(cursor)
        found.setdefault(flag.lower(), flag)
        if len(found) > MAX_FLAGS:
            raise RemoteProtocolError("Too many flags")
    return tuple(found.values())


def parse_flags(cursor: Cursor) -> tuple[str, ...]:
    """A list in parentheses, or flags with spaces between them (RFC 9051 §9, store-att-flags)."""
    if cursor.next_is(b"("):
        return parse_flag_list(cursor)
    found = {flag.lower(): flag for flag in (parse_flag(cursor),)}
    while _NO_MORE.match(cursor.data, cursor.position) is None:  # wild clients send trailing spaces
        cursor.expect_space()
        flag = parse_flag(cursor)
        found.setdefault(flag.lower(), flag)
        if len(found) > MAX_FLAGS:
            raise RemoteProtocolError("Too many flags")
    return tuple(found.values())
