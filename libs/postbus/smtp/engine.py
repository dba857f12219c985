"""The server's side of one SMTP session, sans-I/O (RFC 5321; RFC 2920 pipelining).

The shell feeds octets (`receive_data`), takes events (`next_event`) until NEED_DATA, and answers each event that wants
a reply with exactly one `send`, in order. Pipelined commands wait in the buffer, so replies can't change places. What
waits when STARTTLS or the greeting comes is the shell's to judge (`discard_buffer`).
"""

import enum

import msgspec

from postbus.core.errors import LocalProtocolError
from postbus.smtp.commands import Command, Hello, Mail, Rcpt, Simple, Verb, parse_command, split_command
from postbus.smtp.data import DataScanner
from postbus.smtp.limits import (
    MAX_AUTH_LINE_OCTETS,
    MAX_COMMAND_LINE_OCTETS,
    MAX_DISCARDED_OCTETS,
    MAX_LOOK_AHEAD,
)
from postbus.smtp.replies import (
    AUTH_LINE_TOO_LONG,
    BARE_LINE_BREAK,
    LINE_TOO_LONG,
    TOO_MANY_ERRORS,
    CommandError,
    Reply,
)
from postbus.smtp.states import State, is_allowed, next_state, out_of_sequence


class NeedData(enum.Enum):
    """No event yet."""

    NEED_DATA = enum.auto()


NEED_DATA = NeedData.NEED_DATA


class BadCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is not carried out; the shell sends `reply`, and counts it."""

    reply: Reply


class SaslResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an AUTH exchange, in base64; `*` cancels (RFC 4954 §4)."""

    line: bytes


class DataChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the message, without transparency dots; wants no reply."""

    content: bytes


class DataEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The message is complete: `refusal` is the fault that the text itself has, if any."""

    octets: int
    refusal: Reply | None


Event = Command | BadCommand | SaslResponse | DataChunk | DataEnd


class ServerEngine:
    """See the module's text; `state` is for reading."""

    def __init__(self, max_message_octets: int) -> None:
        """A connection that has just been made: the first `send` is the banner."""
        self.state = State.START
        self._max_message_octets = max_message_octets
        self._buffer = bytearray()
        self._searched = 0
        self._discarded = 0
        self._awaiting: Verb | None = Verb.CONNECT
        self._command: Command | None = None
        self._scanner: DataScanner | None = None
        self._text_ended = False
        self._overlong: Reply | None = None
        self._extended = False
        self._smtputf8 = False

    @property
    def has_buffered_data(self) -> bool:
        """Whether octets wait that no event has consumed."""
        return bool(self._buffer)

    @property
    def owes_reply(self) -> bool:
        """Whether the last event still wants its reply."""
        return self._awaiting is not None

    def receive_data(self, data: bytes) -> None:
        """Takes octets of the connection."""
        self._buffer += data

    def discard_buffer(self) -> int:
        """Forgets what waits, such as plain text injected behind STARTTLS (RFC 3207 §4.2); the number of octets."""
        count = len(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return count

    def next_event(self) -> Event | NeedData:
        """The next event. Raises LocalProtocolError when the last one still wants its reply."""
        if self._awaiting is not None:
            raise LocalProtocolError(f"{self._awaiting} wants a reply first")
        if self.state is State.CLOSED:
            return NEED_DATA
        if self._scanner is not None:
            return self._next_data(self._scanner)
        line = self._next_line()
        if line is None:
            return NEED_DATA
        if isinstance(line, Reply):
            return self._refuse(line)
        if self.state is State.AUTH:
            self._awaiting = Verb.RESPONSE
            return SaslResponse(line=line)
        return self._parse(line)

    def send(self, reply: Reply) -> bytes:
        """The octets of a reply to the last event; a 421 may come at any time."""
        verb, command = self._awaiting, self._command
        if verb is None and reply.code != 421:
            raise LocalProtocolError("there is nothing to reply to")
        self._awaiting = self._command = None
        self.state = next_state(self.state, verb or Verb.QUIT, reply.code)
        if reply.is_positive:
            self._note(command)
        if self.state is State.DATA:
            self._scanner = DataScanner(self._max_message_octets)
        return reply.format()

    def upcoming_recipients(self) -> list[Rcpt]:
        """Well-formed RCPT commands that wait next in the buffer, so that they can be resolved together (RFC 2920)."""
        found: list[Rcpt] = []
        start = 0
        while len(found) < MAX_LOOK_AHEAD:
            end = self._buffer.find(b"\r\n", start)
            if end < 0 or self._buffer[start : start + 4].upper() != b"RCPT":
                break
            try:
                verb, rest = split_command(bytes(self._buffer[start:end]))
                command = parse_command(verb, rest, extended=self._extended, smtputf8=self._smtputf8)
            except CommandError:
                break
            if isinstance(command, Rcpt):
                found.append(command)
            start = end + 2
        return found

    def _note(self, command: Command | None) -> None:
        """Keeps what later commands depend on."""
        match command:
            case Hello():
                self._extended = command.extended
            case Mail():
                self._smtputf8 = command.smtputf8
            case Simple(verb=Verb.STARTTLS):
                self._extended = False

    def _next_data(self, scanner: DataScanner) -> Event | NeedData:
        if self._text_ended:
            return self._end_data(scanner)
        if not self._buffer:
            return NEED_DATA
        chunk = bytes(self._buffer)
        self.discard_buffer()
        scanned = scanner.feed(chunk)
        if scanned.rest is not None:
            self._buffer += scanned.rest
            if not scanned.content:
                return self._end_data(scanner)
            self._text_ended = True
        return DataChunk(content=scanned.content) if scanned.content else NEED_DATA

    def _end_data(self, scanner: DataScanner) -> DataEnd:
        self._scanner = None
        self._text_ended = False
        self._awaiting = Verb.END
        return DataEnd(octets=scanner.octets, refusal=scanner.refusal)

    def _next_line(self) -> bytes | Reply | None:
        """A line without CRLF, or the reply to one that is none; None: not complete yet."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            return self._hold_line()
        line = bytes(self._buffer[: end + 1])
        overlong = self._overlong or self._fault_of_length(end + 1)
        del self._buffer[: end + 1]
        self._searched = 0
        if overlong is not None:
            too_much = self._discarded + len(line) > MAX_DISCARDED_OCTETS
            self._overlong, self._discarded = None, 0
            return TOO_MANY_ERRORS if too_much else overlong
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            return BARE_LINE_BREAK
        return line[:-2]

    def _hold_line(self) -> Reply | None:
        """Keeps an unfinished line, or drops what is certainly too long."""
        self._searched = len(self._buffer)
        self._overlong = self._overlong or self._fault_of_length(self._searched + 1)
        if self._overlong is not None:
            self._discarded += self.discard_buffer()
        return TOO_MANY_ERRORS if self._discarded > MAX_DISCARDED_OCTETS else None

    def _fault_of_length(self, octets: int) -> Reply | None:
        """The reply to a line of at least that many octets, or None when it may be that long."""
        if self.state is State.AUTH or self._buffer[:5].upper() == b"AUTH ":
            return AUTH_LINE_TOO_LONG if octets > MAX_AUTH_LINE_OCTETS else None
        return LINE_TOO_LONG if octets > MAX_COMMAND_LINE_OCTETS else None

    def _parse(self, line: bytes) -> Event:
        try:
            verb, rest = split_command(line)
            if not is_allowed(self.state, verb):
                return self._refuse(out_of_sequence(self.state, verb))
            command = parse_command(verb, rest, extended=self._extended, smtputf8=self._smtputf8)
        except CommandError as error:
            return self._refuse(error.reply)
        self._awaiting = verb
        self._command = command
        return command

    def _refuse(self, reply: Reply) -> BadCommand:
        self._awaiting = Verb.RESPONSE if self.state is State.AUTH else Verb.NOOP
        return BadCommand(reply=reply)
