"""delivery's port: the question before end of DATA, and what became of a message."""

import enum
from typing import Protocol

import msgspec

from postbus.contracts.filter import Recipient, Verdict
from postbus.core.ids import MailboxId, QueueId


class PrecheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Asked when a forward_path is a members-only list or its Sieve script can reject (promise 3)."""

    queue_id: QueueId
    reverse_path: str
    recipients: tuple[Recipient, ...]
    header: bytes
    """The message's header section."""
    size_octets: int


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


class GetMessageReply(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's account of a message; NOT_FOUND is raised for an unknown queue_id."""

    queue_id: QueueId
    stream_sequence: int
    accounted: Accounted
    detail: str = ""
    placements: tuple[Placement, ...] = ()
    traceparent: str = ""


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


class Delivery(Prechecker, MessageTracker, Protocol):
    """All that delivery serves."""
