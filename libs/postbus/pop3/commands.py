"""Command lines (RFC 1939 §3, RFC 2449 §4)."""

import enum
from typing import Final

import msgspec

from postbus.core.errors import RemoteProtocolError

MAX_LINE_OCTETS: Final = 12_288
"""Of a command or a SASL response, without CRLF: RFC 2449 §4 has 255, responses (RFC 5034 §4) are longer."""
MAX_NUMBER: Final = 0xFFFF_FFFF


class Verb(enum.StrEnum):
    """All that we know."""

    APOP = "APOP"
    AUTH = "AUTH"
    CAPA = "CAPA"
    DELE = "DELE"
    LIST = "LIST"
    NOOP = "NOOP"
    PASS = "PASS"  # noqa: S105  a command
    QUIT = "QUIT"
    RETR = "RETR"
    RSET = "RSET"
    STAT = "STAT"
    STLS = "STLS"
    TOP = "TOP"
    UIDL = "UIDL"
    USER = "USER"
    UTF8 = "UTF8"


class Arguments(enum.Enum):
    """What follows a verb."""

    NONE = enum.auto()
    NUMBER = enum.auto()
    MAYBE_NUMBER = enum.auto()
    TWO_NUMBERS = enum.auto()
    TEXT = enum.auto()
    """To the end of the line, blanks too (RFC 1939 §7, PASS)."""
    WORDS = enum.auto()


_ARGUMENTS: Final = {
    Verb.APOP: Arguments.WORDS,
    Verb.AUTH: Arguments.WORDS,
    Verb.CAPA: Arguments.NONE,
    Verb.DELE: Arguments.NUMBER,
    Verb.LIST: Arguments.MAYBE_NUMBER,
    Verb.NOOP: Arguments.NONE,
    Verb.PASS: Arguments.TEXT,
    Verb.QUIT: Arguments.NONE,
    Verb.RETR: Arguments.NUMBER,
    Verb.RSET: Arguments.NONE,
    Verb.STAT: Arguments.NONE,
    Verb.STLS: Arguments.NONE,
    Verb.TOP: Arguments.TWO_NUMBERS,
    Verb.UIDL: Arguments.MAYBE_NUMBER,
    Verb.USER: Arguments.TEXT,
    Verb.UTF8: Arguments.NONE,
}


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was understood."""

    verb: Verb
    text: str = ""
    """USER, PASS: UTF-8 (RFC 6856)."""
    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


def parse_command(line: bytes) -> Command:
    """A line without its CRLF. Raises RemoteProtocolError, to be told to the client."""
    name, _, rest = line.partition(b" ")
    try:
        verb = Verb(name.decode("ascii").upper())
    except ValueError as error:
        raise RemoteProtocolError("unknown command") from error
    kind = _ARGUMENTS[verb]
    if kind is Arguments.TEXT:
        return Command(verb=verb, text=_read_text(rest))
    words = tuple(_read_text(rest).split())
    if kind is Arguments.WORDS:
        return Command(verb=verb, words=words)
    wanted = {Arguments.NONE: (0,), Arguments.NUMBER: (1,), Arguments.MAYBE_NUMBER: (0, 1), Arguments.TWO_NUMBERS: (2,)}
    if len(words) not in wanted[kind]:
        raise RemoteProtocolError(f"{verb.value} takes {' or '.join(map(str, wanted[kind]))} arguments")
    return Command(verb=verb, numbers=tuple(map(_read_number, words)))


def _read_text(octets: bytes) -> str:
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("the line is not UTF-8") from error
    if "\0" in text:
        raise RemoteProtocolError("the line has a NUL")
    return text


def _read_number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 10 and int(word) <= MAX_NUMBER):
        raise RemoteProtocolError(f"{word[:20]} is no number")
    return int(word)
