"""Commands that name folders without opening them (RFC 9051 §6.3.4-6.3.8, §6.3.11)."""

import enum

from postbus.core.errors import RemoteProtocolError
from postbus.imap.command import Command
from postbus.imap.cursor import Cursor
from postbus.imap.utf7 import decode_folder_name


class StatusItem(enum.Enum):
    """What STATUS tells (RFC 9051 §6.3.11); RECENT is RFC 3501's, the last ones RFC 7162's (§3.1.7) and RFC 7889's."""

    MESSAGES = b"MESSAGES"
    RECENT = b"RECENT"
    UIDNEXT = b"UIDNEXT"
    UIDVALIDITY = b"UIDVALIDITY"
    UNSEEN = b"UNSEEN"
    DELETED = b"DELETED"
    SIZE = b"SIZE"
    HIGHESTMODSEQ = b"HIGHESTMODSEQ"
    APPENDLIMIT = b"APPENDLIMIT"


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


def parse_status(tag: bytes, cursor: Cursor) -> Status:
    """A folder and items in parentheses."""
    folder = parse_folder(cursor)
    cursor.expect_space()
    return Status(tag=tag, folder=folder, items=parse_status_items(cursor))


def parse_status_items(cursor: Cursor) -> tuple[StatusItem, ...]:
    """Items in parentheses, doubles left out."""
    cursor.expect(b"(")
    items: dict[StatusItem, None] = {}
    while not cursor.accept(b")"):
        if items:
            cursor.expect_space()
        try:
            items[StatusItem(cursor.parse_word())] = None
        except ValueError as error:
            raise RemoteProtocolError("There is no such status item") from error
    if not items:
        raise RemoteProtocolError("Expected a status item")
    return tuple(items)


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
