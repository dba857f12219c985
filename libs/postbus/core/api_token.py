"""The form of API tokens and sessions: a prefix that tells which, 43 characters of 256 random bits, six of a checksum.

The prefix and the checksum let scanners of repositories and logs find a leaked token without asking anybody, and let a
token that was cut or mistyped be told from one that is unknown. Nothing follows from a right checksum.
"""

import os
import re
import zlib

PREFIX = "postbus_api_"
SESSION_PREFIX = "postbus_session_"
PATTERN = re.compile(rf"(?:{PREFIX}|{SESSION_PREFIX})[0-9A-Za-z]{{49}}")
"""Every token of this form, for scanners too."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_OCTETS = 32
_RANDOM_CHARACTERS = 43  # 62 ** 43 > 2 ** 256
_CHECK_CHARACTERS = 6  # 62 ** 6 > 2 ** 32


def new_api_token(entropy: bytes | None = None, prefix: str = PREFIX) -> str:
    """A new token; `entropy` is 32 octets, for tests."""
    number = int.from_bytes(entropy if entropy is not None else os.urandom(_RANDOM_OCTETS), "big")
    body = prefix + _digits(number, _RANDOM_CHARACTERS)
    return body + _checksum(body)


def is_damaged(text: str) -> bool:
    """Whether a text begins as a token of this form and can't be one: cut, mistyped, or made up."""
    if not text.startswith((PREFIX, SESSION_PREFIX)):
        return False
    return PATTERN.fullmatch(text) is None or _checksum(text[:-_CHECK_CHARACTERS]) != text[-_CHECK_CHARACTERS:]


def _checksum(body: str) -> str:
    return _digits(zlib.crc32(body.encode("ascii")), _CHECK_CHARACTERS)


def _digits(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
