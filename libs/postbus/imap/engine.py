"""The server's side of an IMAP connection without I/O: octets in, events out.

Theory of operation. The shell feeds what it reads (`receive_data`) and asks for the next event until NeedData. A
Command is legal in the present state, by the one table in transitions.py; the shell acts on it and says how it ended
(`complete`), which moves the state. Where the dialogue leaves the command grammar (SASL responses, DONE) the shell
asks for a line (`expect_line`). Nothing the peer sends raises, but for one thing: RemoteProtocolError says that the
peer has had its share of errors and deserves BYE.

RFC 9051 §2.2, §3; RFC 3501; RFC 7888 (literals).
"""

import re

import msgspec

from postbus.core.errors import LocalProtocolError, RemoteProtocolError
from postbus.imap.command import Command
from postbus.imap.commands import PARSERS, UID_PARSERS
from postbus.imap.commands.search import UnknownCharsetError
from postbus.imap.cursor import Cursor
from postbus.imap.framer import LIMITS_BEFORE_LOGIN, Frame, FrameLimits, Framer, LiteralWanted, Overlong
from postbus.imap.limits import (
    MAX_APPEND_OCTETS,
    MAX_CONTINUATION_OCTETS,
    MAX_DISCARDED_OCTETS,
    MAX_ERRORS,
    MAX_ERRORS_BEFORE_LOGIN,
)
from postbus.imap.transitions import State, is_legal, next_state

_TAG = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]{1,64}(?= |\Z)')


class NeedData(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing to act on until more octets come."""


class CommandRefused(msgspec.Struct, frozen=True, kw_only=True):
    """What came is no command, or not a legal one: BAD or NO with `tag`, untagged without one."""

    tag: bytes | None
    text: str
    status: bytes = b"BAD"
    code: bytes = b""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The line that `expect_line` asked for."""

    data: bytes


Event = Command | LiteralWanted | Line | CommandRefused | NeedData

NEED_DATA = NeedData()


class Engine:
    """One connection. Not safe for concurrent use."""

    def __init__(self, max_append_octets: int = MAX_APPEND_OCTETS) -> None:
        self.state = State.NOT_AUTHENTICATED
        self._limits = FrameLimits(append=max_append_octets, discarded=max(MAX_DISCARDED_OCTETS, 2 * max_append_octets))
        self._framer = Framer(LIMITS_BEFORE_LOGIN)
        self._errors = 0
        self._line_expected = False
        self._running: Command | None = None

    def receive_data(self, data: bytes) -> None:
        """Takes octets as they come."""
        self._framer.receive_data(data)

    def next_event(self) -> Event:
        """The next thing to act on. Raises RemoteProtocolError after too many errors or too much waste: say BYE."""
        if self._running is not None and not self._line_expected:
            raise LocalProtocolError("The last command is not completed")
        if self._errors >= (MAX_ERRORS_BEFORE_LOGIN if self.state is State.NOT_AUTHENTICATED else MAX_ERRORS):
            raise RemoteProtocolError("Too many errors")
        if self._line_expected:
            return self._next_line()
        found = self._framer.next_frame()
        self._check_exhausted()
        match found:
            case None:
                return NEED_DATA
            case LiteralWanted():
                return found
            case Overlong():
                return self._refuse_overlong(found)
            case Frame(data=data):
                return self._parse(data)

    def expect_line(self) -> None:
        """The next event is a Line: a SASL response or DONE."""
        if self._running is None:
            raise LocalProtocolError("Only a running command expects a line")
        self._line_expected = True

    def complete(self, ok: bool) -> None:
        """The last command got its tagged OK, or NO."""
        if self._running is None:
            raise LocalProtocolError("There is no command to complete")
        self.state = next_state(self.state, type(self._running), ok)
        if self.state is not State.NOT_AUTHENTICATED:
            self._framer.limits = self._limits
        self._running = None
        self._line_expected = False

    def discard_input(self) -> int:
        """Throws away octets sent before TLS was there; the number of them (RFC 9051 §6.2.1)."""
        return self._framer.discard()

    def _next_line(self) -> Event:
        line = self._framer.next_line(MAX_CONTINUATION_OCTETS)
        self._check_exhausted()
        if line is None:
            return NEED_DATA
        self._line_expected = False
        if isinstance(line, Overlong):
            self._errors += 1
            return Line(data=b"")
        return Line(data=line)

    def _check_exhausted(self) -> None:
        if self._framer.exhausted:
            raise RemoteProtocolError("Too much that has to be thrown away")

    def _parse(self, data: bytes) -> Event:
        match = _TAG.match(data)
        if match is None:
            return self._refuse(None, "Expected a tag")
        tag = match[0]
        try:
            command = parse_command(tag, Cursor(data, match.end()))
        except UnknownCharsetError as error:
            return self._refuse(tag, str(error), status=b"NO", code=b"BADCHARSET (US-ASCII UTF-8)")
        except RemoteProtocolError as error:
            return self._refuse(tag, str(error))
        if not is_legal(self.state, type(command)):
            return self._refuse(tag, f"Not while {self.state.value}")
        self._errors = 0
        self._running = command
        return command

    def _refuse_overlong(self, overlong: Overlong) -> CommandRefused:
        match = _TAG.match(overlong.head)
        tag = match[0] if match is not None else None
        if overlong.message:
            return self._refuse(tag, overlong.reason, status=b"NO", code=b"TOOBIG")
        return self._refuse(tag, overlong.reason)

    def _refuse(self, tag: bytes | None, text: str, status: bytes = b"BAD", code: bytes = b"") -> CommandRefused:
        self._errors += 1
        return CommandRefused(tag=tag, text=text, status=status if tag is not None else b"BAD", code=code)


def parse_command(tag: bytes, cursor: Cursor) -> Command:
    """A command of which the tag is parsed. Raises RemoteProtocolError."""
    cursor.expect_space()
    name = cursor.parse_word()
    parsers = PARSERS
    if name == b"UID":
        cursor.expect_space()
        name = cursor.parse_word()
        parsers = UID_PARSERS
    parser = parsers.get(name)
    if parser is None:
        raise RemoteProtocolError("There is no such command")
    command = parser(tag, cursor)
    cursor.expect_end()
    return command
