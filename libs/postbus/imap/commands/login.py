"""Commands before login: STARTTLS, AUTHENTICATE, LOGIN (RFC 9051 §6.2)."""

from postbus.imap.command import Command, require_utf8
from postbus.imap.cursor import Cursor


class StartTls(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.2.1."""


class Login(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.2.3."""

    username: str
    password: str


class Authenticate(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.2.2; `initial` is the initial response in base64 (SASL-IR), None without one."""

    mechanism: bytes
    initial: bytes | None


def parse_starttls(tag: bytes, cursor: Cursor) -> StartTls:
    """No arguments."""
    return StartTls(tag=tag)


def parse_login(tag: bytes, cursor: Cursor) -> Login:
    """User name and password, astrings of UTF-8."""
    cursor.expect_space()
    username = require_utf8(cursor.parse_astring(), "user name")
    cursor.expect_space()
    password = require_utf8(cursor.parse_astring(), "password")
    return Login(tag=tag, username=username, password=password)


def parse_authenticate(tag: bytes, cursor: Cursor) -> Authenticate:
    """A mechanism and perhaps an initial response, `=` being an empty one (RFC 4959 §3)."""
    cursor.expect_space()
    mechanism = cursor.parse_word()
    initial: bytes | None = None
    if cursor.accept(b" "):
        initial = cursor.parse_atom()
        initial = b"" if initial == b"=" else initial
    return Authenticate(tag=tag, mechanism=mechanism, initial=initial)
