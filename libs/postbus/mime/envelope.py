"""IMAP's ENVELOPE and the Message-IDs of a header section (RFC 9051 §7.5.2, RFC 5322 §3.6.4)."""

import re
from typing import Final

from postbus.mime.addresses import read_addresses
from postbus.mime.limits import (
    MAX_ENVELOPE_OCTETS,
    MAX_MESSAGE_ID_OCTETS,
    MAX_REFERENCES,
    Defect,
)
from postbus.mime.sections import Content, Section, field_value
from postbus.mime.values import Address, Envelope

_MESSAGE_ID: Final = re.compile(rb"<([^<>]++)>")
_SPACE: Final = re.compile(rb"\s+")
_NO_ADDRESSES: Final[tuple[Address, ...]] = ()
EMPTY_ENVELOPE: Final = Envelope(None, None, (), (), (), (), (), (), None, None)


def build_envelope(content: Content, section: Section, defects: set[Defect]) -> Envelope:
    """The envelope of a message's header section."""
    from_ = _addresses(content, section, "from", defects)
    return Envelope(
        _text(content, section, "date", defects),
        _text(content, section, "subject", defects),
        from_,
        _addresses(content, section, "sender", defects) or from_,
        _addresses(content, section, "reply-to", defects) or from_,
        _addresses(content, section, "to", defects),
        _addresses(content, section, "cc", defects),
        _addresses(content, section, "bcc", defects),
        _text(content, section, "in-reply-to", defects),
        _text(content, section, "message-id", defects),
    )


def _text(content: Content, section: Section, name: str, defects: set[Defect]) -> bytes | None:
    field = section.first.get(name)
    if field is None:
        return None
    value = field_value(content, field)
    if len(value) > MAX_ENVELOPE_OCTETS:
        defects.add(Defect.ENVELOPE_LIMIT)
        return value[:MAX_ENVELOPE_OCTETS]
    return value


def _addresses(content: Content, section: Section, name: str, defects: set[Defect]) -> tuple[Address, ...]:
    """Addresses of all fields of that name (RFC 5322 §4.5 lets address fields occur several times)."""
    first = section.first.get(name)
    if first is None:
        return _NO_ADDRESSES
    value = field_value(content, first)
    if first.name in section.repeated:
        values = [field_value(content, field) for field in section.fields if field.name == name]
        if len(values) > 1:
            value = b", ".join(values)
    if len(value) > MAX_ENVELOPE_OCTETS:
        defects.add(Defect.ENVELOPE_LIMIT)
        value = value[: value.rfind(b",", 0, MAX_ENVELOPE_OCTETS) + 1 or MAX_ENVELOPE_OCTETS]
    found, limited = read_addresses(value)
    if limited:
        defects.add(Defect.ADDRESS_LIMIT)
    return found


def message_ids(value: bytes | None) -> list[str]:
    """The Message-IDs of a field value, without angle brackets, white space inside removed."""
    if not value:
        return []
    found = [_format_id(match[1]) for match in _MESSAGE_ID.finditer(value)]
    if not found and b"@" in value and b" " not in value:
        found = [_format_id(value.strip(b"<>"))]
    return [text for text in found if text]


def _format_id(raw: bytes) -> str:
    if b" " in raw or b"\t" in raw:
        raw = _SPACE.sub(b"", raw)
    return raw[:MAX_MESSAGE_ID_OCTETS].decode("utf-8", "replace")


def build_references(
    content: Content, section: Section, in_reply_to: bytes | None, defects: set[Defect]
) -> tuple[str, ...]:
    """Message-IDs of References, else of In-Reply-To, oldest first; the first and the latest of very many."""
    field = section.first.get("references")
    found = message_ids(field_value(content, field)[-MAX_ENVELOPE_OCTETS:]) if field is not None else []
    if not found:
        found = [text for text in message_ids(in_reply_to) if "@" in text]
    if len(found) > MAX_REFERENCES:
        defects.add(Defect.REFERENCE_LIMIT)
        found = [found[0], *found[1 - MAX_REFERENCES :]]
    return tuple(found)
