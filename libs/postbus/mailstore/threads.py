"""What puts messages into one thread: 64-bit keys of message-ids and base subjects, stored: they never change."""

import hashlib

from postbus.mailstore.values import NewMessage

MAX_REFERENCES = 32
"""The first one and the last ones count: a thread's root and the nearest parents."""


def _key(kind: bytes, text: str) -> int:
    digest = hashlib.blake2b(kind + text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def id_keys(message: NewMessage) -> tuple[int, ...]:
    """Keys of the message's own id and of its references, the nearest first; a thread knowing any of them takes it."""
    references = message.references
    if len(references) > MAX_REFERENCES:
        references = (references[0], *references[-(MAX_REFERENCES - 1) :])
    names = (message.message_id, *reversed(references))
    return tuple(dict.fromkeys(_key(b"id:", name) for name in names if name))


def subject_key(message: NewMessage) -> int | None:
    """Key of the base subject, under which later replies without references find the thread."""
    return _key(b"subject:", message.thread_subject.casefold()) if message.thread_subject else None


def joins_by_subject(message: NewMessage) -> bool:
    """A reply without references: only then the subject decides."""
    return message.is_reply and not message.references and bool(message.thread_subject)
