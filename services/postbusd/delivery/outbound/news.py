"""Events about outgoing copies: queued, deferred, delivered, bounced, relay_failure (architecture §2)."""

from collections.abc import Iterable

from postbus.contracts.events import Event, EventType
from postbus.core.ids import new_uuid7
from postbusd.delivery.outbound.queue import Claimed, NewCopy, Outgoing, QueuedMessage
from postbusd.delivery.outbound.values import RecipientResult

SERVICE = "delivery"


def queued_events(outgoing: Iterable[Outgoing], new: set[tuple[str, str]], now_ms: int) -> list[Event]:
    """One a copy that was entered just now; `new` holds their (queue_id, recipient)."""
    return [
        _event(
            EventType.QUEUED, each.message, copy, now_ms, f"{'held' if copy.held else 'queued'} for {copy.recipient}"
        )
        for each in outgoing
        for copy in each.copies
        if (each.message.queue_id, copy.recipient) in new
    ]


def sent_event(claimed: Claimed, result: RecipientResult, now_ms: int) -> Event:
    """The remote has it."""
    summary = f"delivered to {result.remote_host} for {claimed.copy.recipient}"
    return _event(EventType.DELIVERED, claimed.message, claimed.copy, now_ms, summary, result.reply)


def deferred_event(claimed: Claimed, result: RecipientResult, now_ms: int) -> Event:
    """Again later."""
    summary = f"not yet delivered to {claimed.copy.recipient}"
    return _event(EventType.DEFERRED, claimed.message, claimed.copy, now_ms, summary, result.reply)


def failed_event(claimed: Claimed, reply: str, now_ms: int) -> Event:
    """Given up."""
    summary = f"not delivered to {claimed.copy.recipient}"
    return _event(EventType.BOUNCED, claimed.message, claimed.copy, now_ms, summary, reply)


def relay_event(claimed: Claimed, next_hop: str, result: RecipientResult, now_ms: int) -> Event:
    """The smart host was of no use."""
    summary = f"smart host {next_hop} failed"
    return _event(EventType.RELAY_FAILURE, claimed.message, claimed.copy, now_ms, summary, result.reply)


def _event(  # the fields of one event
    kind: EventType, message: QueuedMessage, copy: NewCopy, now_ms: int, summary: str, detail: str = ""
) -> Event:
    return Event(
        event_id=new_uuid7(now_ms),
        type=kind,
        at_ms=now_ms,
        service=SERVICE,
        summary=summary,
        queue_id=message.queue_id,
        message_id=message.message_id,
        domain=copy.route_domain,
        reverse_path=copy.reverse_path,
        forward_path=copy.recipient,
        detail=detail,
        traceparent=message.traceparent,
    )
