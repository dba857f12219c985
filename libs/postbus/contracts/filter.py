"""filter's port: what to do with a connection and with a message, and why."""

import enum
from typing import Protocol

import msgspec

from postbus.core.ids import BlobId, MailboxId, QueueId


class Verdict(enum.StrEnum):
    """The filter's word (docs/glossary.md)."""

    ACCEPT = "accept"
    REJECT = "reject"
    DEFER = "defer"
    QUARANTINE = "quarantine"
    """Accepted, and filed under Spam."""


class TestHit(msgspec.Struct, frozen=True, kw_only=True):
    """A test that matched and what it weighs."""

    name: str
    score: float
    detail: str = ""


class CheckConnectionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client has connected."""

    client_address: str


class CheckConnectionReply(msgspec.Struct, frozen=True, kw_only=True):
    """ACCEPT, or REJECT with a reply text; the tests count towards the message's score."""

    verdict: Verdict
    reply_text: str = ""
    tests: tuple[TestHit, ...] = ()
    client_name: str = ""
    """The forward-confirmed host name (FCrDNS); empty: none."""


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """A forward_path and the mailboxes behind it."""

    forward_path: str
    mailbox_ids: tuple[MailboxId, ...] = ()


class CheckMessageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message at end of DATA. Either `content` (up to 256 KiB) or `blob_id` is given (architecture §3.3)."""

    queue_id: QueueId
    client_address: str
    client_name: str = ""
    helo: str
    reverse_path: str
    """Empty: the null path."""
    recipients: tuple[Recipient, ...]
    authenticated_as: str = ""
    """Address of the mailbox that logged in; empty for mail from outside."""
    tls: bool = False
    smtputf8: bool = False
    content: bytes = b""
    blob_id: BlobId | None = None
    size_octets: int
    scan: bytes = b""
    """`postbus.mime.codec` form of the MIME scan; empty: filter scans itself."""


class RecipientVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the verdict that holds for one recipient only."""

    forward_path: str
    verdict: Verdict
    score: float
    tests: tuple[TestHit, ...] = ()


class CheckMessageReply(msgspec.Struct, frozen=True, kw_only=True):
    """Base verdict, verdicts per recipient where they differ, and the header fields to add."""

    verdict: Verdict
    score: float
    required: float
    tests: tuple[TestHit, ...] = ()
    recipients: tuple[RecipientVerdict, ...] = ()
    """Only recipients whose verdict differs from the base."""
    prefix: bytes = b""
    """Header fields to put before the message, each ending in CRLF: Authentication-Results, X-Spam-Status …"""
    reply_text: str = ""
    """For REJECT and DEFER: the reason to tell the client, one line of ASCII."""
    reply_enhanced: str = ""
    """For REJECT and DEFER: the enhanced code, as 5.7.1."""
    spf: str = "none"
    """RFC 7208 result of the reverse_path (or HELO for the null path)."""
    dkim: str = "none"
    dmarc: str = "none"
    author_domain: str = ""
    """Domain of the From: header, lower-case A-labels."""


class ConnectionFilter(Protocol):
    """The port of smtp-edge at connect."""

    async def check_connection(self, request: CheckConnectionRequest) -> CheckConnectionReply:
        """Judges the client's address (cached per network)."""
        ...


class MessageFilter(Protocol):
    """The port of smtp-edge at end of DATA."""

    async def check_message(self, request: CheckMessageRequest) -> CheckMessageReply:
        """Judges a message; a missing check is a `*_UNAVAILABLE` test, never an error (promise 4)."""
        ...


class Filter(ConnectionFilter, MessageFilter, Protocol):
    """All that filter serves."""
