"""Header sections: where the fields are (RFC 5322 §2.2).

Bare line feeds end lines as well as CRLF does. Lines that are no field are passed over up to the empty line, as mail
readers do. Linear in the section's length.
"""

import itertools
import mmap
import re
from typing import Final, Protocol

from postbus.mime.limits import MAX_HEADER_FIELDS, MAX_HEADER_OCTETS, Defect
from postbus.mime.values import HeaderField

Content = bytes | mmap.mmap
"""What is scanned: find() and slices, nothing is copied but what is kept."""

_FIELD: Final = re.compile(rb"^([^\x00-\x20:\x7f]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?", re.MULTILINE)
_ADDRESS_NAMES: Final = ("from", "sender", "reply-to", "to", "cc", "bcc")
_NOTHING: Final[set[str]] = set()
_MBOX_LINE: Final = (b"From ", b">From ")
_COMMON_NAMES: Final = (
    "Return-Path Received Delivered-To X-Original-To Authentication-Results DKIM-Signature ARC-Seal "
    "ARC-Message-Signature ARC-Authentication-Results Received-SPF X-Received Date From Sender Reply-To To Cc CC "
    "Bcc Message-ID Message-Id In-Reply-To References Subject MIME-Version Mime-Version Content-Type "
    "Content-Transfer-Encoding Content-Disposition Content-ID Content-Id Content-Language Content-Description "
    "Content-Location Content-MD5 User-Agent X-Mailer List-Id List-Unsubscribe List-Post List-Help List-Archive "
    "Precedence Auto-Submitted Feedback-ID X-Priority Importance X-Spam-Status X-Spam-Flag X-Spam-Score"
)
_NAMES: Final[dict[bytes, str]] = {name.encode(): name.lower() for name in _COMMON_NAMES.split()}
"""Spares decoding the usual spellings."""


class Slices(Protocol):
    """Anything that gives octets for a slice."""

    def __getitem__(self, span: slice, /) -> bytes:
        """The octets between two offsets."""
        ...


class Section:
    """One header section: fields in order, the first of each name, where the body starts."""

    __slots__ = ("body_start", "defects", "fields", "first", "repeated")

    def __init__(self, fields: list[HeaderField], body_start: int, defects: list[Defect]) -> None:
        self.fields = fields
        self.body_start = body_start
        self.defects = defects
        self.first = {field.name: field for field in reversed(fields)}
        names = [field.name for field in fields] if len(fields) != len(self.first) else []
        self.repeated = {name for name in _ADDRESS_NAMES if names.count(name) > 1} if names else _NOTHING


def read_section(content: Content, start: int, end: int) -> Section:
    """Reads the header section that begins at `start` and reaches to the first empty line, at most to `end`."""
    defects: list[Defect] = []
    fields_end, body_start = _find_end(content, start, end)
    if body_start < 0:
        fields_end = body_start = end
        if end > start:
            defects.append(Defect.MISSING_HEADER_END)
    if fields_end - start > MAX_HEADER_OCTETS:
        fields_end = content.rfind(b"\n", start, start + MAX_HEADER_OCTETS) + 1 or start + MAX_HEADER_OCTETS
        defects.append(Defect.HEADER_OCTET_LIMIT)
    fields: list[HeaderField] = []
    names = _NAMES
    expected = start
    whole = True
    for match in itertools.islice(_FIELD.finditer(content, start, fields_end), MAX_HEADER_FIELDS):
        at, after = match.span()
        if at != expected:
            whole = whole and _is_mbox_line(content, start, expected, at)
        raw = match[1]
        name = names.get(raw)
        if name is None:
            name = raw.decode("ascii", "replace").lower()
        fields.append(HeaderField(name, at, match.start(2), after))
        expected = after
    if len(fields) == MAX_HEADER_FIELDS and expected < fields_end:
        defects.append(Defect.HEADER_FIELD_LIMIT)
    elif not whole or expected < fields_end:
        defects.append(Defect.MALFORMED_HEADER)
    return Section(fields, body_start, defects)


def _find_end(content: Content, start: int, end: int) -> tuple[int, int]:
    """End of the last field and start of the body; (-1, -1) without an empty line before `end`."""
    head = content[start : min(start + 2, end)]
    if head[:1] == b"\n":
        return start, start + 1
    if head == b"\r\n":
        return start, start + 2
    at = content.find(b"\n\r\n", start, end)
    bare = content.find(b"\n\n", start, at if at >= 0 else end)
    if bare >= 0:
        return bare + 1, bare + 2
    return (at + 1, at + 3) if at >= 0 else (-1, -1)


def _is_mbox_line(content: Content, start: int, gap_start: int, gap_end: int) -> bool:
    """Whether the gap before a field is the `From ` line that mbox files put before the first one."""
    if gap_start != start:
        return False
    line_end = content.find(b"\n", gap_start, gap_end) + 1
    return line_end == gap_end and content[start : start + 6].startswith(_MBOX_LINE)


def field_value(content: Slices, field: HeaderField) -> bytes:
    """The field's value, unfolded (RFC 5322 §2.2.3), without surrounding white space, NUL and bare CR."""
    return content[field.value_start : field.end].translate(None, b"\r\n\0").strip(b" \t")
