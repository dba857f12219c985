"""Body sections: BODY[...] of FETCH as values, and where their octets are in a message (RFC 9051 §6.4.5.1).

Octets are told as ranges of the blob; sections that begin a message also take the prefix that stands before the blob.
"""

import enum
import re
from collections.abc import Iterator

import msgspec

from postbus.core.errors import RemoteProtocolError
from postbus.imap.bodystructure import is_message
from postbus.imap.cursor import Cursor
from postbus.imap.limits import MAX_HEADER_NAMES, MAX_NUMBER, MAX_SECTION_DEPTH
from postbus.imap.wire import format_astring
from postbus.mime.values import Part, Scan

_SECTION = re.compile(rb"([0-9]{1,10}(?:\.[0-9]{1,10})*)?(\.)?([A-Za-z.]+)?")
_PARTIAL = re.compile(rb"<([0-9]{1,19})\.([0-9]{1,19})>")


class SectionText(enum.Enum):
    """What of a part is meant (RFC 9051 §9, section-text)."""

    ALL = b""
    HEADER = b"HEADER"
    HEADER_FIELDS = b"HEADER.FIELDS"
    HEADER_FIELDS_NOT = b"HEADER.FIELDS.NOT"
    TEXT = b"TEXT"
    MIME = b"MIME"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """What stands between the brackets; no numbers: the whole message."""

    part: tuple[int, ...] = ()
    text: SectionText = SectionText.ALL
    names: tuple[bytes, ...] = ()
    """Header field names as the client wrote them."""


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Octets of the blob, and whether the prefix stands before them."""

    start: int
    end: int
    with_prefix: bool = False


def parse_section(cursor: Cursor) -> Section:
    """`[...]`."""
    cursor.expect(b"[")
    match = cursor.match(_SECTION)
    numbers, dot, word = (match[1], match[2], match[3]) if match is not None else (None, None, None)
    if (dot is None) != (numbers is None or word is None):
        raise RemoteProtocolError("The section is not well-formed")
    part = _parse_part(numbers) if numbers is not None else ()
    text = _parse_text(word)
    if text is SectionText.MIME and not part:
        raise RemoteProtocolError("MIME needs a part number")
    names: tuple[bytes, ...] = ()
    if text in (SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT):
        cursor.expect_space()
        names = _parse_names(cursor)
    cursor.expect(b"]")
    return Section(part=part, text=text, names=names)


def _parse_part(numbers: bytes) -> tuple[int, ...]:
    part = tuple(int(number) for number in numbers.split(b"."))
    if len(part) > MAX_SECTION_DEPTH or not all(0 < number <= MAX_NUMBER for number in part):
        raise RemoteProtocolError("There is no such part number")
    return part


def _parse_text(word: bytes | None) -> SectionText:
    try:
        return SectionText(word.upper()) if word is not None else SectionText.ALL
    except ValueError as error:
        raise RemoteProtocolError("There is no such section") from error


def _parse_names(cursor: Cursor) -> tuple[bytes, ...]:
    cursor.expect(b"(")
    names: list[bytes] = []
    while True:
        names.append(cursor.parse_astring())
        if len(names) > MAX_HEADER_NAMES:
            raise RemoteProtocolError("Too many header field names")
        if cursor.accept(b")"):
            return tuple(names)
        cursor.expect_space()


def format_section(section: Section) -> bytes:
    """`[...]` as a response repeats it."""
    pieces = [b".".join(b"%d" % number for number in section.part)] if section.part else []
    if section.text is not SectionText.ALL:
        pieces.append(section.text.value)
    text = b".".join(pieces)
    if section.names:
        text += b" (%b)" % b" ".join(format_astring(name) for name in section.names)
    return b"[%b]" % text


def parse_partial(cursor: Cursor) -> tuple[int, int] | None:
    """`<start.count>`, None where there is none."""
    if not cursor.next_is(b"<"):
        return None
    match = cursor.match(_PARTIAL)
    if match is None or not int(match[2]):
        raise RemoteProtocolError("Expected <start.count>")
    return int(match[1]), int(match[2])


def locate_section(scan: Scan, section: Section) -> Range | None:
    """Where the section's octets are; for HEADER.FIELDS the whole header section. None: there is no such part."""
    if not section.part:
        return _locate_whole(scan, section.text)
    part = find_part(scan.root, section.part)
    if part is None:
        return None
    if section.text is SectionText.ALL:
        return Range(start=part.body_start, end=part.body_end)
    if section.text is SectionText.MIME:
        return Range(start=part.header_start, end=part.body_start)
    if not is_message(part) or not part.children:
        return None
    inner = part.children[0]
    if section.text is SectionText.TEXT:
        return Range(start=inner.body_start, end=inner.body_end)
    return Range(start=inner.header_start, end=inner.body_start)


def _locate_whole(scan: Scan, text: SectionText) -> Range:
    if text is SectionText.ALL:
        return Range(start=0, end=scan.octets, with_prefix=True)
    if text is SectionText.TEXT:
        return Range(start=scan.body_start, end=scan.octets)
    return Range(start=0, end=scan.body_start, with_prefix=True)


def find_part(root: Part, numbers: tuple[int, ...]) -> Part | None:
    """The part with this number: a message that is no multipart has one part, 1, itself (RFC 9051 §6.4.5.1)."""
    part = root
    for depth, number in enumerate(numbers):
        if depth and is_message(part):
            if not part.children:
                return None
            part = part.children[0]
        elif depth and part.media_type != "multipart":
            return None
        if part.media_type == "multipart":
            if number > len(part.children):
                return None
            part = part.children[number - 1]
        elif number != 1:
            return None
    return part


def select_fields(header: bytes, names: tuple[bytes, ...], wanted: bool) -> bytes:
    """The fields with (`wanted`) or without these names, whole, and the blank line (RFC 9051 §6.4.5.1)."""
    chosen = {name.lower() for name in names}
    text = b"".join(
        field
        for field in split_fields(header)
        if (field.partition(b":")[0].rstrip(b" \t\r\n").lower() in chosen) is wanted
    )
    if text and not text.endswith(b"\n"):
        text += b"\r\n"
    return text + b"\r\n"


def split_fields(header: bytes) -> Iterator[bytes]:
    """Each field of a header section with its folded lines; ends at the blank line."""
    start = 0
    while start < len(header):
        end = header.find(b"\n", start) + 1 or len(header)
        if header[start:end] in (b"\r\n", b"\n"):
            return
        while header[end : end + 1] in (b" ", b"\t"):
            end = header.find(b"\n", end) + 1 or len(header)
        yield header[start:end]
        start = end
