"""What a mailing list's copies carry: the bounce_path, and the mark by which a list knows what it has seen.

Each copy that leaves a list has a Delivered-To field with the list's address (RFC 9228 §4). A list that finds its own
address there has distributed that message before: two lists that name each other, here or on two hosts, would
otherwise send it round and round, to all members each time, until RFC 5321 §6.3's count of Received fields ends it.
"""

from collections.abc import Iterable
from typing import Final

BOUNCES_SUFFIX: Final = "-bounces"
"""Of a list's local_part: where failures of its copies go."""
MARK_FIELD: Final = "delivered-to"


def list_of_bounce_path(bounce_path: str) -> str:
    """The list whose failures go to `bounce_path`; empty: it is no list's."""
    local_part, _, domain = bounce_path.rpartition("@")
    name = local_part.removesuffix(BOUNCES_SUFFIX)
    return f"{name}@{domain}" if name and name != local_part else ""


def make_mark(bounce_path: str) -> bytes:
    """The field that a list's copies carry; nothing where `bounce_path` is no list's."""
    address = list_of_bounce_path(bounce_path)
    return f"Delivered-To: {address}\r\n".encode() if address else b""


def has_seen(bounce_path: str, marks: Iterable[bytes]) -> bool:
    """Whether the list of `bounce_path` is named by one of these values of Delivered-To."""
    wanted = list_of_bounce_path(bounce_path).encode()
    return bool(wanted) and any(mark.strip(b" \t\r\n<>").lower() == wanted for mark in marks)
