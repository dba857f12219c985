"""SASL mechanisms with passwords: PLAIN (RFC 4616) and LOGIN (an old draft that old clients need)."""

import binascii

import msgspec

from postbus.core.errors import RemoteProtocolError


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What the client proved itself with; never logged."""

    authorization_id: str
    username: str
    password: str


def decode_response(octets: bytes) -> bytes:
    """A base64 response. Raises RemoteProtocolError; `*` cancels (RFC 9051 §6.2.2)."""
    if octets == b"*":
        raise RemoteProtocolError("Cancelled")
    try:
        return binascii.a2b_base64(octets, strict_mode=True) if octets else b""
    except binascii.Error as error:
        raise RemoteProtocolError("The response is not base64") from error


def parse_plain(message: bytes) -> Credentials:
    """`authzid NUL authcid NUL passwd` (RFC 4616 §2)."""
    pieces = message.split(b"\0")
    if len(pieces) != 3 or not pieces[1]:
        raise RemoteProtocolError("The response is not PLAIN's")
    try:
        authorization_id, username, password = (piece.decode("utf-8") for piece in pieces)
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("The response is not UTF-8") from error
    return Credentials(authorization_id=authorization_id, username=username, password=password)


def encode_challenge(text: bytes) -> bytes:
    """A continuation request with a challenge in base64."""
    return b"+ %b\r\n" % binascii.b2a_base64(text, newline=False)
