"""A signature under the text of a message: which octets of it become which, all others stay as they are.

Every reading of the text gets it, plain and HTML. Left alone are messages that somebody has signed or encrypted (RFC
1847, RFC 8551, inline OpenPGP, DKIM), reports (RFC 6522) and enclosed messages. A part keeps its charset and its
transfer encoding where these can hold the signature; else it becomes UTF-8 in quoted-printable. Where a part is not
what its charset says, the signature has question marks in place of what is not ASCII.
"""

import binascii
import codecs
import html as markup
import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from postbus.mime.charsets import codec_name
from postbus.mime.preview import charset_of, file_name
from postbus.mime.sections import Content, read_section
from postbus.mime.transfer import decode_transfer
from postbus.mime.values import Part, Scan

MAX_TEXT_OCTETS: Final = 4 * 1024 * 1024
"""A text part that is larger is left alone."""
PIECE_OCTETS: Final = 1024 * 1024
"""Of a large message that is copied."""
MAX_LINE_OCTETS: Final = 900
"""Of a signature that is put in as it is (RFC 5322 §2.1.1: 998)."""
BASE64_LINE_OCTETS: Final = 57

_PLAIN_ENCODINGS: Final = frozenset({"7bit", "8bit", "binary", ""})
_TEXT_TYPES: Final = frozenset({"plain", "html"})
_SEALED_MULTIPARTS: Final = frozenset({"signed", "encrypted", "report"})
_SEALED_TYPES: Final = frozenset({"pkcs7-mime", "x-pkcs7-mime", "pgp-encrypted"})
_SEALED_FIELDS: Final = frozenset({"dkim-signature", "arc-seal"})
_PGP_INLINE: Final = re.compile(rb"^-----BEGIN PGP ", re.MULTILINE)
_LONG_LINE: Final = re.compile(rb"([^\r\n]{%d})" % MAX_LINE_OCTETS)
_BODY_END: Final = re.compile(r"</\s*(?:body|html)\s*>", re.IGNORECASE)
_ASCII_COMPATIBLE: Final = re.compile(
    r"ascii|utf-8|latin|iso8859|iso-8859|cp125\d|koi8|cp437|cp85\d|cp866|cp874|cp949|gb|big5|euc|mac|tis"
)


class Edit(msgspec.Struct, frozen=True):
    """The octets from `start` to `end` become `octets`."""

    start: int
    end: int
    octets: bytes


def append_signature(content: Content, scan: Scan, text: str, html: str) -> list[Edit]:
    """What puts the signature into the message, in order; empty: it is left alone.

    `text` with lines that end in LF; `html` is a fragment, empty: made of the text.
    """
    if _is_sealed(scan.root) or any(field.name in _SEALED_FIELDS for field in scan.fields):
        return []
    bodies = find_bodies(scan.root)
    if not all(_has_room(content, part) for part in bodies):
        return []
    found: list[Edit] = []
    for part in bodies:
        data = decode_transfer(content[part.body_start : part.body_end], part.encoding)
        if _PGP_INLINE.search(data):
            return []
        piece = _fragment(text, html) if part.subtype == "html" else _lines(part, text)
        found += _edit(content, scan, part, data, piece)
    return sorted(found, key=lambda edit: edit.start)


def find_bodies(root: Part) -> list[Part]:
    """The parts that readers show as the message's text: one, or one of each alternative."""
    if not root.children:
        is_text = root.media_type == "text" and root.subtype in _TEXT_TYPES
        return [root] if is_text and root.disposition != "attachment" and not file_name(root) else []
    if root.media_type != "multipart":
        return []
    if root.subtype == "alternative":
        return [part for child in root.children for part in find_bodies(child)]
    children = root.children[:1] if root.subtype == "related" else tuple(reversed(root.children))
    return next((found for child in children if (found := find_bodies(child))), [])


def apply_edits(content: Content, edits: Sequence[Edit]) -> Iterator[bytes]:
    """The new message in pieces."""
    at = 0
    for edit in edits:
        yield from _pieces(content, at, edit.start)
        yield edit.octets
        at = edit.end
    yield from _pieces(content, at, len(content))


def _pieces(content: Content, start: int, end: int) -> Iterator[bytes]:
    return (content[at : min(at + PIECE_OCTETS, end)] for at in range(start, end, PIECE_OCTETS))


def _has_room(content: Content, part: Part) -> bool:
    """Whether the part is of a size that we touch, and an empty line keeps its body from its header section."""
    before = content[max(part.header_start, part.body_start - 3) : part.body_start]
    divided = before in (b"\r\n", b"\n") or before.endswith((b"\n\n", b"\n\r\n"))
    return divided and part.body_end - part.body_start <= MAX_TEXT_OCTETS


def _is_sealed(part: Part) -> bool:
    """Whether a change would break what somebody has proven or hidden."""
    if part.media_type == "multipart":
        return part.subtype in _SEALED_MULTIPARTS or any(_is_sealed(child) for child in part.children)
    return part.subtype in _SEALED_TYPES


def _lines(part: Part, text: str) -> str:
    """The signature as lines of plain text, an empty one before it (format=flowed: RFC 3676 §4)."""
    lines = text.split("\n")
    if ("format", "flowed") in [(name, value.lower()) for name, value in part.params]:
        lines = [line if line == "-- " else line.rstrip(" ") for line in lines]
        lines = [f" {line}" if line.startswith((" ", ">", "From ")) else line for line in lines]
    return "\r\n" + "\r\n".join(lines)


def _fragment(text: str, html: str) -> str:
    """The signature as HTML."""
    lines = html or "<br>\n".join(markup.escape(text, quote=False).split("\n"))
    return f"<div><br>\n{lines}</div>".replace("\n", "\r\n")


def _edit(content: Content, scan: Scan, part: Part, data: bytes, piece: str) -> list[Edit]:
    """One part with the signature in it; `data` is its decoded body."""
    label = _label_codec(part)
    if _ASCII_COMPATIBLE.match(label):
        try:
            added = piece.encode(label, "xmlcharrefreplace" if part.subtype == "html" else "strict")
        except UnicodeError:
            pass
        else:
            encoded = _encode(part, _join(part, data, added, is_root=part is scan.root), added)
            if encoded is not None:
                return [Edit(part.body_start, part.body_end, encoded)]
    told = _tell(data, codec_name(charset_of(part)))
    if told is None:
        added = _LONG_LINE.sub(rb"\1\r\n", piece.encode("ascii", "replace"))
        encoded = _encode(part, _join(part, data, added, is_root=part is scan.root), added)
        return [Edit(part.body_start, part.body_end, encoded)] if encoded is not None else []
    joined = _join(part, told, piece.encode(), is_root=part is scan.root)
    return [*_describe(content, scan, part), Edit(part.body_start, part.body_end, encode_quoted_printable(joined))]


def _tell(data: bytes, codec: str | None) -> bytes | None:
    """The text as UTF-8; None: nobody knows what it says."""
    try:
        return data.decode(codec).encode() if codec is not None else None
    except UnicodeError:
        return None


def _label_codec(part: Part) -> str:
    """What the charset says to the letter; empty: nothing known. Reading is more generous (`codec_name`)."""
    try:
        return codecs.lookup(charset_of(part) or "ascii").name
    except (LookupError, ValueError):
        return ""


def _join(part: Part, data: bytes, added: bytes, *, is_root: bool) -> bytes:
    if part.subtype == "html":
        ends = [found.start() for found in _BODY_END.finditer(data.decode("latin-1"))]
        # The end of the body, or of the document where the body has none.
        at = ends[-2] if len(ends) > 1 and b"html" in data[ends[-1] :].lower() else (ends[-1] if ends else len(data))
        return data[:at] + added + b"\r\n" + data[at:] if ends else _with_line_end(data) + added + _end(is_root)
    return _with_line_end(data) + added + _end(is_root)


def _with_line_end(data: bytes) -> bytes:
    return data if not data or data.endswith(b"\n") else data + b"\r\n"


def _end(is_root: bool) -> bytes:
    """A part's last line break belongs to the boundary after it."""
    return b"\r\n" if is_root else b""


def _encode(part: Part, data: bytes, added: bytes) -> bytes | None:
    """The body in the part's own transfer encoding; None: that can't hold the signature."""
    if part.encoding == "quoted-printable":
        return encode_quoted_printable(data)
    if part.encoding == "base64":
        lines = [data[at : at + BASE64_LINE_OCTETS] for at in range(0, len(data), BASE64_LINE_OCTETS)]
        return b"\r\n".join(binascii.b2a_base64(line, newline=False) for line in lines) + b"\r\n"
    fits = added.isascii() or part.encoding in ("8bit", "binary")
    if part.encoding in _PLAIN_ENCODINGS and fits and max(map(len, added.split(b"\r\n"))) <= MAX_LINE_OCTETS:
        return data
    return None


def encode_quoted_printable(data: bytes) -> bytes:
    """RFC 2045 §6.7: line breaks stay, lines have at most 76 octets."""
    lines = (binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in data.split(b"\r\n"))
    return b"\r\n".join(lines)


def _describe(content: Content, scan: Scan, part: Part) -> list[Edit]:
    """The part's header fields for UTF-8 in quoted-printable."""
    params = [(name, value) for name, value in part.params if name != "charset" and _is_plain(name + value)]
    shown = "".join(f';\r\n\t{name}="{value}"' for name, value in [("charset", "utf-8"), *params])
    wanted = {
        "content-type": f"Content-Type: text/{part.subtype}{shown}\r\n",
        "content-transfer-encoding": "Content-Transfer-Encoding: quoted-printable\r\n",
    }
    is_root = part is scan.root
    fields = scan.fields if is_root else read_section(content, part.header_start, part.body_start).fields
    names = {field.name for field in fields}
    if is_root and "mime-version" not in names:
        wanted["mime-version"] = "MIME-Version: 1.0\r\n"
    edits = []
    for field in fields:
        if field.name in wanted:
            edits.append(Edit(field.start, field.end, wanted.pop(field.name).encode()))
        elif field.name in ("content-type", "content-transfer-encoding"):
            edits.append(Edit(field.start, field.end, b""))
    if wanted:
        start = fields[-1].end if fields else part.header_start
        edits.append(Edit(start, start, "".join(wanted.values()).encode()))
    return edits


def _is_plain(text: str) -> bool:
    """What needs no escape within quotation marks."""
    return text.isascii() and text.isprintable() and not set(text) & set('"\\')
