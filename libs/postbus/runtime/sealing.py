"""Secrets at rest: AES-256-GCM under the installation's master key, bound to the row that they belong to.

A sealed key is version octet + 12-octet nonce + ciphertext and tag. A copy in another row, or another master key, does
not open it.
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from postbus.core.errors import ErrorKind, MailError

MASTER_KEY_FILE = "master.key"
VERSION = b"\x01"
NONCE_OCTETS = 12  # NIST SP 800-38D §8.2.2, random
KEY_OCTETS = 32


class Sealer:
    """Seals and opens with one master key."""

    def __init__(self, master_key: bytes) -> None:
        """`master_key` is 32 octets."""
        self._cipher = AESGCM(master_key)

    def seal(self, plain: bytes, owner: str) -> bytes:
        """`owner` names what the key belongs to, as `certificate:<id>`."""
        nonce = os.urandom(NONCE_OCTETS)
        return VERSION + nonce + self._cipher.encrypt(nonce, plain, owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes:
        """Raises MailError: INVALID when this master key did not seal it for `owner`."""
        nonce, body = sealed[1 : 1 + NONCE_OCTETS], sealed[1 + NONCE_OCTETS :]
        try:
            if sealed[:1] != VERSION or len(nonce) != NONCE_OCTETS:
                raise InvalidTag
            return self._cipher.decrypt(nonce, body, owner.encode())
        except InvalidTag as error:
            raise MailError(ErrorKind.INVALID, f"{owner}: was sealed with another {MASTER_KEY_FILE}") from error


def read_master_key(secrets_dir: Path) -> bytes:
    """32 octets written as hexadecimal digits. Raises MailError: INVALID."""
    path = secrets_dir / MASTER_KEY_FILE
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise MailError(ErrorKind.INVALID, f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise MailError(ErrorKind.INVALID, f"{path}: must be hexadecimal digits") from error
    if len(key) != KEY_OCTETS:
        raise MailError(ErrorKind.INVALID, f"{path}: must be {KEY_OCTETS} octets")
    return key
