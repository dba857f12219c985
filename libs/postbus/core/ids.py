"""Identifiers and how they are made.

Each identifier has its own NewType, because mixing a queue_id with a message_id or an email_id loses mail
(docs/glossary.md tells them apart). Time-ordered identifiers are UUIDv7 (RFC 9562 §5.7).
"""

import os
from typing import NewType

QueueId = NewType("QueueId", str)
"""Ours, one per accepted message: 26 characters of Crockford base32, sorted by time of acceptance."""
MailboxId = NewType("MailboxId", str)
"""UUID text form of the account that stores mail."""
FolderId = NewType("FolderId", int)
"""Number of a folder within its mailbox, allotted from 1 and never used again."""
BlobId = NewType("BlobId", str)
"""`YYYYMMDD-<sha256 hex>`: generation day (UTC) and content hash of the stored bytes."""
EmailId = NewType("EmailId", str)
"""UUID text form; one per stored message, the same in every folder that holds it (RFC 8474)."""
ThreadId = NewType("ThreadId", str)
"""UUID text form; shared by the messages of one conversation (RFC 8474)."""
Uid = NewType("Uid", int)
ModSeq = NewType("ModSeq", int)

QUEUE_ID_LENGTH = 26

_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_uuid7(now_ms: int, entropy: bytes | None = None) -> str:
    """A UUIDv7 for the Unix time `now_ms` in milliseconds (RFC 9562 §5.7); `entropy` is 10 octets, for tests."""
    tail = int.from_bytes(entropy if entropy is not None else os.urandom(10), "big")
    value = (now_ms & 0xFFFFFFFFFFFF) << 80 | tail
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_queue_id(now_ms: int, entropy: bytes | None = None) -> QueueId:
    """A queue_id for the Unix time `now_ms` in milliseconds: 48 bits of time, 80 bits of entropy, sortable."""
    value = (now_ms & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(entropy if entropy is not None else os.urandom(10), "big")
    return QueueId("".join(_BASE32[value >> shift & 31] for shift in range(125, -1, -5)))


def new_mailbox_id(now_ms: int) -> MailboxId:
    """A new mailbox_id."""
    return MailboxId(new_uuid7(now_ms))


def new_email_id(now_ms: int) -> EmailId:
    """A new email_id."""
    return EmailId(new_uuid7(now_ms))
