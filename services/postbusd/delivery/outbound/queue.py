"""The queue's values and ports: what is written about outgoing copies, by whom.

Invariants: a copy is one row by (queue_id, recipient); only who holds its lease reports an attempt, and a lease's token
is never given twice; a copy that is finished never changes again; what becomes of a copy, the events about it and the
DSN that follows are one transaction.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from postbus.contracts.delivery import (
    ChangeQueueReply,
    ChangeQueueRequest,
    ListQueueReply,
    ListQueueRequest,
    QueueEntry,
    QueueState,
)
from postbus.contracts.events import Event, MailAccepted, Origin
from postbus.core.ids import BlobId, QueueId
from postbus.mailstore.ports import Publish
from postbusd.delivery.ports import LedgerEntry


class QueuedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What all copies of a message share."""

    queue_id: QueueId
    origin: Origin
    blob_id: BlobId
    blob_octets: int
    prefix: bytes
    """Without Return-Path."""
    body: str
    smtputf8: bool
    ret: str
    envid: str
    message_id: str
    accepted_ms: int
    expires_ms: int
    traceparent: str


class NewCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that is to be entered."""

    recipient: str
    domain: str
    reverse_path: str
    route_domain: str
    """The domain whose relay and DKIM keys the copy gets."""
    notify: tuple[str, ...] = ()
    orcpt: str = ""
    held: bool = False
    """An administrator has to release it first."""


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its copies, as delivery enters them."""

    message: QueuedMessage
    copies: tuple[NewCopy, ...]


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A copy under our lease."""

    message: QueuedMessage
    copy: NewCopy
    attempts: int
    """Before this one."""
    lease_token: int

    @property
    def destination(self) -> tuple[str, str]:
        """What copies are grouped by: whose route, to which domain."""
        return self.copy.route_domain, self.copy.domain


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one claimed copy."""

    queue_id: QueueId
    recipient: str
    lease_token: int
    state: QueueState
    """WAITING: again at `due_ms`."""
    due_ms: int
    counts: bool = True
    """False: nobody was asked, it is no attempt."""
    next_hop: str = ""
    reply: str = ""
    status: str = ""
    remote_host: str = ""
    tls: str = ""
    report_id: str = ""
    """FAILED: queue_id of the DSN that tells of it."""


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What is committed together."""

    attempts: tuple[Attempt, ...]
    events: tuple[Event, ...] = ()
    report: MailAccepted | None = None
    """The DSN about the failed ones; its blob is stored already."""


class ClaimLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one claim may take, so that no destination takes the connections of the others."""

    destinations: int
    copies_each: int
    full: tuple[tuple[str, str], ...] = ()
    """Destinations that have all the connections that they may have."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Copies that are not finished."""

    waiting: int = 0
    held: int = 0
    oldest_ms: int = 0
    """When the oldest message with a waiting copy was accepted; 0: there is none."""


class QueueWriter(Protocol):
    """The port of the worker. Raises MailError: UNAVAILABLE."""

    async def enter(
        self, entries: Sequence[LedgerEntry], outgoing: Sequence[Outgoing], now_ms: int
    ) -> list[LedgerEntry]:
        """Enters copies that are not there yet, events `queued` about them and the ledger's entries, at once.

        Returns the entries whose sequence stands in the ledger with another queue_id, as `Ledger.record` does.
        """
        ...


class QueueLeases(Protocol):
    """The port of the scheduler. Raises MailError: UNAVAILABLE."""

    @property
    def holds_lock(self) -> bool:
        """Whether others can see that this process lives; without it, it claims nothing."""
        ...

    async def claim(self, owner: str, now_ms: int, until_ms: int, limits: ClaimLimits) -> list[Claimed]:
        """Leases due copies, those of a destination together, the destination that is due longest first."""
        ...

    async def renew(self, owner: str, tokens: Sequence[int], until_ms: int) -> None:
        """Moves the end of these leases of this owner: of a claim whose answer it never got, it knows nothing."""
        ...

    async def give_back(self, owner: str, claimed: Sequence[Claimed], due_ms: int) -> None:
        """Ends leases of copies about which nothing was reported; they are due again, not before `due_ms`."""
        ...

    async def release(self, owner: str) -> int:
        """Ends all leases of an owner; how many."""
        ...

    async def finish(self, owner: str, outcomes: Outcomes) -> bool:
        """Commits outcomes, and in the ledger what became of a message whose last copy has ended.

        False and nothing written when a lease is not ours any more.
        """
        ...

    async def release_orphans(self, owner: str, suspects: Sequence[str]) -> list[str]:
        """Owners of leases, other than `owner`, whose process holds no lock now; leases of those who are also in
        `suspects` (they held none when we looked before) are ended."""
        ...


class QueueBooks(Protocol):
    """The port of the administrator. Raises MailError: UNAVAILABLE."""

    async def page(self, request: ListQueueRequest) -> ListQueueReply:
        """One page."""
        ...

    async def entries(self, queue_id: QueueId) -> tuple[QueueEntry, ...]:
        """All copies of a message."""
        ...

    async def change(self, request: ChangeQueueRequest, now_ms: int) -> ChangeQueueReply:
        """RETRY, HOLD, RELEASE, CANCEL of what is not busy; with `dry_run` only counts."""
        ...

    async def take(
        self, owner: str, request: ChangeQueueRequest, now_ms: int, until_ms: int, limit: int
    ) -> list[Claimed]:
        """Leases up to `limit` of the copies that a request names, due or not, held or not, but none that is busy."""
        ...

    async def counts(self) -> Counts:
        """For the metric."""
        ...


class QueueUpkeep(Protocol):
    """The port of the loops beside the scheduler. Raises MailError: UNAVAILABLE."""

    async def trim(self, before_ms: int, limit: int) -> int:
        """Forgets messages all of whose copies were finished before; how many."""
        ...

    async def relay_events(self, limit: int, publish: Publish) -> int:
        """Claims rows of the event outbox, publishes and deletes them."""
        ...

    async def add_report(self, accepted: MailAccepted) -> None:
        """One more message of our own for `relay_reports`."""
        ...

    async def relay_reports(self, limit: int, publish: "PublishMail") -> int:
        """Publishes DSNs and deletes each after its PubAck; a repeated publish is no double, so nothing is locked."""
        ...


class PublishMail(Protocol):
    """Returns after the PubAck."""

    async def __call__(self, accepted: MailAccepted, /) -> int:
        """Raises MailError: the row stays."""
        ...


class Queue(QueueWriter, QueueLeases, QueueBooks, QueueUpkeep, Protocol):
    """All of it."""
