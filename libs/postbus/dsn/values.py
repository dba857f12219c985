"""What a delivery status notification is made of."""

from typing import Literal

import msgspec

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]
"""RFC 3464 §2.3.3; `relayed` and `expanded` answer NOTIFY=SUCCESS (RFC 3461 §5.2.2)."""


class FailedRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient and what became of it; with `delayed`, `delivered` or `relayed` it did not fail (yet)."""

    final_recipient: str
    """The address that was tried, domain in A-labels."""
    original_recipient: str = ""
    """ORCPT as received: address type, `;`, xtext (RFC 3461 §4.2); empty: none."""
    action: Action = "failed"
    status: str = ""
    """Enhanced status code (RFC 3463); one that is malformed or of another class than `action` says is replaced."""
    diagnostic: str = ""
    """The remote's reply with its code; empty: nobody answered."""
    remote_mta: str = ""
    """The host that replied; empty: none."""
    last_attempt_ms: int = 0
    """0: there was none."""
    reason: str = ""
    """For people, one sentence; empty: made from the status."""
    retry_until_ms: int = 0
    """With `delayed`: when delivery is given up; 0: not told."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole notification, about one message."""

    to: str
    """The reverse_path of the original; its caller never reports to the null path (RFC 5321 §6.1)."""
    from_address: str
    """Of its From: header; the envelope's reverse_path is null all the same."""
    reporting_mta: str
    envelope_id: str = ""
    """ENVID as received, in xtext; empty: none."""
    arrival_ms: int
    now_ms: int
    message_id: str
    """Of the notification, with or without its angle brackets."""
    queue_id: str
    """Of the original."""
    recipients: tuple[FailedRecipient, ...]
    original_header: bytes
    """The header section of the original, CRLF line ends, with or without the empty line after it."""
    original: bytes | None = None
    """The whole original, CRLF line ends, to be returned in full (RET=FULL); None: the header section only."""
    smtputf8: bool = False
    """Whether the original came with SMTPUTF8, so that its reverse_path may get UTF-8 header fields (RFC 6533)."""
