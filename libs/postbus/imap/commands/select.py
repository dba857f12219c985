"""SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2; RFC 3691), CHECK (RFC 3501 §6.4.1).

SELECT and EXAMINE take the parameter CONDSTORE (RFC 7162 §3.1.8).
"""

from postbus.imap.command import Command
from postbus.imap.commands.folders import parse_folder
from postbus.imap.cursor import Cursor
from postbus.imap.modifiers import parse_flag_modifier


class Select(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.2."""

    folder: str
    condstore: bool = False


class Examine(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.3."""

    folder: str
    condstore: bool = False


class Close(Command, frozen=True, kw_only=True):
    r"""RFC 9051 §6.4.1: removes what is \Deleted without a word."""


class Unselect(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.4.2."""


class Check(Command, frozen=True, kw_only=True):
    """RFC 3501 §6.4.1."""


def parse_select(tag: bytes, cursor: Cursor) -> Select:
    """A folder and perhaps parameters."""
    return Select(tag=tag, folder=parse_folder(cursor), condstore=parse_flag_modifier(cursor, b"CONDSTORE"))


def parse_examine(tag: bytes, cursor: Cursor) -> Examine:
    """A folder and perhaps parameters."""
    return Examine(tag=tag, folder=parse_folder(cursor), condstore=parse_flag_modifier(cursor, b"CONDSTORE"))


def parse_close(tag: bytes, cursor: Cursor) -> Close:
    """No arguments."""
    return Close(tag=tag)


def parse_unselect(tag: bytes, cursor: Cursor) -> Unselect:
    """No arguments."""
    return Unselect(tag=tag)


def parse_check(tag: bytes, cursor: Cursor) -> Check:
    """No arguments."""
    return Check(tag=tag)
