"""The preview of a message and whether it carries attachments (RFC 8970, RFC 8621 §4.1.4)."""

from typing import Final

from postbus.mime.charsets import decode_bytes
from postbus.mime.hypertext import strip_html
from postbus.mime.limits import MAX_PREVIEW_CHARACTERS, MAX_PREVIEW_SOURCE_OCTETS
from postbus.mime.sections import Content
from postbus.mime.transfer import decode_transfer
from postbus.mime.values import Part

_PLAIN_SOURCE_OCTETS: Final = 4 * MAX_PREVIEW_CHARACTERS
_SIGNATURES: Final = frozenset({"pgp-signature", "pkcs7-signature", "x-pkcs7-signature", "pgp-keys"})
_INVISIBLE: Final = dict.fromkeys((*range(9), *range(14, 32), 127, 0xAD, 0x34F, *range(0x200B, 0x2010), 0xFEFF, 0xFFFD))


def build_preview(content: Content, root: Part) -> str:
    """The first characters of the first text part that has any, white space folded."""
    for part in _text_parts(root):
        text = _preview_of(content, part)
        if text:
            return text
    return ""


def _text_parts(part: Part) -> list[Part]:
    """The first plain and the first HTML part in order; of alternatives plain text comes first."""
    if not part.children:
        is_text = part.media_type == "text" and part.disposition != "attachment"
        return [part] if is_text and part.subtype in ("plain", "html", "enriched") else []
    for child in part.children:
        found = _text_parts(child)
        if found:
            if part.subtype == "alternative":
                others = [other for sibling in part.children if sibling is not child for other in _text_parts(sibling)]
                return [*found, *others][:4]
            return found
    return []


def _preview_of(content: Content, part: Part) -> str:
    is_html = part.subtype == "html"
    size = MAX_PREVIEW_SOURCE_OCTETS if is_html else _PLAIN_SOURCE_OCTETS
    end = min(part.body_end, part.body_start + size)
    data = content[part.body_start : end]
    if end < part.body_end and part.encoding == "quoted-printable":
        data = data[: data.rfind(b"\n") + 1] or data
    if part.encoding not in ("7bit", "8bit", "binary"):
        data = decode_transfer(data, part.encoding)
    text = decode_bytes(data, charset_of(part))
    if is_html:
        text = strip_html(text, 4 * MAX_PREVIEW_CHARACTERS)
    if not text.isascii() or "\0" in text:
        text = text.translate(_INVISIBLE)
    return " ".join(text.split())[:MAX_PREVIEW_CHARACTERS]


def charset_of(part: Part) -> str:
    """The charset parameter; empty when there is none."""
    for name, value in part.params:
        if name == "charset":
            return value
    return ""


def file_name(part: Part) -> str:
    """The name that the part gives to its file, raw (RFC 2047 left alone); empty when there is none."""
    for params, wanted in ((part.disposition_params, "filename"), (part.params, "name")):
        for name, value in params:
            if name == wanted:
                return value
    return ""


def has_attachment(part: Part, parent: Part | None = None) -> bool:
    """Whether a part is one that mail readers show as an attachment."""
    if part.disposition == "attachment" and parent is not None:
        return part.subtype not in _SIGNATURES
    if part.media_type == "multipart":
        return any(has_attachment(child, part) for child in part.children)
    if part.media_type == "message" and part.children:
        return parent is not None and parent.subtype != "report"
    if part.subtype in _SIGNATURES:
        return False
    within_related = parent is not None and parent.subtype == "related"
    if part.content_id and (part.disposition == "inline" or within_related):
        return False
    if part.media_type == "text":
        return bool(file_name(part)) and part.disposition != "inline"
    return part.media_type != "message" and not (part.disposition == "inline" and within_related)
