"""What travels on the bus: mirrors proto/postbus/events/v1. Subjects and streams are constants of `postbus.bus`."""

import enum

import msgspec

from postbus.contracts.directory import Resolution
from postbus.contracts.filter import CheckMessageReply
from postbus.core.ids import BlobId, FolderId, MailboxId, ModSeq, QueueId


class Origin(enum.StrEnum):
    """How a message reached us."""

    SMTP = "smtp"
    SUBMISSION = "submission"
    DSN = "dsn"
    VACATION = "vacation"


class ForwardPath(msgspec.Struct, frozen=True, kw_only=True):
    """One RCPT with its DSN parameters (RFC 3461 §4.1, §4.2)."""

    address: str
    resolution: Resolution
    """As answered at RCPT; delivery resolves again when it is older than its cache allows."""
    notify: tuple[str, ...] = ()
    orcpt: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """reverse_path + forward_paths + parameters (docs/glossary.md)."""

    reverse_path: str
    """Empty: the null path."""
    forward_paths: tuple[ForwardPath, ...]
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Who handed the message in."""

    address: str
    name: str = ""
    helo: str = ""
    tls: str = ""
    """Protocol and cipher; empty: plain text."""
    mailbox_id: MailboxId | None = None
    """The mailbox that logged in."""


class MailAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """`mail.accepted`: we own this message (architecture §3.4)."""

    queue_id: QueueId
    origin: Origin
    accepted_ms: int
    envelope: Envelope
    client: Client
    blob_id: BlobId
    blob_octets: int
    verdict: CheckMessageReply
    prefix: bytes
    """Trace and filter header fields before the blob: Return-Path excluded, Received first."""
    scan: bytes
    """`postbus.mime.codec` form of the blob's MIME scan."""
    traceparent: str = ""


class FolderChanged(msgspec.Struct, frozen=True, kw_only=True):
    """`folder.changed.<mailbox_id>`: a wake-up, may be lost (architecture §3.6)."""

    mailbox_id: MailboxId
    folder_ids: tuple[FolderId, ...]
    mod_seq: ModSeq


class IndexWanted(msgspec.Struct, frozen=True, kw_only=True):
    """`index.wanted`: a wake-up for indexer, may be lost."""

    count: int


class DirectoryChanged(msgspec.Struct, frozen=True, kw_only=True):
    """`directory.changed`: caches up to `revision` are stale."""

    revision: int
    addresses: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


class CertificateChanged(msgspec.Struct, frozen=True, kw_only=True):
    """`certificate.changed`: fetch the certificates again."""

    revision: int


class EventType(enum.StrEnum):
    """The closed list of architecture §2; the publishing service stands beside each."""

    RECEIVED = "received"  # smtp-edge
    DENIED = "denied"  # smtp-edge
    QUEUED = "queued"  # delivery
    DELIVERED = "delivered"  # delivery
    DEFERRED = "deferred"  # delivery
    BOUNCED = "bounced"  # delivery
    QUARANTINED = "quarantined"  # delivery
    HAM_TRAINED = "ham_trained"  # filter
    SPAM_TRAINED = "spam_trained"  # filter
    QUOTA_80 = "quota_80"  # delivery
    QUOTA_95 = "quota_95"  # delivery
    QUOTA_OVER = "quota_over"  # delivery
    LOGIN = "login"  # smtp-edge, imap-gateway
    LOGIN_FAILED = "login_failed"  # smtp-edge, imap-gateway
    RELAY_FAILURE = "relay_failure"  # delivery
    DNS = "dns"  # dns-provisioner
    CERTIFICATE = "certificate"  # dns-provisioner
    CONFIGURATION = "configuration"  # directory, admin-api


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an administrator may want to know. Never a secret, a body or a subject."""

    event_id: str
    type: EventType
    at_ms: int
    service: str
    summary: str
    queue_id: str = ""
    message_id: str = ""
    domain: str = ""
    mailbox: str = ""
    """The address, as administrators know it."""
    reverse_path: str = ""
    forward_path: str = ""
    client_address: str = ""
    detail: str = ""
    traceparent: str = ""


class EventBatch(msgspec.Struct, frozen=True, kw_only=True):
    """`event.batch`: many events in one bus message."""

    events: tuple[Event, ...]
