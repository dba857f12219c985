"""Replies (RFC 1939 §3; codes: RFC 2449 §8, RFC 3206) and messages as they travel."""

import re
from collections.abc import Iterable
from typing import Final

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
END: Final = b".\r\n"


def format_ok(text: str = "") -> bytes:
    """A positive reply of one line."""
    return f"+OK {text}".rstrip().encode() + b"\r\n"


def format_error(text: str, code: str = "") -> bytes:
    """A negative one; `code` as IN-USE."""
    return f"-ERR [{code}] {text}\r\n".encode() if code else f"-ERR {text}\r\n".encode()


def format_lines(text: str, lines: Iterable[str]) -> bytes:
    """A positive reply of many lines; none of them begins with a dot."""
    return format_ok(text) + "".join(f"{line}\r\n" for line in lines).encode() + END


class Stuffing:
    """A message piece by piece: dots at the beginning of lines are doubled, lines end in CRLF (RFC 1939 §3)."""

    def __init__(self) -> None:
        self._before = b"\r\n"
        """The last two octets that were sent."""

    def feed(self, piece: bytes) -> bytes:
        """What goes out for the next piece."""
        if not piece:
            return b""
        if self._before.endswith(b"\r"):
            joined = _BARE_LF.sub(b"\r\n", b"\r" + piece)[1:]
        else:
            joined = _BARE_LF.sub(b"\r\n", piece)
        sent = joined.replace(b"\n.", b"\n..")
        if self._before.endswith(b"\n") and sent.startswith(b"."):
            sent = b"." + sent
        self._before = (self._before + joined)[-2:]
        return sent

    def end(self) -> bytes:
        """The line end that the message lacks, and the final dot."""
        return END if self._before == b"\r\n" else b"\r\n" + END
