"""Folder names: UTF-8 with `/` between levels; INBOX is spelled so whatever its case (RFC 9051 §5.1)."""

import unicodedata

from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.values import SpecialUse

INBOX = "INBOX"
SEPARATOR = "/"
MAX_NAME_OCTETS = 1000
MAX_LEVELS = 32
MAX_FOLDERS = 10_000

SPECIAL_FOLDERS: tuple[tuple[SpecialUse, str], ...] = (
    (SpecialUse.INBOX, INBOX),
    (SpecialUse.SENT, "Sent"),
    (SpecialUse.DRAFTS, "Drafts"),
    (SpecialUse.JUNK, "Spam"),
    (SpecialUse.TRASH, "Trash"),
    (SpecialUse.ARCHIVE, "Archive"),
)
"""Made with every mailbox, in this order (RFC 6154)."""


def normalize_folder_name(name: str) -> str:
    """The stored form: NFC, INBOX in capitals as first level. Raises MailError INVALID, LIMIT."""
    levels = unicodedata.normalize("NFC", name).split(SEPARATOR)
    if levels[0].upper() == INBOX:
        levels[0] = INBOX
    if not all(levels):
        raise MailError(ErrorKind.INVALID, "folder name: a level is empty")
    stored = SEPARATOR.join(levels)
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in stored):
        raise MailError(ErrorKind.INVALID, "folder name: control characters")
    if len(stored.encode()) > MAX_NAME_OCTETS:
        raise MailError(ErrorKind.LIMIT, f"folder name: more than {MAX_NAME_OCTETS} octets")
    if len(levels) > MAX_LEVELS:
        raise MailError(ErrorKind.LIMIT, f"folder name: more than {MAX_LEVELS} levels")
    return stored


def parent_names(name: str) -> list[str]:
    """The folders above, the highest first."""
    levels = name.split(SEPARATOR)
    return [SEPARATOR.join(levels[:depth]) for depth in range(1, len(levels))]


def folder_order(name: str) -> tuple[bool, str]:
    """Sort key of a listing: INBOX first, then by name."""
    return name != INBOX, name
