"""The form of a blob_id: generation day (UTC) + SHA-256 of the octets."""

import datetime
import re

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import BlobId

_BLOB_ID = re.compile(r"[0-9]{8}-[0-9a-f]{64}\Z", re.ASCII)


def check_blob_id(blob_id: str) -> BlobId:
    """The id itself. Raises MailError INVALID for anything of another form: it never reaches a path."""
    if _BLOB_ID.match(blob_id) is None:
        raise MailError(ErrorKind.INVALID, "malformed blob_id")
    return BlobId(blob_id)


def format_blob_id(now_ms: int, digest_hex: str) -> BlobId:
    """The id of content with this SHA-256, stored at `now_ms`."""
    day = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    return BlobId(f"{day:%Y%m%d}-{digest_hex}")
