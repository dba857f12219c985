"""delivery's port: the question before end of DATA, and what became of a message."""

import enum
from typing import Protocol

import msgspec

from postbus.contracts.filter import Recipient, Verdict
from postbus.contracts.notices import NoticeSender
from postbus.contracts.relay_test import RelayTester
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
    """A dead letter: kept whole until an administrator retries or discards it."""
    DSN = "dsn"
    WRITTEN_OFF = "written_off"
    """Missing, and an administrator has settled it."""


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


class GetLedgerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what is wrong to list: at most `limit` each of what is missing and of clashes."""

    limit: int = 100


class MissingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence of stream MAIL that is accounted for nowhere, although the consumer has done with it."""

    stream_sequence: int
    queue_id: str = ""
    """As the stream says; empty: it does not hold the message any more."""
    accepted_ms: int = 0


class LedgerClash(msgspec.Struct, frozen=True, kw_only=True):
    """A stream sequence seen with a second queue_id: the stream was lost or restored. Both messages are accounted."""

    stream_sequence: int
    queue_id: str
    """The later one."""
    first_queue_id: str
    seen_ms: int


class GetLedgerReply(msgspec.Struct, frozen=True, kw_only=True):
    """The books at `at_ms`.

    Exact: accepted = folder + queued + held + dsn + written_off + unconsumed + missing_count.
    """

    at_ms: int
    stream_created_ms: int
    """Identifies the stream: another value is another stream."""
    first_sequence: int
    """The oldest message that the stream still holds."""
    last_sequence: int
    accepted: int
    """All sequences that the stream has ever given out, and those of streams before it."""
    folder: int
    queued: int
    held: int
    dsn: int
    written_off: int
    unconsumed: int
    """Not accounted, and still the consumer's to come: the stream holds them."""
    missing_count: int
    missing: tuple[MissingMessage, ...] = ()
    clash_count: int = 0
    clashes: tuple[LedgerClash, ...] = ()
    alarms: tuple[str, ...] = ()
    """What must not be, for people; empty: the books balance and nothing is wrong."""


class SettleLedgerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Writes off what is missing now and closes the alarms of now; every change is kept with actor and reason."""

    actor: str
    reason: str
    dry_run: bool = False


class SettleLedgerReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was (dry run: would be) settled."""

    missing: int
    clashes: int
    alarms: tuple[str, ...] = ()


class ListHeldRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters in the order of their sequences after `after`, at most `limit`."""

    after: int = 0
    limit: int = 100


class HeldMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter."""

    stream_sequence: int
    queue_id: str
    """Empty: its envelope can't be read."""
    reason: str
    held_ms: int
    reverse_path: str = ""
    forward_paths: tuple[str, ...] = ()
    """The first ten."""
    size_octets: int = 0


class ListHeldReply(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` 0: the last one. `total` counts all."""

    messages: tuple[HeldMessage, ...]
    next_after: int = 0
    total: int = 0


class HeldAction(enum.StrEnum):
    """What an administrator may do to a dead letter."""

    RETRY = "retry"
    """Delivers it now: by the same keys as at first, with forward_paths resolved anew where they lead nowhere."""
    DISCARD = "discard"
    """Gives it up for good; the ledger keeps who did and why."""


class ChangeHeldRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Applies `action` to one dead letter, or to all."""

    action: HeldAction
    actor: str
    stream_sequence: int = 0
    """0: all."""
    reason: str = ""
    dry_run: bool = False


class HeldFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter that stays one."""

    stream_sequence: int
    reason: str


class ChangeHeldReply(msgspec.Struct, frozen=True, kw_only=True):
    """How many were (dry run: would be) changed, and those that were not (the first hundred)."""

    changed: int
    failed: tuple[HeldFailure, ...] = ()


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


class Bookkeeper(Protocol):
    """The port of admin-api: the ledger and the dead letters (promise 1)."""

    async def get_ledger(self, request: GetLedgerRequest) -> GetLedgerReply:
        """The books as they stand. Raises MailError: UNAVAILABLE when database or bus is away."""
        ...

    async def settle_ledger(self, request: SettleLedgerRequest) -> SettleLedgerReply:
        """Writes off what is missing, closes alarms."""
        ...

    async def list_held(self, request: ListHeldRequest) -> ListHeldReply:
        """The dead letters."""
        ...

    async def change_held(self, request: ChangeHeldRequest) -> ChangeHeldReply:
        """Retries or discards dead letters."""
        ...


class Delivery(Prechecker, MessageTracker, QueueControl, Bookkeeper, RelayTester, NoticeSender, Protocol):
    """All that delivery serves."""
