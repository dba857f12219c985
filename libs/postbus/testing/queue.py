"""The fake of delivery's `Queue` port, and builders of what goes into it."""

import itertools
from collections import Counter
from collections.abc import Sequence

import msgspec

from postbus.contracts.delivery import (
    Accounted,
    ChangeQueueReply,
    ChangeQueueRequest,
    ListQueueReply,
    ListQueueRequest,
    QueueAction,
    QueueEntry,
    QueueState,
)
from postbus.contracts.events import Event, MailAccepted, Origin
from postbus.core.errors import MailError
from postbus.core.ids import BlobId, QueueId
from postbus.mailstore.ports import Publish
from postbus.testing.ledger import MemoryLedger
from postbusd.delivery.outbound.news import queued_events
from postbusd.delivery.outbound.queue import (
    Claimed,
    ClaimLimits,
    Counts,
    NewCopy,
    Outcomes,
    Outgoing,
    PublishMail,
    QueuedMessage,
)
from postbusd.delivery.ports import LedgerEntry

OPEN = (QueueState.WAITING, QueueState.HELD)
NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000


def queued_message(queue_id: str, **changes: object) -> QueuedMessage:
    """A message of alice@ours.example."""
    made = QueuedMessage(
        queue_id=QueueId(queue_id),
        origin=Origin.SUBMISSION,
        blob_id=BlobId("20261122-" + "0" * 64),
        blob_octets=500,
        prefix=b"Received: from here\r\n",
        body="8BITMIME",
        smtputf8=False,
        ret="",
        envid="",
        message_id=f"<{queue_id}@ours.example>",
        accepted_ms=NOW_MS,
        expires_ms=NOW_MS + 5 * DAY_MS,
        traceparent="",
    )
    return msgspec.structs.replace(made, **changes)


def new_copy(recipient: str, **changes: object) -> NewCopy:
    """A copy from alice@ours.example."""
    made = NewCopy(
        recipient=recipient,
        domain=recipient.rpartition("@")[2],
        reverse_path="alice@ours.example",
        route_domain="ours.example",
    )
    return msgspec.structs.replace(made, **changes)


def outgoing(queue_id: str, *recipients: str) -> Outgoing:
    """A message with copies."""
    copies = tuple(new_copy(recipient) for recipient in recipients)
    return Outgoing(message=queued_message(queue_id), copies=copies)


def ledger_entry(sequence: int, queue_id: str) -> LedgerEntry:
    """Of a message that waits in the queue."""
    return LedgerEntry(
        stream_sequence=sequence, queue_id=QueueId(queue_id), accounted=Accounted.QUEUED, accepted_ms=NOW_MS
    )


class Row:
    """One copy."""

    def __init__(self, message: QueuedMessage, copy: NewCopy, due_ms: int) -> None:
        self.message = message
        self.copy = copy
        self.state = QueueState.WAITING
        self.due_ms = due_ms
        self.attempts = 0
        self.owner = ""
        self.token = 0
        self.until_ms = 0
        self.last: dict[str, str] = {}

    def claimed(self) -> Claimed:
        """As its leaseholder sees it."""
        return Claimed(message=self.message, copy=self.copy, attempts=self.attempts, lease_token=self.token)

    def entry(self) -> QueueEntry:
        """As administrators see it."""
        return QueueEntry(
            queue_id=self.message.queue_id,
            recipient=self.copy.recipient,
            reverse_path=self.copy.reverse_path,
            state=self.state,
            accepted_ms=self.message.accepted_ms,
            due_ms=self.due_ms,
            attempts=self.attempts,
            next_hop=self.last.get("next_hop", ""),
            last_reply=self.last.get("reply", ""),
            remote_host=self.last.get("remote_host", ""),
            tls=self.last.get("tls", ""),
            size_octets=self.message.blob_octets + len(self.message.prefix),
            message_id=self.message.message_id,
            expires_ms=self.message.expires_ms,
        )

    def lease(self, owner: str, token: int, until_ms: int) -> Claimed:
        """To an owner."""
        self.owner, self.token, self.until_ms = owner, token, until_ms
        return self.claimed()

    def free(self) -> None:
        """Nobody's."""
        self.owner, self.until_ms = "", 0


class MemoryQueue:
    """The queue in a dict; `fail_with` makes it an absent database, `locks` holds the owners that are alive."""

    def __init__(self, ledger: MemoryLedger | None = None) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.ledger = ledger or MemoryLedger()
        self.events: list[Event] = []
        self.reports: dict[str, MailAccepted] = {}
        self.locks: set[str] = set()
        self.holds_lock = True
        self.fail_with: MailError | None = None
        self._tokens = itertools.count(1)

    async def enter(
        self, entries: Sequence[LedgerEntry], outgoing: Sequence[Outgoing], now_ms: int
    ) -> list[LedgerEntry]:
        """Rows, events and ledger together."""
        self._touch()
        clashes = await self.ledger.record(entries)
        new: set[tuple[str, str]] = set()
        for each in outgoing:
            for copy in each.copies:
                key = (each.message.queue_id, copy.recipient)
                if key not in self.rows:
                    self.rows[key] = Row(each.message, copy, now_ms)
                    self.rows[key].state = QueueState.HELD if copy.held else QueueState.WAITING
                    new.add(key)
        self.events += queued_events(outgoing, new, now_ms)
        return clashes

    async def claim(self, owner: str, now_ms: int, until_ms: int, limits: ClaimLimits) -> list[Claimed]:
        """The longest due first, a batch a destination."""
        self._touch()
        chosen: dict[tuple[str, str], list[Row]] = {}
        for row in sorted(self.rows.values(), key=lambda row: (row.due_ms, row.message.queue_id)):
            name = row.claimed().destination
            if row.state is not QueueState.WAITING or max(row.due_ms, row.until_ms) > now_ms or name in limits.full:
                continue
            if name in chosen or len(chosen) < limits.destinations:
                chosen.setdefault(name, []).append(row)
        rows = [row for each in chosen.values() for row in each[: limits.copies_each]]
        rows.sort(key=lambda row: (row.due_ms, row.message.queue_id, row.copy.recipient))
        return [row.lease(owner, next(self._tokens), until_ms) for row in rows]

    async def take(
        self, owner: str, request: ChangeQueueRequest, now_ms: int, until_ms: int, limit: int
    ) -> list[Claimed]:
        """Whatever is open and not busy."""
        self._touch()
        free = [row for row in self._wanted(request, OPEN) if row.until_ms <= now_ms]
        return [row.lease(owner, next(self._tokens), until_ms) for row in free[:limit]]

    async def renew(self, owner: str, tokens: Sequence[int], until_ms: int) -> None:
        """These of an owner."""
        self._touch()
        for row in self._of(owner):
            if row.token in tokens:
                row.until_ms = until_ms

    async def release(self, owner: str) -> int:
        """All of an owner."""
        self._touch()
        rows = self._of(owner)
        for row in rows:
            row.free()
        return len(rows)

    async def finish(self, owner: str, outcomes: Outcomes) -> bool:
        """All or nothing."""
        self._touch()
        rows = [(self.rows[(each.queue_id, each.recipient)], each) for each in outcomes.attempts]
        if not all(row.owner == owner and row.token == each.lease_token and row.state in OPEN for row, each in rows):
            return False
        for row, each in rows:
            row.free()
            row.state, row.due_ms = each.state, each.due_ms
            row.attempts += each.counts
            next_hop = each.next_hop or row.last.get("next_hop", "")
            row.last = {
                "next_hop": next_hop,
                "reply": each.reply,
                "remote_host": each.remote_host,
                "tls": each.tls,
                "report_id": each.report_id,
            }
        self.events += outcomes.events
        if outcomes.report is not None:
            self.reports[outcomes.report.queue_id] = outcomes.report
        for queue_id in {each.queue_id for each in outcomes.attempts}:
            self.settle(queue_id)
        return True

    async def give_back(self, owner: str, claimed: Sequence[Claimed], due_ms: int) -> None:
        """Those that are still leased so."""
        self._touch()
        tokens = {each.lease_token for each in claimed}
        for row in self._of(owner):
            if row.token in tokens:
                row.free()
                row.due_ms = max(row.due_ms, due_ms)

    async def release_orphans(self, owner: str, suspects: Sequence[str]) -> list[str]:
        """Owners without a lock."""
        self._touch()
        orphans = {row.owner for row in self.rows.values()} - self.locks - {"", owner}
        for dead in orphans & set(suspects):
            await self.release(dead)
        return sorted(orphans - set(suspects))

    async def page(self, request: ListQueueRequest) -> ListQueueReply:
        """One page."""
        self._touch()
        after = tuple(request.after.split("/", 1)) if request.after else ("", "")
        finished = request.finished or bool(request.queue_id)
        rows = [
            row
            for key, row in sorted(self.rows.items())
            if key > after
            and request.queue_id in {"", key[0]}
            and request.domain in {"", row.copy.domain}
            and (finished or row.state in OPEN)
        ]
        counts = await self.counts()
        page = [row.entry() for row in rows[: request.limit]]
        more = len(rows) > request.limit
        return ListQueueReply(
            entries=tuple(page),
            next_after=f"{page[-1].queue_id}/{page[-1].recipient}" if more else "",
            waiting=counts.waiting,
            held=counts.held,
        )

    async def entries(self, queue_id: QueueId) -> tuple[QueueEntry, ...]:
        """All of a message."""
        self._touch()
        return tuple(row.entry() for key, row in sorted(self.rows.items()) if key[0] == queue_id)

    async def change(self, request: ChangeQueueRequest, now_ms: int) -> ChangeQueueReply:
        """What is not busy."""
        self._touch()
        states = {
            QueueAction.RETRY: (QueueState.WAITING,),
            QueueAction.HOLD: (QueueState.WAITING,),
            QueueAction.RELEASE: (QueueState.HELD,),
        }.get(request.action, OPEN)
        wanted = self._wanted(request, states)
        free = [row for row in wanted if row.until_ms <= now_ms]
        for row in [] if request.dry_run else free:
            row.free()
            if request.action is QueueAction.HOLD:
                row.state = QueueState.HELD
            else:
                cancelled = request.action is QueueAction.CANCEL
                row.state = QueueState.CANCELLED if cancelled else QueueState.WAITING
                row.due_ms = now_ms
                self.settle(row.message.queue_id)
        return ChangeQueueReply(changed=len(free), busy=len(wanted) - len(free))

    async def counts(self) -> Counts:
        """Of what is open."""
        self._touch()
        states = [row.state for row in self.rows.values()]
        waiting = sorted(key for key, row in self.rows.items() if row.state is QueueState.WAITING)
        oldest_ms = self.rows[waiting[0]].message.accepted_ms if waiting else 0
        return Counts(waiting=len(waiting), held=states.count(QueueState.HELD), oldest_ms=oldest_ms)

    async def trim(self, before_ms: int, limit: int) -> int:
        """Whole messages."""
        self._touch()
        old = {
            queue_id
            for queue_id in {key[0] for key in self.rows}
            if all(
                row.state not in OPEN and row.due_ms < before_ms for key, row in self.rows.items() if key[0] == queue_id
            )
        }
        self.rows = {key: row for key, row in self.rows.items() if key[0] not in old}
        return len(old)

    async def relay_events(self, limit: int, publish: Publish) -> int:
        """Publishes and forgets."""
        self._touch()
        claimed = self.events[:limit]
        if claimed:
            await publish(claimed)
            del self.events[: len(claimed)]
        return len(claimed)

    async def add_report(self, accepted: MailAccepted) -> None:
        """One more."""
        self._touch()
        self.reports[accepted.queue_id] = accepted

    async def relay_reports(self, limit: int, publish: PublishMail) -> int:
        """Publishes and forgets."""
        self._touch()
        claimed = list(self.reports)[:limit]
        for queue_id in claimed:
            await publish(self.reports[queue_id])
        for queue_id in claimed:
            del self.reports[queue_id]
        return len(claimed)

    def _of(self, owner: str) -> list[Row]:
        return [row for row in self.rows.values() if row.owner == owner]

    def _wanted(self, request: ChangeQueueRequest, states: Sequence[QueueState]) -> list[Row]:
        return [
            row
            for (queue_id, recipient), row in sorted(self.rows.items())
            if row.state in states
            and request.queue_id in {"", queue_id}
            and request.recipient in {"", recipient}
            and request.domain in {"", row.copy.domain}
        ]

    def settle(self, queue_id: str) -> None:
        """Says in the ledger what became of a message whose last copy has ended."""
        rows = [row for key, row in self.rows.items() if key[0] == queue_id]
        if any(row.state in OPEN for row in rows):
            return
        counts = Counter(row.state.value for row in rows)
        told = ", ".join(f"{counts[name]} {name}" for name in ("sent", "failed", "cancelled") if counts[name])
        reports = ", ".join(sorted({row.last.get("report_id", "") for row in rows} - {""}))
        for sequence, entry in self.ledger.entries.items():
            if entry.queue_id == queue_id and entry.accounted is Accounted.QUEUED:
                self.ledger.entries[sequence] = msgspec.structs.replace(
                    entry,
                    accounted=Accounted.DSN if reports else Accounted.QUEUED,
                    detail=f"no copy is left to send: {told}" + (f"; DSN {reports}" if reports else ""),
                )

    def _touch(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with
