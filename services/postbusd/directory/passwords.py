"""What a password may be, and its one form for hashing (RFC 8265 §4.2, OpaqueString)."""

import unicodedata

from postbus.core.errors import ErrorKind, MailError

MIN_PASSWORD_CHARACTERS = 6
MAX_PASSWORD_OCTETS = 256


def prepare_password(password: str) -> str:
    """The form that is hashed: NFC, every kind of space an ASCII space."""
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in password)
    return unicodedata.normalize("NFC", spaced)


def is_possible(password: str) -> bool:
    """Whether anybody can have this password; False needs no hashing."""
    return 0 < len(password) <= MAX_PASSWORD_OCTETS and _is_text(password) and _octets(password) <= MAX_PASSWORD_OCTETS


def check_new_password(password: str) -> str:
    """The form to hash. Raises MailError: INVALID."""
    if not _is_text(password):
        raise MailError(ErrorKind.INVALID, "password: control characters are not allowed")
    prepared = prepare_password(password)
    if len(prepared) < MIN_PASSWORD_CHARACTERS:
        raise MailError(ErrorKind.INVALID, f"password: at least {MIN_PASSWORD_CHARACTERS} characters")
    if _octets(prepared) > MAX_PASSWORD_OCTETS:
        raise MailError(ErrorKind.INVALID, f"password: at most {MAX_PASSWORD_OCTETS} octets of UTF-8")
    return prepared


def _is_text(password: str) -> bool:
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in password)


def _octets(password: str) -> int:
    return len(password.encode("utf-8"))
