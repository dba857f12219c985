"""What a server says: status responses and server data as octets (RFC 9051 §7)."""

import re
from collections.abc import Iterable, Sequence

from postbus.imap.commands.folders import StatusItem
from postbus.imap.commands.search import SearchResult
from postbus.imap.utf7 import encode_utf7
from postbus.imap.wire import format_astring, format_list, format_set, format_string

DELIMITER = b'"/"'
CONTINUE = b"+ Ready\r\n"

_UNSAFE = re.compile(r"[^\x20-\x7e]+")


def format_tagged(tag: bytes, status: bytes, text: str, code: bytes = b"") -> bytes:
    """`tag OK [CODE] text`; the text is made printable, since it may repeat what others wrote."""
    return tag + b" " + _format_status(status, text, code)


def format_untagged(status: bytes, text: str, code: bytes = b"") -> bytes:
    """`* OK [CODE] text`."""
    return b"* " + _format_status(status, text, code)


def _format_status(status: bytes, text: str, code: bytes) -> bytes:
    bracket = b"[%b] " % code if code else b""
    return b"%b %b%b\r\n" % (status, bracket, (_UNSAFE.sub("?", text) or "-").encode("ascii"))


def format_highest_mod_seq(mod_seq: int) -> bytes:
    """For SELECT, and where CONDSTORE is enabled with a folder open (RFC 7162 §3.1.2.1)."""
    return format_untagged(b"OK", "Highest mod-sequence", b"HIGHESTMODSEQ %d" % mod_seq)


def format_capability(names: Iterable[bytes]) -> bytes:
    """Without brackets: for the untagged response and the response code alike."""
    return b"CAPABILITY " + b" ".join(names)


def format_folder_name(name: str) -> bytes:
    """A folder name as an astring in modified UTF-7."""
    return format_astring(encode_utf7(name))


def format_list_response(kind: bytes, attributes: Sequence[bytes], name: str, extended: bytes = b"") -> bytes:
    """LIST or LSUB; `extended` data stands at the end (RFC 9051 §9, mbox-list-extended)."""
    tail = b" " + extended if extended else b""
    return b"* %b %b %b %b%b\r\n" % (
        kind,
        format_list(attributes),
        DELIMITER,
        format_string(encode_utf7(name)),
        tail,
    )


def format_status_response(name: str, values: Sequence[tuple[StatusItem, int]]) -> bytes:
    """STATUS."""
    pairs = (b"%b %d" % (item.value, value) for item, value in values)
    return b"* STATUS %b %b\r\n" % (format_folder_name(name), format_list(pairs))


def format_flags(flags: Iterable[str]) -> bytes:
    """Flags in parentheses."""
    return format_list(flag.encode("ascii", "replace") for flag in flags)


def format_search_response(numbers: Iterable[int], mod_seq: int | None = None) -> bytes:
    """RFC 3501's SEARCH; `mod_seq` is the highest one of what was found (RFC 7162 §3.1.5)."""
    tail = b"" if mod_seq is None else b" (MODSEQ %d)" % mod_seq
    return b"* SEARCH" + b"".join(b" %d" % number for number in numbers) + tail + b"\r\n"


def format_esearch_response(
    tag: bytes, uid: bool, numbers: Sequence[int], results: Sequence[SearchResult], mod_seq: int | None = None
) -> bytes:
    """ESEARCH of ascending numbers (RFC 4731 §3.1): MIN, MAX and ALL are left out where nothing was found.

    `mod_seq`: see `select_reported` and RFC 4731 §3.2.
    """
    pieces = [b"* ESEARCH (TAG %b)" % format_string(tag)]
    if uid:
        pieces.append(b"UID")
    if SearchResult.MIN in results and numbers:
        pieces.append(b"MIN %d" % numbers[0])
    if SearchResult.MAX in results and numbers:
        pieces.append(b"MAX %d" % numbers[-1])
    if SearchResult.COUNT in results:
        pieces.append(b"COUNT %d" % len(numbers))
    if SearchResult.ALL in results and numbers:
        pieces.append(b"ALL " + format_set(numbers))
    if mod_seq is not None:
        pieces.append(b"MODSEQ %d" % mod_seq)
    return b" ".join(pieces) + b"\r\n"


def select_reported(numbers: Sequence[int], results: Sequence[SearchResult] | None) -> Sequence[int]:
    """Those of the ascending numbers of which an answer tells the highest mod_seq: all, or MIN and MAX alone."""
    if results is None or not set(results) <= {SearchResult.MIN, SearchResult.MAX}:
        return numbers
    first = numbers[:1] if SearchResult.MIN in results else []
    last = numbers[-1:] if SearchResult.MAX in results else []
    return [*first, *last]
