"""The searchable text of a message: decoded header values, text of its parts, names of its attachments.

Bounded output, nothing raises; wrong charsets and encodings are repaired as far as possible. Other media types than
text/* give their names only.
"""

from collections.abc import Sequence

import msgspec

from postbus.mime.charsets import decode_bytes
from postbus.mime.headers import decode_value
from postbus.mime.hypertext import strip_html
from postbus.mime.preview import charset_of, file_name
from postbus.mime.sections import Slices, field_value, read_section
from postbus.mime.transfer import decode_transfer
from postbus.mime.values import Envelope, HeaderField, Part, Scan

MAX_BODY_CHARACTERS = 1_000_000
"""Text of all parts together."""
MAX_PART_SOURCE_OCTETS = 4 * 1024 * 1024
"""Of one part, before decoding."""
MAX_HEADER_CHARACTERS = 256 * 1024
"""Decoded values of all header fields together."""
MAX_ATTACHMENT_NAMES = 200


class MessageText(msgspec.Struct, frozen=True, kw_only=True):
    """Decoded text by what SEARCH asks for (RFC 9051 §6.4.4); values of several fields of one name are joined."""

    subject: str
    from_: str
    to: str
    cc: str
    bcc: str
    body: str
    """Text parts in order, markup removed; headers of enclosed messages stand among them."""
    attachment_names: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    """(lower-case name, decoded value) of every field, those of the prefix first."""


class TextSlices:
    """The header section and the text parts of a message, without the octets between them (attachments)."""

    def __init__(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        """`pieces`: (offset, octets), as `text_ranges` names them."""
        self._pieces = pieces

    def __getitem__(self, span: slice, /) -> bytes:
        """The octets between two offsets of one piece; empty outside."""
        start, end = span.start, span.stop
        for offset, octets in self._pieces:
            if offset <= start and end <= offset + len(octets):
                return octets[start - offset : end - offset]
        return b""


def text_ranges(scan: Scan) -> list[tuple[int, int]]:
    """What `extract_text` reads of a message: (start, end) offsets, enough for a `TextSlices`."""
    found = [(0, scan.body_start)]
    budget = MAX_BODY_CHARACTERS
    waiting = [scan.root]
    while waiting and budget > 0:
        part = waiting.pop()
        waiting.extend(reversed(part.children))
        if not part.children and part.media_type == "text" and part.body_end > part.body_start:
            end = min(part.body_end, part.body_start + MAX_PART_SOURCE_OCTETS)
            found.append((part.body_start, end))
            budget -= (end - part.body_start) // 16
    return found


def extract_text(content: Slices, scan: Scan, prefix: bytes = b"") -> MessageText:
    """The text of a scanned message; `prefix` holds header fields that stand before it (architecture §3.3)."""
    headers: list[tuple[str, str]] = []
    budget = MAX_HEADER_CHARACTERS
    if prefix:
        budget = _add_fields(headers, prefix, read_section(prefix, 0, len(prefix)).fields, budget)
    _add_fields(headers, content, scan.fields, budget)
    gathered = _Gatherer(content)
    gathered.add_part(scan.root)
    return MessageText(
        subject=_joined(headers, "subject"),
        from_=_joined(headers, "from"),
        to=_joined(headers, "to"),
        cc=_joined(headers, "cc"),
        bcc=_joined(headers, "bcc"),
        body="\n".join(gathered.texts),
        attachment_names=tuple(gathered.names),
        headers=tuple(headers),
    )


def _add_fields(
    headers: list[tuple[str, str]], content: Slices, fields: tuple[HeaderField, ...] | list[HeaderField], budget: int
) -> int:
    """Appends decoded fields as long as they fit; what is left of the budget."""
    for field in fields:
        value = decode_value(field_value(content, field))[: max(budget, 0)]
        budget -= len(value)
        headers.append((field.name, value))
    return budget


def _joined(headers: list[tuple[str, str]], name: str) -> str:
    return ", ".join(value for field, value in headers if field == name)


class _Gatherer:
    """Walks the parts in order until the budget is spent."""

    def __init__(self, content: Slices) -> None:
        self.texts: list[str] = []
        self.names: list[str] = []
        self._content = content
        self._budget = MAX_BODY_CHARACTERS

    def add_part(self, part: Part) -> None:
        """Takes the part's text and those of its children."""
        name = file_name(part)
        if name and len(self.names) < MAX_ATTACHMENT_NAMES:
            self.names.append(decode_value(name.encode("utf-8", "replace")))
        if part.envelope is not None:
            self._add(_envelope_text(part.envelope))
        if not part.children and part.media_type == "text" and self._budget > 0:
            self._add(part_text(self._content, part, self._budget))
        for child in part.children:
            self.add_part(child)

    def _add(self, text: str) -> None:
        text = text[: max(self._budget, 0)]
        if text:
            self._budget -= len(text)
            self.texts.append(text)


def part_text(content: Slices, part: Part, limit: int = MAX_BODY_CHARACTERS) -> str:
    """The text of a text/* part, markup of HTML removed, at most `limit` characters."""
    data = content[part.body_start : min(part.body_end, part.body_start + MAX_PART_SOURCE_OCTETS)]
    text = decode_bytes(decode_transfer(data, part.encoding), charset_of(part))
    if part.subtype in ("html", "xhtml", "enriched"):
        return strip_html(text, limit)
    return text[:limit]


def _envelope_text(envelope: Envelope) -> str:
    """Subject and addresses of an enclosed message."""
    people = (*envelope.from_, *envelope.to, *envelope.cc)
    lines = [b"%s <%s@%s>" % (person.name or b"", person.mailbox or b"", person.host or b"") for person in people]
    return "\n".join(decode_value(line) for line in (envelope.subject or b"", *lines) if line)
