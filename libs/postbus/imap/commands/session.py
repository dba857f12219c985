"""Commands of any state: CAPABILITY, NOOP, LOGOUT (RFC 9051 §6.1), ID (RFC 2971), ENABLE (RFC 5161)."""

from postbus.core.errors import RemoteProtocolError
from postbus.imap.command import Command, require_utf8
from postbus.imap.cursor import Cursor
from postbus.imap.limits import MAX_ID_PAIRS


class Capability(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.1.1."""


class Noop(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.1.2."""


class Logout(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.1.3."""


class Id(Command, frozen=True, kw_only=True):
    """RFC 2971 §3.1: what the client says about itself."""

    fields: tuple[tuple[str, str], ...]


class Enable(Command, frozen=True, kw_only=True):
    """RFC 5161 §3.1, RFC 9051 §6.3.1."""

    capabilities: tuple[bytes, ...]


class Namespace(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.10 (RFC 2342)."""


class Idle(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.3.13 (RFC 2177); ended by a line DONE."""


def parse_capability(tag: bytes, cursor: Cursor) -> Capability:
    """No arguments."""
    return Capability(tag=tag)


def parse_noop(tag: bytes, cursor: Cursor) -> Noop:
    """No arguments."""
    return Noop(tag=tag)


def parse_logout(tag: bytes, cursor: Cursor) -> Logout:
    """No arguments."""
    return Logout(tag=tag)


def parse_namespace(tag: bytes, cursor: Cursor) -> Namespace:
    """No arguments."""
    return Namespace(tag=tag)


def parse_idle(tag: bytes, cursor: Cursor) -> Idle:
    """No arguments."""
    return Idle(tag=tag)


def parse_id(tag: bytes, cursor: Cursor) -> Id:
    """NIL, or pairs of strings in parentheses."""
    cursor.expect_space()
    fields: list[tuple[str, str]] = []
    if not cursor.accept(b"("):
        if cursor.parse_nstring() is not None:
            raise RemoteProtocolError("Expected NIL or a list")
        return Id(tag=tag, fields=())
    while not cursor.accept(b")"):
        if fields:
            cursor.expect_space()
        name = require_utf8(cursor.parse_string(), "field name")
        cursor.expect_space()
        fields.append((name, require_utf8(cursor.parse_nstring() or b"", "value")))
        if len(fields) > MAX_ID_PAIRS:
            raise RemoteProtocolError("Too many fields")
    return Id(tag=tag, fields=tuple(fields))


def parse_enable(tag: bytes, cursor: Cursor) -> Enable:
    """One capability or more."""
    names: list[bytes] = []
    while not cursor.at_end():
        cursor.expect_space()
        if cursor.at_end():
            break
        names.append(cursor.parse_word())
    if not names:
        raise RemoteProtocolError("Expected a capability")
    return Enable(tag=tag, capabilities=tuple(names))
