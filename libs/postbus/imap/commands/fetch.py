"""FETCH and UID FETCH (RFC 9051 §6.4.5; RFC822 items and macros: RFC 3501 §6.4.5; RFC 7162 §3.1.4, RFC 8970)."""

import enum
import re

import msgspec

from postbus.core.errors import RemoteProtocolError
from postbus.imap.command import Command
from postbus.imap.cursor import Cursor
from postbus.imap.limits import MAX_FETCH_ITEMS
from postbus.imap.modifiers import parse_number_modifier
from postbus.imap.sections import (
    Section,
    SectionText,
    format_section,
    parse_partial,
    parse_section,
)
from postbus.imap.sets import SequenceSet, parse_sequence_set


class FetchItem(enum.Enum):
    """Items without arguments."""

    FLAGS = b"FLAGS"
    UID = b"UID"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    MODSEQ = b"MODSEQ"
    PREVIEW = b"PREVIEW"


class BodyItem(msgspec.Struct, frozen=True, kw_only=True):
    """BODY[...], BODY.PEEK[...] and RFC 3501's RFC822 items."""

    section: Section
    peek: bool = False
    partial: tuple[int, int] | None = None
    """First octet and number of octets."""
    label: bytes = b""
    """RFC822, RFC822.HEADER, RFC822.TEXT; empty for BODY[...]."""

    def format_label(self) -> bytes:
        """The item's name in a response."""
        if self.label:
            return self.label
        origin = b"<%d>" % self.partial[0] if self.partial is not None else b""
        return b"BODY" + format_section(self.section) + origin


Item = FetchItem | BodyItem


class Fetch(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.4.5; items in the order asked for, UID added by UID FETCH."""

    uid: bool
    numbers: SequenceSet
    items: tuple[Item, ...]
    changed_since: int | None = None
    """RFC 7162 §3.1.4.1: only messages with a higher mod_seq; MODSEQ is among the items then."""


_NAME = re.compile(rb"[A-Za-z0-9.]+")
_LAZY = re.compile(rb" \(LAZY\)", re.IGNORECASE)
_FAST = (FetchItem.FLAGS, FetchItem.INTERNALDATE, FetchItem.SIZE)
_MACROS: dict[bytes, tuple[Item, ...]] = {
    b"FAST": _FAST,
    b"ALL": (*_FAST, FetchItem.ENVELOPE),
    b"FULL": (*_FAST, FetchItem.ENVELOPE, FetchItem.BODY),
}
_RFC822 = {
    b"RFC822": BodyItem(section=Section(), label=b"RFC822"),
    b"RFC822.HEADER": BodyItem(section=Section(text=SectionText.HEADER), peek=True, label=b"RFC822.HEADER"),
    b"RFC822.TEXT": BodyItem(section=Section(text=SectionText.TEXT), label=b"RFC822.TEXT"),
}
_SIMPLE = {item.value: item for item in FetchItem}


def _parse_name(cursor: Cursor) -> bytes:
    match = cursor.match(_NAME)
    if match is None:
        raise RemoteProtocolError("Expected a fetch item")
    return match[0].upper()


def parse_item(cursor: Cursor) -> Item:
    """One item."""
    return _finish_item(_parse_name(cursor), cursor)


def _finish_item(name: bytes, cursor: Cursor) -> Item:
    if name in (b"BODY", b"BODY.PEEK") and cursor.next_is(b"["):
        section = parse_section(cursor)
        return BodyItem(section=section, peek=name == b"BODY.PEEK", partial=parse_partial(cursor))
    if name == b"PREVIEW":
        cursor.match(_LAZY)  # previews are always at hand (RFC 8970 §3.1)
    item = _RFC822.get(name) or _SIMPLE.get(name)
    if item is None:
        raise RemoteProtocolError(f"There is no fetch item {name.decode('ascii')}")
    return item


def parse_items(cursor: Cursor) -> tuple[Item, ...]:
    """A macro, an item, or items in parentheses; doubles left out."""
    if not cursor.accept(b"("):
        name = _parse_name(cursor)
        return _MACROS.get(name) or (_finish_item(name, cursor),)
    found: dict[Item, None] = {}
    while not cursor.accept(b")"):
        if found:
            cursor.expect_space()
        found[parse_item(cursor)] = None
        if len(found) > MAX_FETCH_ITEMS:
            raise RemoteProtocolError("Too many fetch items")
    if not found:
        raise RemoteProtocolError("Expected a fetch item")
    return tuple(found)


def format_item(item: Item) -> bytes:
    """The item as a client writes it."""
    if isinstance(item, FetchItem):
        return item.value
    if item.label:
        return item.label
    name = b"BODY.PEEK" if item.peek else b"BODY"
    partial = b"<%d.%d>" % item.partial if item.partial is not None else b""
    return name + format_section(item.section) + partial


def _parse_fetch(tag: bytes, cursor: Cursor, uid: bool) -> Fetch:
    cursor.expect_space()
    numbers = parse_sequence_set(cursor)
    cursor.expect_space()
    items = parse_items(cursor)
    if uid and FetchItem.UID not in items:
        items = (FetchItem.UID, *items)
    changed_since = parse_number_modifier(cursor, b"CHANGEDSINCE")
    if changed_since is not None and FetchItem.MODSEQ not in items:
        items = (*items, FetchItem.MODSEQ)
    return Fetch(tag=tag, uid=uid, numbers=numbers, items=items, changed_since=changed_since)


def parse_fetch(tag: bytes, cursor: Cursor) -> Fetch:
    """Numbers, items and perhaps a modifier."""
    return _parse_fetch(tag, cursor, uid=False)


def parse_uid_fetch(tag: bytes, cursor: Cursor) -> Fetch:
    """UIDs, items and perhaps a modifier."""
    return _parse_fetch(tag, cursor, uid=True)
