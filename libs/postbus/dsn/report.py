"""Composes a delivery status notification as octets; sends nothing and decides nothing about who gets one.

multipart/report (RFC 6522) with a notice for people, message/delivery-status (RFC 3464, RFC 3461 §6) and the original
or its header section; the message/global forms of RFC 6533 only where UTF-8 stands in them and the original came with
SMTPUTF8. Auto-Submitted: auto-replied (RFC 3834 §5). Lines end in CRLF and are at most 998 octets long; all is 7-bit,
except for a returned original that is not, and for what only UTF-8 can say. What can't travel as 8bit (NUL, bare CR or
LF, longer lines) is never returned in full: then the header section goes back alone.
"""

import binascii
import re
from collections.abc import Sequence
from typing import Final

from postbus.dsn.fields import (
    clean_address,
    clean_text,
    decode_xtext,
    format_date,
    format_field,
    format_original_recipient,
    format_recipient,
    to_ascii,
)
from postbus.dsn.notice import original_field, write_notice
from postbus.dsn.values import Action, FailedRecipient, Report

__all__ = ["Action", "FailedRecipient", "Report", "build_report"]

MAX_TRANSPORT_LINE_OCTETS: Final = 998  # RFC 5322 §2.1.1, without CRLF
MAX_RETURNED_HEADER_OCTETS: Final = 64 * 1024
"""Of a header section that goes back; the rest is cut off at a line."""
MAX_RETURNED_OCTETS: Final = 10 * 1024 * 1024
"""Of an original that goes back in full; a larger one goes back as its header section."""

_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z", re.ASCII)
_CLASSES: Final[dict[str, str]] = {"failed": "5", "delayed": "4", "delivered": "2", "relayed": "2", "expanded": "2"}
_SUBJECTS: Final[dict[str, str]] = {
    "failed": "Undelivered mail",
    "delayed": "Delayed mail: delivery is still being tried",
    "delivered": "Delivered mail",
    "relayed": "Relayed mail",
    "expanded": "Relayed mail",
}
_BARE_BREAK: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONG_LINE: Final = re.compile(rb"[^\n]{%d}" % (MAX_TRANSPORT_LINE_OCTETS + 2))
_MESSAGE_ID: Final = re.compile(rb"<[!-;=?-~]{1,500}>")
_NOT_BOUNDARY: Final = re.compile(r"[^0-9A-Za-z]")


class _Part:
    """A body part: its header fields and its body, CRLF line ends."""

    def __init__(self, media_type: str, encoding: str, body: bytes, description: str) -> None:
        head = f"Content-Type: {media_type}\r\nContent-Description: {description}\r\n"
        self.octets = f"{head}Content-Transfer-Encoding: {encoding}\r\n\r\n".encode("ascii") + body


def build_report(report: Report) -> bytes:
    """The notification as a message, CRLF line ends; 7-bit if `isascii()`, else it wants 8BITMIME.

    Raises ValueError without recipients or for an empty `to`: nobody answers the null path (RFC 5321 §6.1).
    """
    if not report.recipients or not report.to:
        raise ValueError("a notification needs a receiver and at least one recipient to tell of")
    statuses = tuple(_status_of(recipient) for recipient in report.recipients)
    parts = [_notice(report, statuses), _delivery_status(report, statuses)]
    returned = _returned(report)
    if returned is not None:
        parts.append(returned)
    boundary = _choose_boundary(report, parts)
    is_7bit = all(part.octets.isascii() for part in parts)
    delimiter = f"--{boundary}\r\n".encode("ascii")
    pieces = [_header(report, boundary, is_7bit).encode("utf-8", "replace"), b"\r\n"]
    pieces.append(b"This is a delivery status notification (RFC 3464).\r\n")
    for part in parts:
        pieces += [b"\r\n", delimiter, part.octets]
    pieces.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    return b"".join(pieces)


def _header(report: Report, boundary: str, is_7bit: bool) -> str:
    """RFC 2045 §6.4: a multipart around something that is 8bit is 8bit itself."""
    utf8 = report.smtputf8
    found = _MESSAGE_ID.search(original_field(report.original_header, b"message-id"))
    original_id = found[0].decode("ascii") if found else ""
    worst = next(action for action in _SUBJECTS if any(item.action == action for item in report.recipients))
    fields = [
        ("Date", format_date(report.now_ms)),
        ("From", f"Mail Delivery System <{clean_address(report.from_address, utf8)}>"),
        ("To", f"<{clean_address(report.to, utf8)}>"),
        ("Subject", _SUBJECTS[worst]),
        ("Message-ID", f"<{to_ascii(clean_text(report.message_id)).strip('<>')}>"),
        ("In-Reply-To", original_id),
        ("References", original_id),
        ("Auto-Submitted", "auto-replied"),
        ("MIME-Version", "1.0"),
        ("Content-Transfer-Encoding", "" if is_7bit else "8bit"),
        ("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'),
    ]
    if not report.to.isascii() and not utf8:
        fields[2] = ("To", "undisclosed-recipients:;")
    return "".join(format_field(name, value) for name, value in fields if value)


def _notice(report: Report, statuses: tuple[str, ...]) -> _Part:
    text = write_notice(report, statuses).replace("\n", "\r\n").encode("utf-8", "replace")
    charset = "us-ascii" if text.isascii() else "utf-8"
    encoding, body = ("7bit", text) if _fits_7bit(text) else ("quoted-printable", _quote(text))
    return _Part(f"text/plain; charset={charset}", encoding, body, "What happened")


def _delivery_status(report: Report, statuses: tuple[str, ...]) -> _Part:
    blocks = [_message_fields(report)]
    pairs = zip(report.recipients, statuses, strict=True)
    blocks += [_recipient_fields(recipient, status, report.smtputf8) for recipient, status in pairs]
    body = "\r\n".join("".join(format_field(name, value) for name, value in block if value) for block in blocks)
    octets = body.encode("utf-8", "replace")
    if octets.isascii():
        return _Part("message/delivery-status", "7bit", octets, "Delivery report")
    return _Part("message/global-delivery-status", "8bit", octets, "Delivery report")


def _message_fields(report: Report) -> list[tuple[str, str]]:
    """RFC 3464 §2.2."""
    return [
        ("Original-Envelope-Id", to_ascii(clean_text(decode_xtext(report.envelope_id), 200))),
        ("Reporting-MTA", f"dns; {to_ascii(clean_text(report.reporting_mta, 255))}"),
        ("Arrival-Date", format_date(report.arrival_ms)),
        ("X-Postbus-Queue-ID", to_ascii(clean_text(report.queue_id, 100))),
    ]


def _recipient_fields(recipient: FailedRecipient, status: str, utf8: bool) -> list[tuple[str, str]]:
    """RFC 3464 §2.3; a reply's octets beyond ASCII become question marks, unless the report may be UTF-8."""
    diagnostic = clean_text(recipient.diagnostic)
    host = to_ascii(clean_text(recipient.remote_mta, 255))
    return [
        ("Original-Recipient", format_original_recipient(recipient.original_recipient, utf8)),
        ("Final-Recipient", format_recipient(recipient.final_recipient, utf8)),
        ("Action", recipient.action),
        ("Status", status),
        ("Remote-MTA", f"dns; {host}" if host else ""),
        ("Diagnostic-Code", f"smtp; {diagnostic if utf8 else to_ascii(diagnostic)}" if diagnostic else ""),
        ("Last-Attempt-Date", format_date(recipient.last_attempt_ms) if recipient.last_attempt_ms else ""),
        ("Will-Retry-Until", format_date(recipient.retry_until_ms) if _is_retried(recipient) else ""),
    ]


def _is_retried(recipient: FailedRecipient) -> bool:
    return recipient.action == "delayed" and recipient.retry_until_ms > 0


def _status_of(recipient: FailedRecipient) -> str:
    """The status, in the class that goes with the action (RFC 3464 §2.3.4); `failed` may say 4: time ran out."""
    wanted = _CLASSES[recipient.action]
    if not _STATUS.match(recipient.status):
        return f"{wanted}.0.0"
    if recipient.action == "failed" and recipient.status[0] == "4":
        return recipient.status
    return wanted + recipient.status[1:]


def _returned(report: Report) -> _Part | None:
    """The original in full, else its header section, else nothing."""
    original = report.original
    if original is not None and len(original) <= MAX_RETURNED_OCTETS and _can_travel(original):
        header = report.original_header
        utf8 = report.smtputf8 and not header.isascii() and _is_utf8(header)
        encoding = "7bit" if original.isascii() else "8bit"
        return _Part("message/global" if utf8 else "message/rfc822", encoding, original, "Your message")
    header = _cut_header(report.original_header)
    if not header:
        return None
    media_type = "text/rfc822-headers"
    if not header.isascii():
        text_type = f"text/rfc822-headers; charset={'utf-8' if _is_utf8(header) else 'unknown-8bit'}"
        media_type = "message/global-headers" if report.smtputf8 and _is_utf8(header) else text_type
    encoding, body = ("7bit", header) if _fits_7bit(header) else ("quoted-printable", _quote(header))
    return _Part(media_type, encoding, body, "Header section of your message")


def _cut_header(header: bytes) -> bytes:
    """Whole lines up to the limit, all ended by CRLF, without the empty line at the end."""
    if len(header) > MAX_RETURNED_HEADER_OCTETS:
        header = header[: header.rfind(b"\n", 0, MAX_RETURNED_HEADER_OCTETS) + 1]
    header = _BARE_BREAK.sub(b"\r\n", header.replace(b"\0", b"")).rstrip(b"\r\n")
    return header + b"\r\n" if header else b""


def _can_travel(octets: bytes) -> bool:
    """Whether they may stand in a message as 8bit (RFC 2045 §2.8)."""
    return b"\0" not in octets and not _BARE_BREAK.search(octets) and not _LONG_LINE.search(octets)


def _fits_7bit(octets: bytes) -> bool:
    return octets.isascii() and _can_travel(octets)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _quote(octets: bytes) -> bytes:
    """Quoted-printable (RFC 2045 §6.7) of text with CRLF line ends."""
    quoted = binascii.b2a_qp(octets.replace(b"\r\n", b"\n"), istext=True)
    return quoted.replace(b"\n", b"\r\n")


def _choose_boundary(report: Report, parts: Sequence[_Part]) -> str:
    """One that stands in no part: strangers wrote some of them, and know the queue id perhaps."""
    stem = _NOT_BOUNDARY.sub("", report.queue_id)[:40] or "report"
    number = 0
    while any(f"--=_{stem}_{number}".encode("ascii") in part.octets for part in parts):
        number += 1
    return f"=_{stem}_{number}"
