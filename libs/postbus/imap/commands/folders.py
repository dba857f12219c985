"""Commands that name folders without opening them (RFC 9051 §6.3.4-6.3.9, §6.3.11; LSUB: RFC 3501 §6.3.9)."""

import enum

from postbus.core.errors import RemoteProtocolError
from postbus.imap.command import Command
from postbus.imap.cursor import LIST_ATOM, Cursor
from postbus.imap.utf7 import decode_folder_name, decode_utf7


class StatusItem(enum.Enum):
    """What STATUS tells (RFC 9051 §6.3.11); RECENT is RFC 3501's."""

    MESSAGES = b"MESSAGES"
    RECENT = b"RECENT"
    UIDNEXT = b"UIDNEXT"
    UIDVALIDITY = b"UIDVALIDITY"
    UNSEEN = b"UNSEEN"
    DELETED = b"DELETED"
    SIZE = b"SIZE"


class List(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.9; `pattern` stands behind `reference`, both decoded."""

    reference: str
    pattern: str


class Lsub(Command, frozen=True, kw_only=True):
    """RFC 3501 §6.3.9."""

    reference: str
    pattern: str


class Status(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.11."""

    folder: str
    items: tuple[StatusItem, ...]


class Create(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.4; a trailing `/` is only a hint and left out."""

    folder: str


class Delete(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.5."""

    folder: str


class Rename(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.6."""

    folder: str
    new_name: str


class Subscribe(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.7."""

    folder: str


class Unsubscribe(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.8."""

    folder: str


def parse_folder(cursor: Cursor) -> str:
    """A space and a folder name."""
    cursor.expect_space()
    return decode_folder_name(cursor.parse_astring())


def _parse_listing(cursor: Cursor) -> tuple[str, str]:
    cursor.expect_space()
    if cursor.next_is(b"("):
        raise RemoteProtocolError("LIST-EXTENDED is not offered")
    reference = decode_folder_name(cursor.parse_astring())
    cursor.expect_space()
    match = cursor.match(LIST_ATOM)
    pattern = match[0] if match is not None else cursor.parse_string()
    if pattern.isascii():
        return reference, decode_utf7(pattern)
    return reference, decode_folder_name(pattern)


def parse_list(tag: bytes, cursor: Cursor) -> List:
    """Reference and pattern."""
    reference, pattern = _parse_listing(cursor)
    return List(tag=tag, reference=reference, pattern=pattern)


def parse_lsub(tag: bytes, cursor: Cursor) -> Lsub:
    """Reference and pattern."""
    reference, pattern = _parse_listing(cursor)
    return Lsub(tag=tag, reference=reference, pattern=pattern)


def parse_status(tag: bytes, cursor: Cursor) -> Status:
    """A folder and items in parentheses."""
    folder = parse_folder(cursor)
    cursor.expect_space()
    cursor.expect(b"(")
    items: list[StatusItem] = []
    while not cursor.accept(b")"):
        if items:
            cursor.expect_space()
        name = cursor.parse_word()
        try:
            item = StatusItem(name)
        except ValueError as error:
            raise RemoteProtocolError("There is no such status item") from error
        if item not in items:
            items.append(item)
    if not items:
        raise RemoteProtocolError("Expected a status item")
    return Status(tag=tag, folder=folder, items=tuple(items))


def parse_create(tag: bytes, cursor: Cursor) -> Create:
    """A folder; CREATE-SPECIAL-USE is not offered."""
    folder = parse_folder(cursor)
    return Create(tag=tag, folder=folder.removesuffix("/"))


def parse_delete(tag: bytes, cursor: Cursor) -> Delete:
    """A folder."""
    return Delete(tag=tag, folder=parse_folder(cursor))


def parse_rename(tag: bytes, cursor: Cursor) -> Rename:
    """A folder and its new name."""
    return Rename(tag=tag, folder=parse_folder(cursor), new_name=parse_folder(cursor))


def parse_subscribe(tag: bytes, cursor: Cursor) -> Subscribe:
    """A folder."""
    return Subscribe(tag=tag, folder=parse_folder(cursor))


def parse_unsubscribe(tag: bytes, cursor: Cursor) -> Unsubscribe:
    """A folder."""
    return Unsubscribe(tag=tag, folder=parse_folder(cursor))
