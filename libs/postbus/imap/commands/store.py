"""STORE, EXPUNGE, COPY, MOVE and their UID forms (RFC 9051 §6.4.3, §6.4.6-6.4.9; UNCHANGEDSINCE: RFC 7162 §3.1.3)."""

import enum

from postbus.core.errors import RemoteProtocolError
from postbus.imap.command import Command
from postbus.imap.commands.folders import parse_folder
from postbus.imap.cursor import Cursor
from postbus.imap.flags import parse_flags
from postbus.imap.modifiers import parse_number_modifier
from postbus.imap.sets import SequenceSet, parse_sequence_set


class StoreAction(enum.Enum):
    """FLAGS, +FLAGS, -FLAGS."""

    REPLACE = b"FLAGS"
    ADD = b"+FLAGS"
    REMOVE = b"-FLAGS"


class Store(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.4.6."""

    uid: bool
    numbers: SequenceSet
    action: StoreAction
    silent: bool
    flags: tuple[str, ...]
    unchanged_since: int | None = None
    """Messages with a higher mod_seq are left alone."""


class Expunge(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.4.3; with `numbers` UID EXPUNGE (§6.4.9)."""

    numbers: SequenceSet | None


class Copy(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.4.7."""

    uid: bool
    numbers: SequenceSet
    folder: str


class Move(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.4.8."""

    uid: bool
    numbers: SequenceSet
    folder: str


def _parse_numbers(cursor: Cursor) -> SequenceSet:
    cursor.expect_space()
    return parse_sequence_set(cursor)


def _parse_store(tag: bytes, cursor: Cursor, uid: bool) -> Store:
    numbers = _parse_numbers(cursor)
    unchanged_since = parse_number_modifier(cursor, b"UNCHANGEDSINCE")
    cursor.expect_space()
    name = cursor.parse_word()
    silent = name.endswith(b".SILENT")
    try:
        action = StoreAction(name.removesuffix(b".SILENT"))
    except ValueError as error:
        raise RemoteProtocolError("Expected FLAGS, +FLAGS or -FLAGS") from error
    cursor.expect_space()
    return Store(
        tag=tag,
        uid=uid,
        numbers=numbers,
        action=action,
        silent=silent,
        flags=parse_flags(cursor),
        unchanged_since=unchanged_since,
    )


def parse_store(tag: bytes, cursor: Cursor) -> Store:
    """Numbers, perhaps a modifier, action, flags."""
    return _parse_store(tag, cursor, uid=False)


def parse_uid_store(tag: bytes, cursor: Cursor) -> Store:
    """UIDs, perhaps a modifier, action, flags."""
    return _parse_store(tag, cursor, uid=True)


def parse_expunge(tag: bytes, cursor: Cursor) -> Expunge:
    """No arguments."""
    return Expunge(tag=tag, numbers=None)


def parse_uid_expunge(tag: bytes, cursor: Cursor) -> Expunge:
    """UIDs."""
    return Expunge(tag=tag, numbers=_parse_numbers(cursor))


def parse_copy(tag: bytes, cursor: Cursor) -> Copy:
    """Numbers and a folder."""
    return Copy(tag=tag, uid=False, numbers=_parse_numbers(cursor), folder=parse_folder(cursor))


def parse_uid_copy(tag: bytes, cursor: Cursor) -> Copy:
    """UIDs and a folder."""
    return Copy(tag=tag, uid=True, numbers=_parse_numbers(cursor), folder=parse_folder(cursor))


def parse_move(tag: bytes, cursor: Cursor) -> Move:
    """Numbers and a folder."""
    return Move(tag=tag, uid=False, numbers=_parse_numbers(cursor), folder=parse_folder(cursor))


def parse_uid_move(tag: bytes, cursor: Cursor) -> Move:
    """UIDs and a folder."""
    return Move(tag=tag, uid=True, numbers=_parse_numbers(cursor), folder=parse_folder(cursor))
