"""What patterns are looked for in: the texts of one message, each made when a rule first asks for it."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Final

from postbus.mime.charsets import decode_bytes
from postbus.mime.headers import decode_value, unfold
from postbus.mime.hypertext import strip_html
from postbus.mime.preview import charset_of
from postbus.mime.sections import read_section
from postbus.mime.transfer import decode_transfer
from postbus.mime.values import HeaderField, Part, Scan
from postbus.spam.rules.values import Form, Target

MAX_TEXT_OCTETS: Final = 256 * 1024
"""Of each text."""
MAX_VALUE_OCTETS: Final = 8 * 1024
"""Of one header field."""
MAX_URIS: Final = 500

_URI: Final = re.compile(
    r"""\b(?:https?|ftp)://[^\s<>"'\x00-\x1f]{1,2000}|\bwww\.[^\s<>"'\x00-\x1f]{1,2000}""", re.IGNORECASE
)
_LINK: Final = re.compile(r"""\b(?:href|src|action)\s{0,20}=\s{0,20}["']?([^"'\s>]{1,2000})""", re.IGNORECASE)
_SPACE: Final = re.compile(r"[^\S\n]+")
_PARAGRAPH: Final = re.compile(r"\n\s*\n")
_ADDRESS: Final = re.compile(r"<([^<>\s]+@[^<>\s]+)>|([^\s<>\",;:()]+@[^\s<>\",;:()]+)")
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "tocc": ("to", "cc"),
    "messageid": ("message-id", "resent-message-id", "x-message-id"),
}
"""Names that stand for several fields."""


class RuleSource:
    """One message; `content` is what was scanned."""

    def __init__(self, content: bytes, scan: Scan, reverse_path: str) -> None:
        self._content = content
        self._scan = scan
        self._reverse_path = reverse_path
        self._values: dict[tuple[Target, str, Form], bytes | None] = {}
        self._texts: Mapping[Target, Callable[[], bytes]] = {
            Target.BODY: lambda: self._body,
            Target.RAWBODY: lambda: self._rawbody,
            Target.FULL: lambda: self._content[:MAX_TEXT_OCTETS],
            Target.URI: lambda: self._uris,
        }

    def text(self, target: Target) -> bytes:
        """UTF-8, but for FULL."""
        return self._texts[target]()

    def value(self, target: Target, field: str, form: Form) -> bytes | None:
        """The values of a field, one a line; None: there is none."""
        key = (target, field, form)
        if key not in self._values:
            self._values[key] = self._find(target, field, form)
        return self._values[key]

    def _find(self, target: Target, field: str, form: Form) -> bytes | None:
        if target is Target.HEADER and field == "envelopefrom":
            return self._reverse_path.encode()
        if target is Target.HEADER and field == "all":
            return self._content[: min(self._scan.body_start, MAX_TEXT_OCTETS)].replace(b"\r\n", b"\n")
        names = _GROUPS.get(field, (field,))
        fields = self._scan.fields if target is Target.HEADER else self._part_fields
        found = [_show(self._content, each, form) for each in fields if each.name in names]
        return "\n".join(found).encode() if found else None

    @cached_property
    def _part_fields(self) -> list[HeaderField]:
        parts = _walk(self._scan.root)
        return [
            each for part in parts for each in read_section(self._content, part.header_start, part.body_start).fields
        ]

    @cached_property
    def _pieces(self) -> list[tuple[str, bool]]:
        """The text parts and whether they are HTML."""
        found, left = [], MAX_TEXT_OCTETS
        for part in _walk(self._scan.root):
            if part.media_type == "text" and not part.children and left > 0:
                end = min(part.body_end, part.body_start + 2 * left)
                data = decode_transfer(self._content[part.body_start : end], part.encoding)[:left]
                left -= len(data)
                found.append((decode_bytes(data, charset_of(part)).replace("\r\n", "\n"), part.subtype == "html"))
        return found

    @cached_property
    def _rawbody(self) -> bytes:
        return "\n".join(text for text, _ in self._pieces).encode("utf-8", "replace")[:MAX_TEXT_OCTETS]

    @cached_property
    def _body(self) -> bytes:
        subject = self.value(Target.HEADER, "subject", Form.VALUE) or b""
        texts = [strip_html(text, MAX_TEXT_OCTETS) if is_html else text for text, is_html in self._pieces]
        paragraphs = [
            _SPACE.sub(" ", each.replace("\n", " ")).strip() for text in texts for each in _PARAGRAPH.split(text)
        ]
        lines = [subject.decode(), *(each for each in paragraphs if each)]
        return "\n".join(lines).encode("utf-8", "replace")[:MAX_TEXT_OCTETS]

    @cached_property
    def _uris(self) -> bytes:
        found: dict[str, None] = {}
        for text, is_html in self._pieces:
            for uri in _list_uris(text, is_html):
                found[uri] = None
                if len(found) >= MAX_URIS:
                    break
        return "\n".join(found).encode("utf-8", "replace")


def _list_uris(text: str, is_html: bool) -> Iterator[str]:
    if is_html:
        yield from (match[1].replace("&amp;", "&") for match in _LINK.finditer(text))
    for match in _URI.finditer(text):
        uri = match[0].rstrip(".,;:!?)]}")
        yield f"http://{uri}" if uri[:4].lower() == "www." else uri


def _walk(part: Part) -> Iterator[Part]:
    yield part
    for child in part.children:
        yield from _walk(child)


def _show(content: bytes, field: HeaderField, form: Form) -> str:
    raw = content[field.value_start : min(field.end, field.value_start + MAX_VALUE_OCTETS)]
    if form is Form.RAW:
        return raw.strip(b" \t\r\n").replace(b"\r\n", b"\n").decode("utf-8", "replace")
    value = decode_value(unfold(raw))
    if form is Form.VALUE:
        return value
    match = _ADDRESS.search(value)
    if form is Form.ADDR:
        return (match[1] or match[2]) if match else ""
    return value[: match.start()].strip(' \t"') if match else value.strip(' \t"')
