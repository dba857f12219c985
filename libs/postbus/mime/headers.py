"""Header values for people and filters: unfolding, RFC 2047 decoding, fields of a scan by name."""

import re
from typing import Final

from postbus.mime.charsets import decode_bytes, decode_raw
from postbus.mime.sections import Content, field_value
from postbus.mime.transfer import decode_base64
from postbus.mime.values import Scan

_WORD: Final = re.compile(rb"=\?([^?\s]{1,64})\?([bBqQ])\?([^?]*+)\?=")
_HEX: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
MAX_DECODED_OCTETS: Final = 64 * 1024
"""Of one value; the rest is cut off before decoding."""


def first_field(scan: Scan, content: Content, name: str) -> bytes | None:
    """The unfolded value of the first field with this name (lower-case); None when there is none."""
    for field in scan.fields:
        if field.name == name:
            return field_value(content, field)
    return None


def all_fields(scan: Scan, content: Content, name: str) -> list[bytes]:
    """The unfolded values of all fields with this name (lower-case), in order."""
    return [field_value(content, field) for field in scan.fields if field.name == name]


def unfold(value: bytes) -> bytes:
    """A raw field value without its line breaks (RFC 5322 §2.2.3), stray CR and NUL removed."""
    return value.translate(None, b"\r\n\0").strip(b" \t")


def decode_value(value: bytes) -> str:
    """Text of an unfolded value, encoded-words decoded (RFC 2047 §6); what is no valid one stays as it is.

    Neighbouring words of one charset are joined before charset decoding, as many senders split characters.
    """
    value = value[:MAX_DECODED_OCTETS]
    if b"=?" not in value:
        return decode_raw(value)
    found: list[str] = []
    pending = b""
    charset = ""
    at = 0
    for match in _WORD.finditer(value):
        between = value[at : match.start()]
        word_charset = match[1].decode("ascii", "replace").partition("*")[0].lower()
        data = decode_base64(match[3]) if match[2] in b"bB" else _decode_q(match[3])
        if (between.strip(b" \t") or charset != word_charset) and pending:
            found.append(decode_bytes(pending, charset))
            pending = b""
        if between.strip(b" \t") or at == 0:
            found.append(decode_raw(between))
        pending += data
        charset = word_charset
        at = match.end()
    if pending:
        found.append(decode_bytes(pending, charset))
    found.append(decode_raw(value[at:]))
    return "".join(found).translate(_CONTROLS)


def _decode_q(data: bytes) -> bytes:
    """The Q encoding (RFC 2047 §4.2)."""
    return _HEX.sub(lambda match: bytes((int(match[1], 16),)), data.replace(b"_", b" "))


_CONTROLS: Final = {number: None if number != 9 else " " for number in (*range(32), 127)}
