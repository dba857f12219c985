"""What an answer of a remote means for a copy: its next state, its events, and whether its sender is told."""

import random
from collections.abc import Sequence

import msgspec

from postbus.contracts.delivery import QueueState
from postbus.contracts.events import Event
from postbusd.delivery.outbound.news import deferred_event, failed_event, relay_event, sent_event
from postbusd.delivery.outbound.queue import Attempt, Claimed
from postbusd.delivery.outbound.reporting import Failure
from postbusd.delivery.outbound.retries import next_delay_seconds
from postbusd.delivery.outbound.values import Outcome, RecipientResult
from postbusd.delivery.settings import DeliverySettings

POSTPONE_MS = 30_000
"""While a part of ours is away: nobody was asked, so it is no attempt."""
EXPIRED_STATUS = "4.4.7"  # RFC 3463 §3.5: delivery time expired


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One copy after an attempt."""

    claimed: Claimed
    result: RecipientResult
    attempt: Attempt
    reason: str = ""
    """Why it failed, where the reply does not tell."""

    @property
    def has_failed(self) -> bool:
        """For good."""
        return self.attempt.state is QueueState.FAILED

    def as_failure(self) -> Failure:
        """What a DSN tells of it."""
        told = msgspec.structs.replace(self.result, status=self.attempt.status)
        return Failure(claimed=self.claimed, result=told, reason=self.reason)


def judge_result(
    claimed: Claimed, result: RecipientResult, settings: DeliverySettings, now_ms: int, chance: random.Random
) -> Judgement:
    """Sent, failed, or again later; failed as well when there is no later."""
    state, due_ms, reason, status = QueueState.SENT, now_ms, "", result.status
    if result.outcome is Outcome.FAILED:
        state = QueueState.FAILED
    elif result.outcome is Outcome.DEFERRED:
        delay = next_delay_seconds(settings.retry_seconds, claimed.attempts + 1, chance)
        state, due_ms = QueueState.WAITING, now_ms + int(delay * 1000)
        if due_ms >= claimed.message.expires_ms:
            state, due_ms, status = QueueState.FAILED, now_ms, EXPIRED_STATUS
            reason = f"given up after {settings.queue_lifetime_hours:g} hours; last: {result.reply}"
    attempt = Attempt(
        queue_id=claimed.message.queue_id,
        recipient=claimed.copy.recipient,
        lease_token=claimed.lease_token,
        state=state,
        due_ms=due_ms,
        reply=result.reply,
        status=status,
        remote_host=result.remote_host,
        tls=result.tls,
    )
    return Judgement(claimed=claimed, result=result, attempt=attempt, reason=reason)


def postpone(claimed: Claimed, now_ms: int, reason: str) -> Attempt:
    """A part of ours was away: again soon, and it was no attempt."""
    return Attempt(
        queue_id=claimed.message.queue_id,
        recipient=claimed.copy.recipient,
        lease_token=claimed.lease_token,
        state=QueueState.WAITING,
        due_ms=now_ms + POSTPONE_MS,
        counts=False,
        reply=reason,
    )


def tell(judgements: Sequence[Judgement], next_hop: str, now_ms: int) -> list[Event]:
    """The events: one a copy, and one about a smart host that was of no use."""
    events = [_event(each, now_ms) for each in judgements]
    relayed = next((each for each in judgements if each.result.relay_failed), None)
    if relayed is not None:
        events.append(relay_event(relayed.claimed, next_hop, relayed.result, now_ms))
    return events


def _event(judged: Judgement, now_ms: int) -> Event:
    if judged.attempt.state is QueueState.SENT:
        return sent_event(judged.claimed, judged.result, now_ms)
    if judged.has_failed:
        return failed_event(judged.claimed, judged.reason or judged.result.reply, now_ms)
    return deferred_event(judged.claimed, judged.result, now_ms)
