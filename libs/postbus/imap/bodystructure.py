"""BODY and BODYSTRUCTURE (RFC 9051 §7.5.2).

A multipart without parts and a message/rfc822 without a message can't be said in the grammar: an empty text part and
an empty envelope stand in for what is missing, as a client that parses by the grammar would lose the whole response.
"""

from postbus.imap.envelope import EMPTY_ENVELOPE, format_envelope
from postbus.imap.wire import NIL, format_ntext, format_text
from postbus.mime.values import Part

MAX_BODY_DEPTH = 100
"""Nesting that we write; the scanner's own limit is lower."""

_EMPTY_TEXT = b'("text" "plain" NIL NIL NIL "7bit" 0 0)'
_EMPTY_TEXT_EXTENDED = b'("text" "plain" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'


def format_body(part: Part, extended: bool) -> bytes:
    """BODY, or BODYSTRUCTURE with `extended` data (RFC 9051 §7.5.2)."""
    return _format_part(part, extended, 0)


def is_message(part: Part) -> bool:
    """Whether the part encloses a message whose parts have numbers (RFC 9051 §6.4.5.1)."""
    return part.media_type == "message" and part.subtype in ("rfc822", "global")


def _format_part(part: Part, extended: bool, depth: int) -> bytes:
    if depth >= MAX_BODY_DEPTH:
        return _EMPTY_TEXT_EXTENDED if extended else _EMPTY_TEXT
    if part.media_type == "multipart":
        return _format_multipart(part, extended, depth)
    return _format_single(part, extended, depth)


def _format_multipart(part: Part, extended: bool, depth: int) -> bytes:
    children = b"".join(_format_part(child, extended, depth + 1) for child in part.children)
    if not children:
        children = _EMPTY_TEXT_EXTENDED if extended else _EMPTY_TEXT
    pieces = [children, format_text(part.subtype or "mixed")]
    if extended:
        pieces.append(_format_params(part.params))
        pieces.extend(_format_tail(part))
    return b"(%b)" % b" ".join(pieces)


def _format_single(part: Part, extended: bool, depth: int) -> bytes:
    pieces = [
        format_text(part.media_type or "application"),
        format_text(part.subtype or "octet-stream"),
        _format_params(part.params),
        format_ntext(part.content_id),
        format_ntext(part.description),
        format_text(part.encoding or "7bit"),
        b"%d" % max(0, part.body_end - part.body_start),
    ]
    if is_message(part):
        pieces.append(format_envelope(part.envelope or EMPTY_ENVELOPE))
        pieces.append(_format_enclosed(part, extended, depth))
        pieces.append(b"%d" % part.lines)
    elif part.media_type == "text":
        pieces.append(b"%d" % part.lines)
    if extended:
        pieces.append(format_ntext(part.md5))
        pieces.extend(_format_tail(part))
    return b"(%b)" % b" ".join(pieces)


def _format_enclosed(part: Part, extended: bool, depth: int) -> bytes:
    if part.children:
        return _format_part(part.children[0], extended, depth + 1)
    return _EMPTY_TEXT_EXTENDED if extended else _EMPTY_TEXT


def _format_tail(part: Part) -> tuple[bytes, bytes, bytes]:
    """Disposition, language, location."""
    disposition = NIL
    if part.disposition:
        disposition = b"(%b %b)" % (format_text(part.disposition), _format_params(part.disposition_params))
    return disposition, _format_language(part.language), format_ntext(part.location)


def _format_language(language: tuple[str, ...]) -> bytes:
    if not language:
        return NIL
    if len(language) == 1:
        return format_text(language[0])
    return b"(%b)" % b" ".join(format_text(tag) for tag in language)


def _format_params(params: tuple[tuple[str, str], ...]) -> bytes:
    if not params:
        return NIL
    return b"(%b)" % b" ".join(b"%b %b" % (format_text(name), format_text(value)) for name, value in params)
