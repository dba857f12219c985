"""Content-Transfer-Encoding undone (RFC 2045 §6), lenient: whatever can be decoded is, nothing raises."""

import binascii
from typing import Final

_NO_BASE64: Final = bytes(
    octet for octet in range(256) if octet not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_"
)
_MAX_PADDED_PIECES: Final = 1_000
"""Pieces with padding of their own that are strung together."""
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def decode_transfer(data: bytes, encoding: str) -> bytes:
    """The decoded octets of a body (or of its beginning); an unknown encoding leaves them as they are."""
    if encoding == "base64":
        return decode_base64(data)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data)
    if encoding in ("x-uuencode", "uuencode", "x-uue"):
        return _decode_uu(data)
    return data


def decode_base64(data: bytes) -> bytes:
    """Base64 without its line breaks and foreign octets; an incomplete last group gives what it holds."""
    data = data.translate(_URL_SAFE, _NO_BASE64)
    if b"=" in data.rstrip(b"="):
        pieces = data.split(b"=", _MAX_PADDED_PIECES)
        pieces[-1] = pieces[-1].replace(b"=", b"")
        return b"".join(map(_decode_group, pieces))
    return _decode_group(data.rstrip(b"="))


def _decode_group(data: bytes) -> bytes:
    rest = len(data) % 4
    if rest == 1:
        data, rest = data[:-1], 0
    return binascii.a2b_base64(data + b"=" * (-rest % 4 if rest else 0))


def _decode_uu(data: bytes) -> bytes:
    found: list[bytes] = []
    started = False
    for line in data.splitlines():
        if not started:
            started = line.startswith(b"begin ")
        elif line.startswith(b"end"):
            break
        else:
            try:
                found.append(binascii.a2b_uu(line))
            except binascii.Error:
                continue
    return b"".join(found)
