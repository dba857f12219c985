"""Queue ids as people type them."""

import re

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QUEUE_ID_LENGTH, QueueId

_QUEUE_ID = re.compile(rf"[0-9A-HJKMNP-TV-Z]{{{QUEUE_ID_LENGTH}}}\Z")


def check_queue_id(text: str) -> QueueId:
    """A queue id in either case. Raises MailError: INVALID."""
    if not _QUEUE_ID.match(text.upper()):
        raise MailError(ErrorKind.INVALID, f"queue_id: {QUEUE_ID_LENGTH} letters and digits")
    return QueueId(text.upper())
