"""Replies as a client reads them (RFC 5321 §4.2, RFC 2034 §4).

Several lines are one reply; lines may end in a bare LF, because nothing is at stake there and some servers do it. A
line or a reply beyond its limit, another code on a later line and what is no reply raise RemoteProtocolError.
"""

import re
from typing import Final

from postbus.core.errors import RemoteProtocolError
from postbus.smtp.limits import MAX_REPLY_LINE_OCTETS, MAX_REPLY_OCTETS, MAX_SHOWN_REPLY_OCTETS
from postbus.smtp.replies import Reply

_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?\Z", re.DOTALL)
_ENHANCED: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|\Z)")


class ReplyReader:
    """Fed with octets, gives whole replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._code = b""
        self._lines: list[str] = []
        self._octets = 0

    @property
    def has_data(self) -> bool:
        """Whether octets wait that no reply has used."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> None:
        """Takes octets of the connection."""
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """The next reply, its texts as they came, without an enhanced code. Raises RemoteProtocolError."""
        while (line := self._next_line()) is not None:
            match = _LINE.match(line)
            if match is None or (self._code and match[1] != self._code):
                raise RemoteProtocolError("not an SMTP reply")
            self._code = match[1]
            self._lines.append((match[3] or b"").decode("utf-8", "replace"))
            if match[2] != b"-":
                reply = Reply(int(self._code), "", tuple(self._lines))
                self._code, self._octets = b"", 0
                self._lines.clear()
                return reply
        return None

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        length = end if end >= 0 else len(self._buffer)
        if length > MAX_REPLY_LINE_OCTETS or self._octets + length > MAX_REPLY_OCTETS:
            raise RemoteProtocolError("reply is too long")
        if end < 0:
            self._searched = length
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._searched = 0
        self._octets += length + 1
        return line


def split_enhanced(reply: Reply) -> Reply:
    """The reply with its enhanced code taken out of the texts, if it has one of its own class (RFC 2034 §4)."""
    found = _ENHANCED.match(reply.text)
    if found is None or int(found[1][0]) != reply.code // 100:
        return reply
    lines = tuple(
        line[match.end() :] if (match := _ENHANCED.match(line)) and match[1] == found[1] else line
        for line in reply.lines
    )
    return Reply(reply.code, found[1], lines)


def show_reply(reply: Reply) -> str:
    """A reply as one line of printable ASCII, for people and Diagnostic-Code (RFC 3464 §2.3.6)."""
    text = " ".join(" ".join((str(reply.code), reply.enhanced, *reply.lines)).split())
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if " " <= char <= "~" else "?" for char in text)
    return text[:MAX_SHOWN_REPLY_OCTETS]
