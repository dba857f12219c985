"""LIST with its extensions, and LSUB (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154; LSUB: RFC 3501 §6.3.9)."""

import enum
from typing import TypeVar

from postbus.core.errors import RemoteProtocolError
from postbus.imap.command import Command
from postbus.imap.commands.folders import StatusItem, parse_status_items
from postbus.imap.cursor import LIST_ATOM, Cursor
from postbus.imap.limits import MAX_LIST_PATTERNS
from postbus.imap.utf7 import decode_folder_name, decode_utf7


class ListSelection(enum.Enum):
    """Which folders are listed (RFC 5258 §3.1, RFC 6154 §2)."""

    SUBSCRIBED = b"SUBSCRIBED"
    REMOTE = b"REMOTE"
    RECURSIVEMATCH = b"RECURSIVEMATCH"
    SPECIAL_USE = b"SPECIAL-USE"


class ListReturn(enum.Enum):
    """What is told of them (RFC 5258 §3.2, RFC 6154 §2, RFC 5819 §2)."""

    SUBSCRIBED = b"SUBSCRIBED"
    CHILDREN = b"CHILDREN"
    SPECIAL_USE = b"SPECIAL-USE"
    STATUS = b"STATUS"


class List(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.9; each pattern stands behind `reference`, all decoded."""

    reference: str
    patterns: tuple[str, ...]
    selection: frozenset[ListSelection] = frozenset()
    returns: frozenset[ListReturn] = frozenset()
    status: tuple[StatusItem, ...] = ()
    """With STATUS: the items to tell of each folder."""


class Lsub(Command, frozen=True, kw_only=True):
    """RFC 3501 §6.3.9."""

    reference: str
    pattern: str


Option = TypeVar("Option", ListSelection, ListReturn)


def _parse_option(cursor: Cursor, kind: type[Option]) -> Option:
    try:
        return kind(cursor.parse_word())
    except ValueError as error:
        raise RemoteProtocolError("There is no such LIST option") from error


def _parse_pattern(cursor: Cursor) -> str:
    match = cursor.match(LIST_ATOM)
    pattern = match[0] if match is not None else cursor.parse_string()
    return decode_utf7(pattern) if pattern.isascii() else decode_folder_name(pattern)


def _parse_patterns(cursor: Cursor) -> tuple[str, ...]:
    if not cursor.accept(b"("):
        return (_parse_pattern(cursor),)
    patterns = [_parse_pattern(cursor)]
    while not cursor.accept(b")"):
        cursor.expect_space()
        patterns.append(_parse_pattern(cursor))
        if len(patterns) > MAX_LIST_PATTERNS:
            raise RemoteProtocolError("Too many patterns")
    return tuple(patterns)


def _parse_selection(cursor: Cursor) -> frozenset[ListSelection]:
    found: set[ListSelection] = set()
    if cursor.accept(b"("):
        while not cursor.accept(b")"):
            if found:
                cursor.expect_space()
            found.add(_parse_option(cursor, ListSelection))
        cursor.expect_space()
    if ListSelection.RECURSIVEMATCH in found and not found - {ListSelection.RECURSIVEMATCH, ListSelection.REMOTE}:
        raise RemoteProtocolError("RECURSIVEMATCH needs another option")
    return frozenset(found)


def _parse_returns(cursor: Cursor) -> tuple[frozenset[ListReturn], tuple[StatusItem, ...]]:
    found: set[ListReturn] = set()
    status: tuple[StatusItem, ...] = ()
    if not cursor.accept(b" "):
        return frozenset(), ()
    if cursor.parse_word() != b"RETURN":
        raise RemoteProtocolError("Expected RETURN")
    cursor.expect_space()
    cursor.expect(b"(")
    while not cursor.accept(b")"):
        if found:
            cursor.expect_space()
        option = _parse_option(cursor, ListReturn)
        found.add(option)
        if option is ListReturn.STATUS:
            cursor.expect_space()
            status = parse_status_items(cursor)
    return frozenset(found), status


def parse_list(tag: bytes, cursor: Cursor) -> List:
    """Perhaps selection options, a reference, patterns, perhaps return options."""
    cursor.expect_space()
    selection = _parse_selection(cursor)
    reference = decode_folder_name(cursor.parse_astring())
    cursor.expect_space()
    patterns = _parse_patterns(cursor)
    returns, status = _parse_returns(cursor)
    return List(tag=tag, reference=reference, patterns=patterns, selection=selection, returns=returns, status=status)


def parse_lsub(tag: bytes, cursor: Cursor) -> Lsub:
    """Reference and pattern."""
    cursor.expect_space()
    reference = decode_folder_name(cursor.parse_astring())
    cursor.expect_space()
    return Lsub(tag=tag, reference=reference, pattern=_parse_pattern(cursor))
