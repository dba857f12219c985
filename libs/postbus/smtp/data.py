r"""The message text of DATA: one scan to CR LF . CR LF over chunks (RFC 5321 §4.1.1.4, §4.5.2).

Only CRLF.CRLF ends the text; any other mixture is refused after the true end was read, so that no two servers can
disagree about where a message ends (SMTP smuggling). The result depends on the octets alone, not on how they were cut.
"""

import msgspec

from postbus.smtp.limits import MAX_TEXT_LINE_OCTETS
from postbus.smtp.replies import (
    BARE_LINE_BREAK_IN_TEXT,
    MESSAGE_TOO_BIG,
    NUL_IN_TEXT,
    TEXT_LINE_TOO_LONG,
    Reply,
)

_END = b"\r\n.\r\n"
_HELD = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class Scanned(msgspec.Struct, frozen=True):
    """What one chunk gave: text without transparency dots, and what follows the end (None: not ended)."""

    content: bytes
    rest: bytes | None


class DataScanner:
    """Fed with chunks until `rest` is not None; `refusal` then says whether the message can be taken.

    After a refusal is certain, content is dropped, not returned.
    """

    def __init__(self, max_octets: int) -> None:
        """`max_octets` bounds the message, transparency dots not counted (RFC 1870 §4)."""
        self.octets = 0
        self._max_octets = max_octets
        self._held = b"\r\n"
        self._at_start = True
        self._line_octets = 0
        self._bare_break = self._nul = self._long_line = False

    @property
    def refusal(self) -> Reply | None:
        """The gravest fault so far; final after the end. A smuggling attempt is named before anything else."""
        if self._bare_break:
            return BARE_LINE_BREAK_IN_TEXT
        if self._nul:
            return NUL_IN_TEXT
        if self._long_line:
            return TEXT_LINE_TOO_LONG
        return MESSAGE_TOO_BIG if self.octets > self._max_octets else None

    def feed(self, chunk: bytes) -> Scanned:
        """Takes the next octets of the connection."""
        data = self._held + chunk
        end = data.find(_END)
        if end >= 0:
            self._held = b""
            return Scanned(self._take(data[: end + 2]), data[end + 5 :])
        held = next((tail for tail in _HELD if data.endswith(tail)), b"")
        self._held = held
        return Scanned(self._take(data[: len(data) - len(held)] if held else data), None)

    def _take(self, stuffed: bytes) -> bytes:
        """Removes the transparency dots, checks, counts."""
        if not stuffed:
            return b""
        content = stuffed.replace(b"\r\n.", b"\r\n")
        if self._at_start:
            content = content[2:]
            self._at_start = False
        self.octets += len(content)
        breaks = content.count(b"\r\n")
        if content.count(b"\n") != breaks or content.count(b"\r") != breaks:
            self._bare_break = True
        self._nul = self._nul or b"\0" in content
        self._long_line = self._has_long_line(content, breaks) or self._long_line
        return content if self.refusal is None else b""

    def _has_long_line(self, content: bytes, breaks: int) -> bool:
        if not breaks:
            self._line_octets += len(content)
            return self._line_octets > MAX_TEXT_LINE_OCTETS
        first = self._line_octets + content.index(b"\r\n")
        self._line_octets = len(content) - content.rindex(b"\r\n") - 2
        if len(content) <= MAX_TEXT_LINE_OCTETS:
            return first > MAX_TEXT_LINE_OCTETS or self._line_octets > MAX_TEXT_LINE_OCTETS
        longest = max(map(len, content.split(b"\r\n")))
        return max(first, longest, self._line_octets) > MAX_TEXT_LINE_OCTETS
