"""Finds where a command ends: lines, and the literals that stand between them (RFC 9051 §4.3, RFC 7888).

Octets go in as they come; out come whole commands. Whatever the chunks are, the frames are the same. A command over a
limit is read to its end without being kept and told as Overlong, so that the session can go on, unless that would be
more than the peer is worth (`exhausted`).
"""

import re

import msgspec

from postbus.imap.limits import (
    MAX_APPEND_OCTETS,
    MAX_COMMAND_OCTETS,
    MAX_COMMAND_OCTETS_BEFORE_LOGIN,
    MAX_DISCARDED_OCTETS,
    MAX_DISCARDED_OCTETS_BEFORE_LOGIN,
    MAX_LINE_OCTETS,
    MAX_LINE_OCTETS_BEFORE_LOGIN,
    MAX_LITERAL_OCTETS,
    MAX_LITERAL_OCTETS_BEFORE_LOGIN,
    MAX_TAG_OCTETS,
    MAX_UNANNOUNCED_OCTETS,
)


class FrameLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Octets; `append` is for the message of an APPEND, 0 where none is welcome."""

    line: int = MAX_LINE_OCTETS
    literal: int = MAX_LITERAL_OCTETS
    command: int = MAX_COMMAND_OCTETS
    append: int = MAX_APPEND_OCTETS
    discarded: int = MAX_DISCARDED_OCTETS


LIMITS_BEFORE_LOGIN = FrameLimits(
    line=MAX_LINE_OCTETS_BEFORE_LOGIN,
    literal=MAX_LITERAL_OCTETS_BEFORE_LOGIN,
    command=MAX_COMMAND_OCTETS_BEFORE_LOGIN,
    append=0,
    discarded=MAX_DISCARDED_OCTETS_BEFORE_LOGIN,
)


class LiteralWanted(msgspec.Struct, frozen=True, kw_only=True):
    """The client waits for a continuation request before it sends a literal (RFC 9051 §4.3).

    Without `waits` it sends at once (RFC 7888), and is told of for its size: there must be room before more is read.
    """

    octets: int
    waits: bool = True


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A whole command without its last line break."""

    data: bytes


class Overlong(msgspec.Struct, frozen=True, kw_only=True):
    """A command over a limit; `head` is its beginning, for the tag."""

    head: bytes
    reason: str
    message: bool = False
    """The message of an APPEND is too large: NO [TOOBIG], not BAD."""


_LITERAL_AT_END = re.compile(rb"\{([0-9]{1,10})(\+?)\}\r?\n\Z")
_APPEND = re.compile(rb"[^ \r\n]{1,%d} +APPEND " % MAX_TAG_OCTETS, re.IGNORECASE)
_LITERAL_TAIL = 16
"""A literal's announcement with its line break is never longer."""
_HEAD_OCTETS = MAX_TAG_OCTETS + 1


class Framer:
    """One direction of a connection."""

    def __init__(self, limits: FrameLimits) -> None:
        self.limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._command = bytearray()
        self._literal_left = 0
        self._skip_left = 0
        self._append_octets = 0
        self._overlong: Overlong | None = None
        self._discarded = 0

    @property
    def exhausted(self) -> bool:
        """Whether one command had, or announced, more octets to throw away than are borne: say BYE."""
        return self._discarded > self.limits.discarded

    @property
    def buffered(self) -> int:
        """Octets that are not part of a command yet."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Takes octets as they come."""
        self._buffer += data

    def discard(self) -> int:
        """Throws away what has come but is not used yet; the number of octets (RFC 9051 §6.2.1, after STARTTLS)."""
        dropped = len(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return dropped

    def next_line(self, limit: int) -> bytes | Overlong | None:
        """A line as a continuation (SASL response, DONE), without its line break; None: not complete yet."""
        line = self._take_line(limit)
        if line is None:
            return None
        if self._overlong is not None:
            return self._finish_overlong()
        return line.rstrip(b"\r\n")

    def next_frame(self) -> Frame | LiteralWanted | Overlong | None:
        """The next thing to act on; None: more octets are needed."""
        while True:
            if self.exhausted or not self._take_literal():
                return None
            line = self._take_line(self.limits.line)
            if line is None:
                return None
            literal = _LITERAL_AT_END.search(line[-_LITERAL_TAIL:])
            self._keep(line)
            if literal is None:
                return self._finish(2 if line.endswith(b"\r\n") else 1)
            wanted = self._announce(int(literal[1]), literal[2] == b"+")
            if wanted is not None:
                return wanted

    def _take_literal(self) -> bool:
        """Moves what has come of a literal; whether it is complete."""
        if self._skip_left:
            skipped = min(self._skip_left, len(self._buffer))
            del self._buffer[:skipped]
            self._skip_left -= skipped
            return not self._skip_left
        if self._literal_left:
            taken = min(self._literal_left, len(self._buffer))
            self._command += memoryview(self._buffer)[:taken]
            del self._buffer[:taken]
            self._literal_left -= taken
        return not self._literal_left

    def _take_line(self, limit: int) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned) + 1
        if end:
            line = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._scanned = 0
            if len(line) > limit:
                self._fail("The line is too long", line)
            if self._overlong is not None:
                self._discarded += len(line)
            return line
        if len(self._buffer) > limit or (self._overlong is not None and len(self._buffer) > _LITERAL_TAIL):
            self._fail("The line is too long", bytes(self._buffer[:_HEAD_OCTETS]))
            self._discarded += len(self._buffer) - _LITERAL_TAIL
            del self._buffer[:-_LITERAL_TAIL]
        self._scanned = len(self._buffer)
        return None

    def _keep(self, line: bytes) -> None:
        if self._overlong is None and len(self._command) + len(line) - self._append_octets > self.limits.command:
            self._fail("The command is too long", line)
        if self._overlong is None:
            self._command += line

    def _announce(self, octets: int, at_once: bool) -> LiteralWanted | Overlong | None:
        """A literal follows; `at_once`: the client does not wait for us (RFC 7888)."""
        if self._overlong is None:
            self._check_literal(octets)
        if self._overlong is not None:
            if not at_once:
                return self._finish_overlong()
            self._skip_left = octets
            self._discarded += octets
            return None
        self._literal_left = octets
        if at_once and octets <= MAX_UNANNOUNCED_OCTETS:
            return None
        return LiteralWanted(octets=octets, waits=not at_once)

    def _check_literal(self, octets: int) -> None:
        is_append = bool(self.limits.append) and _APPEND.match(self._command) is not None
        if is_append and octets > self.limits.literal:
            self._append_octets += octets
            if self._append_octets > self.limits.append:
                self._fail("The message is too large", b"", message=True)
        elif octets > self.limits.literal:
            self._fail("The literal is too large", b"")
        elif len(self._command) + octets - self._append_octets > self.limits.command:
            self._fail("The command is too long", b"")

    def _fail(self, reason: str, line: bytes, message: bool = False) -> None:
        if self._overlong is None:
            head = bytes((self._command or line)[:_HEAD_OCTETS])
            self._overlong = Overlong(head=head, reason=reason, message=message)
            self._command.clear()

    def _finish(self, line_break: int) -> Frame | Overlong:
        if self._overlong is not None:
            return self._finish_overlong()
        data = bytes(memoryview(self._command)[:-line_break])
        self._reset()
        return Frame(data=data)

    def _finish_overlong(self) -> Overlong:
        overlong = self._overlong
        assert overlong is not None
        self._reset()
        return overlong

    def _reset(self) -> None:
        self._command = bytearray()
        self._overlong = None
        self._append_octets = 0
        if not self.exhausted:
            self._discarded = 0
