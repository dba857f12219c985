"""A buffer with a position: every `parse_x` takes one, returns the value and leaves the rest (RFC 9051 §9).

The buffer is one whole command without its final line break; literals stand in it as `{n}` CRLF octets, just as they
came. Whatever does not parse is a RemoteProtocolError, whose text may be sent to the peer.
"""

import re

from postbus.core.errors import RemoteProtocolError
from postbus.imap.limits import MAX_NUMBER, MAX_NUMBER64

ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
ASTRING = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+')
LIST_ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){"\\]+')
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00]|\\[^\r\n\x00])*)"')
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r?\n")
_NUMBER = re.compile(rb"[0-9]{1,19}")


class Cursor:
    """Reads a command from left to right."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def rest(self) -> bytes:
        """What is not parsed yet."""
        return self.data[self.position :]

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.position >= len(self.data)

    def next_is(self, octets: bytes) -> bool:
        """Whether the rest begins with `octets`."""
        return self.data.startswith(octets, self.position)

    def accept(self, octets: bytes) -> bool:
        """Skips `octets` if the rest begins with them."""
        if not self.next_is(octets):
            return False
        self.position += len(octets)
        return True

    def expect(self, octets: bytes) -> None:
        """Skips `octets`. Raises RemoteProtocolError."""
        if not self.accept(octets):
            raise RemoteProtocolError(f"Expected {_show(octets)} at octet {self.position}")

    def expect_space(self) -> None:
        """One space, or several: wild clients send two."""
        self.expect(b" ")
        while self.accept(b" "):
            pass

    def expect_end(self) -> None:
        """Nothing may follow but trailing spaces, which wild clients send."""
        if self.rest.strip(b" "):
            raise RemoteProtocolError(f"Unexpected characters at octet {self.position}")

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Skips what the pattern matches here."""
        match = pattern.match(self.data, self.position)
        if match is not None:
            self.position = match.end()
        return match

    def parse_atom(self) -> bytes:
        """An atom."""
        match = self.match(ATOM)
        if match is None:
            raise RemoteProtocolError(f"Expected an atom at octet {self.position}")
        return match[0]

    def parse_word(self) -> bytes:
        """An atom in upper case: a keyword of the grammar."""
        return self.parse_atom().upper()

    def parse_number(self, largest: int = MAX_NUMBER) -> int:
        """A number up to `largest`."""
        match = self.match(_NUMBER)
        if match is None:
            raise RemoteProtocolError(f"Expected a number at octet {self.position}")
        value = int(match[0])
        if value > largest:
            raise RemoteProtocolError("The number is too large")
        return value

    def parse_number64(self) -> int:
        """A number64 (RFC 9051 §9)."""
        return self.parse_number(MAX_NUMBER64)

    def parse_astring(self) -> bytes:
        """An atom (with `]`), or a string."""
        match = self.match(ASTRING)
        return match[0] if match is not None else self.parse_string()

    def parse_nstring(self) -> bytes | None:
        """A string, or None for NIL."""
        if self.data[self.position : self.position + 3].upper() == b"NIL":
            self.position += 3
            return None
        return self.parse_string()

    def parse_string(self) -> bytes:
        """A quoted string or a literal."""
        match = self.match(_QUOTED)
        if match is not None:
            return _ESCAPED.sub(rb"\1", match[1]) if b"\\" in match[1] else match[1]
        return self.parse_literal()

    def parse_literal(self) -> bytes:
        """A literal; NUL in it is refused (RFC 9051 §9, CHAR8)."""
        match = self.match(_LITERAL)
        if match is None:
            raise RemoteProtocolError(f"Expected a string at octet {self.position}")
        end = self.position + int(match[1])
        if end > len(self.data):
            raise RemoteProtocolError("The literal is not complete")
        value = self.data[self.position : end]
        self.position = end
        if b"\0" in value:
            raise RemoteProtocolError("NUL in a literal")
        return value


def _show(octets: bytes) -> str:
    return "a space" if octets == b" " else f"'{octets.decode('ascii', 'replace')}'"
