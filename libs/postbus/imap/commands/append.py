"""APPEND of one message (RFC 9051 §6.3.12)."""

from postbus.imap.command import Command
from postbus.imap.commands.folders import parse_folder
from postbus.imap.cursor import Cursor
from postbus.imap.dates import parse_date_time
from postbus.imap.flags import parse_flag_list


class Append(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.12."""

    folder: str
    flags: tuple[str, ...]
    internal_date_ms: int | None
    """None: now."""
    message: bytes


def parse_append(tag: bytes, cursor: Cursor) -> Append:
    """A folder, perhaps flags, perhaps a date-time, a literal."""
    folder = parse_folder(cursor)
    cursor.expect_space()
    flags: tuple[str, ...] = ()
    if cursor.next_is(b"("):
        flags = parse_flag_list(cursor)
        cursor.expect_space()
    internal_date_ms: int | None = None
    if cursor.next_is(b'"'):
        internal_date_ms = parse_date_time(cursor)
        cursor.expect_space()
    message = cursor.parse_literal()
    return Append(tag=tag, folder=folder, flags=flags, internal_date_ms=internal_date_ms, message=message)
