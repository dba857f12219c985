"""Streams and subjects: the allow-list of architecture §2 as constants."""

import re

STREAM_MAIL = "MAIL"
SUBJECT_MAIL_ACCEPTED = "mail.accepted"
CONSUMER_DELIVERY = "delivery"

STREAM_TRAINED = "TRAINED"
SUBJECT_MAIL_TRAINED = "mail.trained"
CONSUMER_FILTER = "filter"

STREAM_EVENT = "EVENT"
SUBJECT_EVENT = "event.batch"
SUBJECT_EVENT_ALL = "event.>"
CONSUMER_ADMIN_API = "admin-api"

STREAM_RATES = "RATES"
SUBJECT_RATE_ALL = "rate.>"
MAX_RATE_WINDOW_SECONDS = 86_400
"""Counters are forgotten this long after their last count."""

SUBJECT_FOLDER_CHANGED = "folder.changed"
"""Core NATS wake-up; the mailbox_id follows as the last token."""
SUBJECT_INDEX_WANTED = "index.wanted"
SUBJECT_DIRECTORY_CHANGED = "directory.changed"
SUBJECT_CERTIFICATE_CHANGED = "certificate.changed"

REPLAY_WINDOW_HOURS = 48
"""What delivery keeps below its ack floor, so that a failover or restore can replay."""
REPUBLISH_SECONDS = 60
"""How long a publisher repeats a message with the same id before it answers 451."""
"""Streams' duplicate window must be longer than this."""
DUPLICATE_WINDOW_SECONDS = 600

_COUNTER_KEY = re.compile(r"[A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*\Z")


def folder_changed_subject(mailbox_id: str) -> str:
    """The wake-up subject of one mailbox."""
    return f"{SUBJECT_FOLDER_CHANGED}.{mailbox_id}"


def rate_subject(key: str, window_seconds: int, now_seconds: int) -> str:
    """The counter of a key in the window of that time. Raises ValueError (see `postbus.bus.ports.Counting`)."""
    if not _COUNTER_KEY.match(key) or not 0 < window_seconds <= MAX_RATE_WINDOW_SECONDS:
        raise ValueError(f"counter {key!r} of {window_seconds} s")
    return f"rate.{window_seconds}.{now_seconds // window_seconds}.{key}"
