"""What an administrator does to the queue (`QueueControl`)."""

import logging
from collections.abc import Sequence

import msgspec

from postbus.contracts.delivery import (
    ChangeQueueReply,
    ChangeQueueRequest,
    ListQueueReply,
    ListQueueRequest,
    QueueAction,
    QueueState,
)
from postbus.core.clock import Clock
from postbusd.delivery.outbound.news import failed_event
from postbusd.delivery.outbound.queue import Attempt, Claimed, Outcomes, Queue
from postbusd.delivery.outbound.reporting import Failure, Reporter, wants_report
from postbusd.delivery.outbound.scheduler import LEASE_MS, Scheduler
from postbusd.delivery.outbound.values import Outcome, RecipientResult

log = logging.getLogger(__name__)

BOUNCE_COPIES = 200
"""Leased at a time."""
BOUNCED_STATUS = "5.7.0"  # RFC 3463 §3.8: other security or policy status
BOUNCED_REASON = "It was returned by the administrator of this mail system before it could be delivered."


class Control:
    """The queue in an administrator's hands."""

    def __init__(self, *, owner: str, queue: Queue, reporter: Reporter, scheduler: Scheduler, clock: Clock) -> None:
        """`owner` takes the leases of what is bounced."""
        self._owner = owner
        self._queue = queue
        self._reporter = reporter
        self._scheduler = scheduler
        self._clock = clock

    async def list_queue(self, request: ListQueueRequest) -> ListQueueReply:
        """See `QueueControl.list_queue`."""
        return await self._queue.page(request)

    async def change_queue(self, request: ChangeQueueRequest) -> ChangeQueueReply:
        """See `QueueControl.change_queue`."""
        now_ms = self._clock.now_ms()
        if request.action is QueueAction.BOUNCE and not request.dry_run:
            reply = await self._bounce(request, now_ms)
        else:
            reply = await self._queue.change(request, now_ms)
        if reply.changed and not request.dry_run:
            facts = {"action": request.action.value, "actor": request.actor, "copies": reply.changed}
            log.info("delivery.queue.changed", extra={**facts, "queue_id": request.queue_id, "domain": request.domain})
            if request.action in {QueueAction.RETRY, QueueAction.RELEASE}:
                self._scheduler.forget_rests()
            self._scheduler.wake()
        return reply

    async def _bounce(self, request: ChangeQueueRequest, now_ms: int) -> ChangeQueueReply:
        """A message at a time: its failed copies and the DSN about them are one transaction."""
        dry = await self._queue.change(msgspec.structs.replace(request, dry_run=True), now_ms)
        changed = 0
        while taken := await self._queue.take(self._owner, request, now_ms, now_ms + LEASE_MS, BOUNCE_COPIES):
            done = await self._bounce_all(taken, request.actor)
            changed += done
            if done < len(taken):
                break
        return ChangeQueueReply(changed=changed, busy=max(dry.changed + dry.busy - changed, 0))

    async def _bounce_all(self, taken: Sequence[Claimed], actor: str) -> int:
        messages: dict[tuple[str, str], list[Claimed]] = {}
        for each in taken:
            messages.setdefault((each.message.queue_id, each.copy.reverse_path), []).append(each)
        done: set[int] = set()
        try:
            for copies in messages.values():
                if await self._queue.finish(self._owner, await self._outcomes(copies, actor)):
                    done.update(each.lease_token for each in copies)
        finally:
            left = [each for each in taken if each.lease_token not in done]
            if left:
                await self._scheduler.give_back(left)
        return len(done)

    async def _outcomes(self, copies: list[Claimed], actor: str) -> Outcomes:
        now_ms = self._clock.now_ms()
        reason = f"returned by the administrator ({actor})"
        failures = [
            Failure(
                claimed=each,
                result=RecipientResult(
                    address=each.copy.recipient, outcome=Outcome.FAILED, reply=reason, status=BOUNCED_STATUS
                ),
                reason=BOUNCED_REASON,
            )
            for each in copies
        ]
        report = await self._reporter.report(failures)
        report_id = "" if report is None else report.queue_id
        attempts = tuple(
            Attempt(
                queue_id=each.message.queue_id,
                recipient=each.copy.recipient,
                lease_token=each.lease_token,
                state=QueueState.FAILED,
                due_ms=now_ms,
                counts=False,
                reply=reason,
                status=BOUNCED_STATUS,
                report_id=report_id if wants_report(each) else "",
            )
            for each in copies
        )
        events = tuple(failed_event(each, reason, now_ms) for each in copies)
        return Outcomes(attempts=attempts, events=events, report=report)
