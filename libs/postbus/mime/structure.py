"""The body's structure in one pass (RFC 2046 §5.1): parts with exact octet ranges.

Theory of operation: every open multipart is a level with the position of its next delimiter line. Positions are looked
for from the outermost level inwards, each only up to the next delimiter of the levels around it, and kept until they
are passed; so each octet is searched at most once per level, and there are at most MAX_DEPTH levels. A delimiter of an
outer level ends all inner ones. Between equal boundaries the innermost level wins.

Invariants: a child's range lies within its parent's, siblings are in order and do not overlap; multipart/* has at
least one child (an implied text part when there is no delimiter); message/rfc822 and message/global have exactly one
child and an envelope.
"""

import mmap
import re
from typing import Final, NamedTuple

from postbus.mime.charsets import decode_raw
from postbus.mime.envelope import EMPTY_ENVELOPE, build_envelope
from postbus.mime.limits import (
    MAX_CONTENT_FIELD_OCTETS,
    MAX_DELIMITER_CANDIDATES,
    MAX_DEPTH,
    MAX_PARAMETER_OCTETS,
    MAX_PARTS,
    Defect,
)
from postbus.mime.parameters import (
    DEFAULT_TYPE,
    DIGEST_TYPE,
    ContentType,
    Parameters,
    parse_content_type,
    parse_disposition,
    parse_token,
)
from postbus.mime.sections import Content, Section, field_value, read_section
from postbus.mime.values import Envelope, HeaderField, Part

_DELIMITER_TAIL: Final = re.compile(rb"[ \t]*+(--)?[ \t]*+\r?(?:\n|\Z)")
_IDENTITY: Final = frozenset({"7bit", "8bit", "binary", ""})
_OPAQUE_TYPE: Final = ContentType("application", "octet-stream", ())
_COUNT_CHUNK: Final = 1024 * 1024
MESSAGE_SUBTYPES: Final = frozenset({"rfc822", "global"})


class Delimiter(NamedTuple):
    """A delimiter line: the line break before it belongs to it, from `start`; `after` is where the next line begins."""

    start: int
    after: int
    level: int
    closes: bool


class _Level:
    """An open multipart."""

    __slots__ = ("found", "marker", "searched")

    def __init__(self, boundary: bytes) -> None:
        self.marker = b"\n--" + boundary
        self.searched = False
        self.found: Delimiter | None = None


class StructureScanner:
    """Scans one message; `defects` gathers what is wrong."""

    def __init__(self, content: Content, end: int, defects: set[Defect]) -> None:
        self._content = content
        self._end = end
        self._defects = defects
        self._levels: list[_Level] = []
        self._parts = 0
        self._candidates = 0

    def scan_entity(self, start: int, default: ContentType, depth: int) -> tuple[Part, Section]:
        """The entity whose header section begins at `start`, up to the next delimiter line of an open multipart."""
        limit = max(start, self._limit(start - 1))
        section = read_section(self._content, start, limit)
        self._defects.update(section.defects)
        return self.scan_body(section, start, default, depth), section

    def scan_body(self, section: Section, start: int, default: ContentType, depth: int) -> Part:
        """The part that a header section describes; the body begins where the section ends."""
        self._parts += 1
        kind = self._content_type(section, default)
        if kind.boundary and Defect.MALFORMED_HEADER in section.defects:
            section = self._cut_section(section, start, kind.boundary)
        body_start = section.body_start
        encoding = self._token(section, "content-transfer-encoding") or "7bit"
        children: tuple[Part, ...] = ()
        envelope: Envelope | None = None
        if kind.media_type == "multipart":
            children, body_end = self._scan_multipart(kind, body_start, depth)
        elif kind.media_type == "message" and kind.subtype in MESSAGE_SUBTYPES:
            children, envelope, body_end = self._scan_message(encoding, body_start, depth)
        else:
            body_end = max(body_start, self._limit(body_start - 1))
        first = section.first
        disposition = ""
        disposition_params: Parameters = ()
        if (field := first.get("content-disposition")) is not None:
            disposition, disposition_params, limited = parse_disposition(self._bounded(field))
            if limited:
                self._defects.add(Defect.PARAMETER_LIMIT)
        return Part(
            kind.media_type,
            kind.subtype,
            kind.params,
            self._text(section, "content-id"),
            self._text(section, "content-description"),
            encoding,
            start,
            body_start,
            body_end,
            0 if kind.media_type == "multipart" else count_lines(self._content, body_start, body_end),
            disposition,
            disposition_params,
            self._languages(section),
            self._text(section, "content-location"),
            self._text(section, "content-md5"),
            children,
            envelope,
        )

    def _cut_section(self, section: Section, start: int, boundary: bytes) -> Section:
        """Without an empty line, a header section ends at the first delimiter line of its own boundary."""
        at = self._content.find(b"\n--" + boundary, start, section.body_start)
        return section if at < 0 else read_section(self._content, start, at + 1)

    def _scan_multipart(self, kind: ContentType, body_start: int, depth: int) -> tuple[tuple[Part, ...], int]:
        """Children and end of the body."""
        implied = DEFAULT_TYPE
        if depth >= MAX_DEPTH:
            self._defects.add(Defect.DEPTH_LIMIT)
            implied = _OPAQUE_TYPE
        elif not kind.boundary:
            self._defects.add(Defect.MISSING_BOUNDARY)
        else:
            self._levels.append(_Level(kind.boundary))
            children, at = self._scan_children(kind, body_start, depth)
            self._levels.pop()
            body_end = max(children[-1].body_end if children else body_start, self._limit(at))
            if children:
                return tuple(children), body_end
            self._defects.add(Defect.NO_PARTS)
        body_end = max(body_start, self._limit(body_start - 1))
        return (self._implied_part(implied, body_start, body_end),), body_end

    def _scan_children(self, kind: ContentType, body_start: int, depth: int) -> tuple[list[Part], int]:
        """All parts of the innermost open multipart, and from where the next delimiter of an outer one counts.

        What follows the closing delimiter is epilogue.
        """
        own = len(self._levels) - 1
        default = DIGEST_TYPE if kind.subtype == "digest" else DEFAULT_TYPE
        children: list[Part] = []
        delimiter = self._next_delimiter(body_start - 1)
        while delimiter is not None and delimiter.level == own and not delimiter.closes:
            if self._parts >= MAX_PARTS:
                self._defects.add(Defect.PART_LIMIT)
                return children, body_start - 1
            child, _ = self.scan_entity(delimiter.after, default, depth + 1)
            children.append(child)
            delimiter = self._next_delimiter(max(child.body_end, delimiter.after - 1))
        if delimiter is None or delimiter.level != own:
            self._defects.add(Defect.UNCLOSED_MULTIPART)
            return children, body_start - 1
        return children, delimiter.after - 1

    def _scan_message(self, encoding: str, body_start: int, depth: int) -> tuple[tuple[Part, ...], Envelope, int]:
        """The enclosed message (RFC 2046 §5.2.1, RFC 6532 §3.7), its envelope and its end."""
        if encoding in _IDENTITY and depth < MAX_DEPTH and self._parts < MAX_PARTS:
            root, section = self.scan_entity(body_start, DEFAULT_TYPE, depth + 1)
            return (root,), build_envelope(self._content, section, self._defects), root.body_end
        if encoding not in _IDENTITY:
            self._defects.add(Defect.ENCODED_MESSAGE)
        else:
            self._defects.add(Defect.DEPTH_LIMIT if depth >= MAX_DEPTH else Defect.PART_LIMIT)
        body_end = max(body_start, self._limit(body_start - 1))
        return (self._implied_part(_OPAQUE_TYPE, body_start, body_end, encoding),), EMPTY_ENVELOPE, body_end

    def _implied_part(self, kind: ContentType, start: int, end: int, encoding: str = "7bit") -> Part:
        """A part without a header section of its own."""
        lines = count_lines(self._content, start, end)
        return Part(
            kind.media_type, kind.subtype, kind.params, "", "", encoding, start, start, end, lines, "", (), (), "", ""
        )

    def _content_type(self, section: Section, default: ContentType) -> ContentType:
        field = section.first.get("content-type")
        if field is None:
            return default
        kind = parse_content_type(self._bounded(field))
        if kind is None:
            self._defects.add(Defect.MALFORMED_CONTENT_TYPE)
            return DEFAULT_TYPE
        self._defects.update(kind.defects)
        return kind

    def _bounded(self, field: HeaderField) -> bytes:
        value = field_value(self._content, field)
        if len(value) > MAX_CONTENT_FIELD_OCTETS:
            self._defects.add(Defect.PARAMETER_LIMIT)
        return value[:MAX_CONTENT_FIELD_OCTETS]

    def _token(self, section: Section, name: str) -> str:
        field = section.first.get(name)
        return parse_token(field_value(self._content, field)[:MAX_PARAMETER_OCTETS]) if field is not None else ""

    def _text(self, section: Section, name: str) -> str:
        field = section.first.get(name)
        if field is None:
            return ""
        value = field_value(self._content, field)
        if len(value) > MAX_PARAMETER_OCTETS:
            self._defects.add(Defect.PARAMETER_LIMIT)
        return decode_raw(value[:MAX_PARAMETER_OCTETS])

    def _languages(self, section: Section) -> tuple[str, ...]:
        """RFC 3282: language tags."""
        if "content-language" not in section.first:
            return ()
        tags = self._text(section, "content-language").split(",")
        return tuple(tag for tag in map(str.strip, tags) if tag)

    def _limit(self, at: int) -> int:
        """Where what begins at `at` must end: the next delimiter line, or the end of the message."""
        delimiter = self._next_delimiter(at)
        return self._end if delimiter is None else delimiter.start

    def _next_delimiter(self, at: int) -> Delimiter | None:
        """The first delimiter line of any open level whose line feed stands at `at` or later."""
        nearest: Delimiter | None = None
        limit = self._end
        for index, level in enumerate(self._levels):
            found = level.found
            if not level.searched or (found is not None and found.after - 1 <= at):
                found = level.found = self._search(level.marker, index, at, limit)
                level.searched = True
            if found is not None and (nearest is None or found.start <= nearest.start):
                nearest = found
                limit = min(self._end, found.after)
        return nearest

    def _search(self, marker: bytes, index: int, at: int, limit: int) -> Delimiter | None:
        """The first delimiter line with this marker between `at` and `limit`."""
        content, end, size = self._content, self._end, len(marker)
        at = max(at, 0)
        while (found := content.find(marker, at, limit)) >= 0:
            tail = _DELIMITER_TAIL.match(content, found + size, end)
            if tail is not None:
                start = found - 1 if found and content[found - 1 : found] == b"\r" else found
                return Delimiter(start, tail.end(), index, tail[1] is not None)
            self._candidates += 1
            if self._candidates > MAX_DELIMITER_CANDIDATES:
                self._defects.add(Defect.PART_LIMIT)
                return None
            at = found + size
        return None


def count_lines(content: Content, start: int, end: int) -> int:
    """Lines between two offsets; a last one without a line break counts."""
    if start >= end:
        return 0
    if isinstance(content, mmap.mmap):
        found = sum(content[at : min(at + _COUNT_CHUNK, end)].count(b"\n") for at in range(start, end, _COUNT_CHUNK))
    else:
        found = content.count(b"\n", start, end)
    return found + (content[end - 1 : end] != b"\n")
