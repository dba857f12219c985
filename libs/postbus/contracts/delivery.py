"""delivery's port: the question before end of DATA, and what became of a message."""

import enum
from typing import Protocol

import msgspec

from postbus.contracts.filter import Recipient, Verdict
from postbus.core.ids import MailboxId, QueueId


class PrecheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Asked when a forward_path is a members-only list or its Sieve script can reject (promise 3).

    Once at RCPT with `envelope_only`, where it is a members-only list, and once at end of DATA.
    """

    queue_id: QueueId
    reverse_path: str
    recipients: tuple[Recipient, ...]
    header: bytes
    """The message's header section."""
    size_octets: int
    authenticated_as: str = ""
    """Address of the mailbox that logged in; empty for mail from outside."""
    spf: str = ""
    """filter's result for the reverse_path (RFC 7208); empty: not known."""
    dmarc: str = ""
    """filter's result for the author's domain."""
    envelope_only: bool = False
    """There is no header yet and nothing is proven: REJECT only what no proof could help."""


class PrecheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this recipient would take the message."""

    forward_path: str
    verdict: Verdict
    reason: str = ""


class PrecheckReply(msgspec.Struct, frozen=True, kw_only=True):
    """Results in the order asked for."""

    results: tuple[PrecheckResult, ...]


class Accounted(enum.StrEnum):
    """Where an accepted message ended (promise 1)."""

    FOLDER = "folder"
    QUEUED = "queued"
    HELD = "held"
    DSN = "dsn"


class GetMessageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """By queue_id."""

    queue_id: QueueId


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """One copy: the mailbox and folder that hold it."""

    mailbox_id: MailboxId
    address: str
    folder: str
    uid: int


class QueueState(enum.StrEnum):
    """Of one outgoing copy."""

    WAITING = "waiting"
    """Due at `due_ms`, or being sent right now."""
    HELD = "held"
    """Until an administrator releases it."""
    SENT = "sent"
    FAILED = "failed"
    """Refused for good or out of time; the sender was told by a DSN where there is one to tell."""
    CANCELLED = "cancelled"
    """By an administrator."""


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One outgoing copy: the unit of promise 2 is (queue_id, final recipient)."""

    queue_id: QueueId
    recipient: str
    reverse_path: str
    state: QueueState
    accepted_ms: int
    due_ms: int
    """Of the next attempt; of a finished copy the time of its end."""
    attempts: int
    next_hop: str
    """The recipient's domain, or the smart host as `host:port`; empty before the first attempt."""
    last_reply: str = ""
    """What the remote said last, or what kept us from asking; for people."""
    remote_host: str = ""
    """Who said it."""
    tls: str = ""
    """Protocol and cipher of the last attempt; empty: plain text."""
    size_octets: int = 0
    message_id: str = ""
    expires_ms: int = 0
    """When we give up."""


class GetMessageReply(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's account of a message; NOT_FOUND is raised for an unknown queue_id."""

    queue_id: QueueId
    stream_sequence: int
    accounted: Accounted
    detail: str = ""
    placements: tuple[Placement, ...] = ()
    traceparent: str = ""
    accepted_ms: int = 0
    outgoing: tuple[QueueEntry, ...] = ()
    """Its copies to other hosts."""


class ListQueueRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Entries in the order of (queue_id, recipient) after `after` (as `next_after` said), at most `limit`."""

    after: str = ""
    limit: int = 100
    queue_id: str = ""
    """Only of this message; finished ones too."""
    domain: str = ""
    """Only recipients of this domain."""
    finished: bool = False
    """Also SENT, FAILED and CANCELLED ones; they are kept for some days."""


class ListQueueReply(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one. `waiting` and `held` count the whole queue."""

    entries: tuple[QueueEntry, ...]
    next_after: str = ""
    waiting: int = 0
    held: int = 0


class QueueAction(enum.StrEnum):
    """What an administrator may do to copies that are not finished."""

    RETRY = "retry"
    """Due now."""
    HOLD = "hold"
    RELEASE = "release"
    """From HELD, due now."""
    CANCEL = "cancel"
    """Ends it silently."""
    BOUNCE = "bounce"
    """Ends it as failed, with a DSN."""


class ChangeQueueRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Applies `action` to a message's copies, to all for a domain, or to all: what is given narrows it down."""

    action: QueueAction
    actor: str
    queue_id: str = ""
    recipient: str = ""
    domain: str = ""
    dry_run: bool = False


class ChangeQueueReply(msgspec.Struct, frozen=True, kw_only=True):
    """The copies that were (dry run: would be) changed."""

    changed: int
    busy: int = 0
    """Copies left alone because they are being sent right now."""


class Prechecker(Protocol):
    """The port of smtp-edge."""

    async def precheck(self, request: PrecheckRequest) -> PrecheckReply:
        """Which recipients would refuse this message."""
        ...


class MessageTracker(Protocol):
    """The port of admin-api."""

    async def get_message(self, request: GetMessageRequest) -> GetMessageReply:
        """What became of an accepted message."""
        ...


class QueueControl(Protocol):
    """The port of admin-api."""

    async def list_queue(self, request: ListQueueRequest) -> ListQueueReply:
        """What waits to go out, and why it is still here."""
        ...

    async def change_queue(self, request: ChangeQueueRequest) -> ChangeQueueReply:
        """Retry, hold, release, cancel, bounce."""
        ...


class Delivery(Prechecker, MessageTracker, QueueControl, Protocol):
    """All that delivery serves."""
