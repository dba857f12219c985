"""Folder names on an IMAP4rev1 wire: modified UTF-7 (RFC 3501 §5.1.3); inside, names are str."""

import binascii
import re

from postbus.core.errors import RemoteProtocolError
from postbus.imap.limits import MAX_FOLDER_NAME_OCTETS

_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_PLAIN = re.compile(r"[\x20-\x25\x27-\x7e]+|&|[^\x20-\x7e]+")


def encode_utf7(name: str) -> bytes:
    """The name in modified UTF-7."""
    return b"".join(_encode_run(match[0]) for match in _PLAIN.finditer(name))


def _encode_run(run: str) -> bytes:
    if run == "&":
        return b"&-"
    if " " <= run[0] <= "~":
        return run.encode("ascii")
    octets = run.encode("utf-16-be", "surrogatepass")
    return b"&" + binascii.b2a_base64(octets, newline=False).rstrip(b"=").replace(b"/", b",") + b"-"


def decode_utf7(octets: bytes) -> str:
    """The name of modified UTF-7 octets. Raises RemoteProtocolError."""
    if b"&" not in octets:
        return octets.decode("ascii")
    pieces: list[str] = []
    position = 0
    while position < len(octets):
        shift = octets.find(b"&", position)
        if shift < 0:
            shift = len(octets)
        pieces.append(octets[position:shift].decode("ascii"))
        if shift == len(octets):
            break
        match = _SHIFTED.match(octets, shift)
        if match is None:
            raise RemoteProtocolError("The folder name is not modified UTF-7")
        pieces.append(_decode_run(match[1]))
        position = match.end()
    return "".join(pieces)


def _decode_run(run: bytes) -> str:
    if not run:
        return "&"
    try:
        octets = binascii.a2b_base64(run.replace(b",", b"/") + b"=" * (-len(run) % 4))
        return octets.decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RemoteProtocolError("The folder name is not modified UTF-7") from error


def decode_folder_name(octets: bytes) -> str:
    """A folder name as a command gives it: modified UTF-7, or plain UTF-8 where octets above 127 say so.

    INBOX, and INBOX as the first level, are spelled in upper case whatever the client wrote (RFC 9051 §5.1).
    """
    if len(octets) > MAX_FOLDER_NAME_OCTETS:
        raise RemoteProtocolError("The folder name is too long")
    if octets.isascii():
        name = decode_utf7(octets)
    else:
        try:
            name = octets.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RemoteProtocolError("The folder name is not UTF-8") from error
    first, slash, below = name.partition("/")
    return f"INBOX{slash}{below}" if first.upper() == "INBOX" else name
