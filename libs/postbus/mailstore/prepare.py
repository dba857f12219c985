"""From a scanned message to the row that the store keeps. Pure: all slow work is done before the transaction."""

import email.errors
import email.header
import re

from postbus.core.ids import BlobId, EmailId
from postbus.imap.envelope import format_envelope
from postbus.mailstore.values import NewMessage
from postbus.mime.codec import encode_scan
from postbus.mime.values import Scan

MAX_SUBJECT_OCTETS = 4096
"""Of a Subject as far as threads look at it."""
MAX_PREVIEW_CHARACTERS = 256  # RFC 8970 §3.1

# RFC 5256 §2.1 and §5: subj-leader, subj-blob, subj-trailer, subj-fwd-hdr; "aw", "wg", "sv", "vs" are what
# Outlook and Thunderbird write in German and Nordic languages.
_BLOB = r"\[[^\[\]]{0,200}\]\s*"
_LEADER = re.compile(rf"(?:{_BLOB}){{0,8}}(?:re|fwd?|aw|wg|sv|vs)\s*(?:{_BLOB})?:\s*", re.IGNORECASE)
_LEADING_BLOB = re.compile(_BLOB)
_TRAILER = "(fwd)"
_FORWARD_HEADER = "[fwd:"


def prepare_message(
    *, email_id: EmailId, blob_id: BlobId, prefix: bytes, scan: Scan, internal_date_ms: int
) -> NewMessage:
    """The message with structure, ENVELOPE, thread facts and preview ready to be stored."""
    subject, is_reply = base_subject(decode_subject(scan.envelope.subject or b""))
    return NewMessage(
        email_id=email_id,
        blob_id=blob_id,
        prefix=prefix,
        octets=len(prefix) + scan.octets,
        internal_date_ms=internal_date_ms,
        sent_day=scan.sent_day,
        structure=encode_scan(scan),
        envelope=format_envelope(scan.envelope),
        message_id=_storable(scan.message_id),
        references=tuple(_storable(reference) for reference in scan.references),
        thread_subject=subject,
        preview=_storable(scan.preview)[:MAX_PREVIEW_CHARACTERS],
        is_reply=is_reply,
    )


def decode_subject(raw: bytes) -> str:
    """Text of a Subject field: encoded-words decoded (RFC 2047), white space folded."""
    text = raw[:MAX_SUBJECT_OCTETS].decode("utf-8", "replace")
    if "=?" in text:
        try:
            text = str(email.header.make_header(email.header.decode_header(text)))
        except (email.errors.HeaderParseError, LookupError, ValueError):
            pass  # malformed words or an unknown charset: the raw text serves as well for comparing
    return " ".join(_storable(text).split())


def base_subject(subject: str) -> tuple[str, bool]:
    """The base subject, and whether what was taken off marks a reply or forward (RFC 5256 §2.1)."""
    is_reply = False
    text = subject.strip()
    while True:
        while text.lower().endswith(_TRAILER):
            text, is_reply = text[: -len(_TRAILER)].rstrip(), True
        text, found = _strip_leaders(text)
        is_reply = is_reply or found
        if not (text.lower().startswith(_FORWARD_HEADER) and text.endswith("]")):
            return text, is_reply
        text, is_reply = text[len(_FORWARD_HEADER) : -1].strip(), True


def _strip_leaders(text: str) -> tuple[str, bool]:
    found = False
    while True:
        leader = _LEADER.match(text)
        if leader is not None:
            text, found = text[leader.end() :], True
            continue
        blob = _LEADING_BLOB.match(text)
        if blob is None or text.lower().startswith(_FORWARD_HEADER) or not text[blob.end() :]:
            return text, found
        text = text[blob.end() :]


def _storable(text: str) -> str:
    """Postgres text takes neither NUL nor lone surrogates."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()
