"""From a scanned message to the row that the store keeps. Pure: all slow work is done before the transaction."""

import email.errors
import email.header
import re

import msgspec

from postbus.core.ids import BlobId, EmailId
from postbus.imap.envelope import format_envelope
from postbus.mailstore.values import NewMessage
from postbus.mime.codec import encode_scan
from postbus.mime.scanner import scan_message
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
    described = complete_scan(scan, prefix)
    subject, is_reply = base_subject(decode_subject(scan.envelope.subject or b""))
    return NewMessage(
        email_id=email_id,
        blob_id=blob_id,
        prefix=prefix,
        octets=len(prefix) + scan.octets,
        internal_date_ms=internal_date_ms,
        sent_day=described.sent_day,
        structure=encode_scan(scan),
        envelope=format_envelope(described.envelope),
        message_id=_storable(described.message_id),
        references=tuple(_storable(reference) for reference in scan.references),
        thread_subject=subject,
        preview=_storable(scan.preview)[:MAX_PREVIEW_CHARACTERS],
        is_reply=is_reply,
    )


def complete_scan(scan: Scan, prefix: bytes) -> Scan:
    """The scan with author, date and Message-ID of the prefix where the message itself has none (RFC 6409 §8).

    For ENVELOPE and the like: as a structure it would be wrong, its offsets are the blob's.
    """
    envelope = scan.envelope
    if envelope.from_ and envelope.date is not None and envelope.message_id is not None:
        return scan
    added = scan_message(prefix + b"\r\n")
    from_ = envelope.from_ or added.envelope.from_
    undated = envelope.date is None
    return msgspec.structs.replace(
        scan,
        envelope=msgspec.structs.replace(
            envelope,
            date=added.envelope.date if undated else envelope.date,
            from_=from_,
            sender=envelope.sender or from_,
            reply_to=envelope.reply_to or from_,
            message_id=envelope.message_id if envelope.message_id is not None else added.envelope.message_id,
        ),
        message_id=scan.message_id or added.message_id,
        sent_ms=added.sent_ms if undated else scan.sent_ms,
        sent_day=added.sent_day if undated else scan.sent_day,
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
