"""Spans of delivery: one a message from plan to ack, though a batch is stored in one transaction (promise 8)."""

import contextlib
import time
from collections.abc import Iterator, Sequence

import msgspec

from postbus.bus.ports import MailDelivery
from postbus.contracts.events import MailAccepted
from postbus.core.errors import MailError
from postbus.core.trace import parse_traceparent
from postbus.runtime.telemetry import Attribute, Span, child_of, error_word, is_exporting, record_span
from postbusd.delivery.journey import Journey

Planned = Sequence[tuple[MailDelivery, Journey]]


class DeliverySpans:
    """The open spans of the messages in hand, by stream sequence."""

    def __init__(self) -> None:
        self._open: dict[int, Span] = {}

    def begin(self, delivery: MailDelivery, accepted: MailAccepted, batch: int) -> MailAccepted:
        """The message as a part of its new span: what is made of it from now on stands below that."""
        if not is_exporting():
            return accepted
        parent = parse_traceparent(accepted.traceparent)
        context = child_of(parent)
        facts: dict[str, Attribute] = {
            "queue_id": accepted.queue_id,
            "origin": accepted.origin,
            "attempt": delivery.attempt,
            "batch_messages": batch,
        }
        self._open[delivery.stream_sequence] = Span("delivery.deliver", context, parent, facts)
        return msgspec.structs.replace(accepted, traceparent=context.format())

    @contextlib.contextmanager
    def storing(self, planned: Planned) -> Iterator[None]:
        """The append of a batch, told to every message in it."""
        started_ns, error = time.time_ns(), ""
        try:
            yield
        except MailError as raised:
            error = error_word(raised)
            raise
        finally:
            if is_exporting():
                for _, journey in planned:
                    if journey.appends:
                        _tell_append(journey, started_ns, error)

    def set_outcome(self, stream_sequence: int, outcome: str, error: str = "") -> None:
        """How the message's pass ended; without an open span nothing happens."""
        opened = self._open.pop(stream_sequence, None)
        if opened is not None:
            opened.set(outcome=outcome)
            opened.end(error)

    def end(self, deliveries: Sequence[MailDelivery]) -> None:
        """Those of which nothing was told were interrupted."""
        if self._open:
            for delivery in deliveries:
                self.set_outcome(delivery.stream_sequence, "interrupted")


def _tell_append(journey: Journey, started_ns: int, error: str) -> None:
    first = journey.appends[0]
    facts: dict[str, Attribute] = {
        "queue_id": journey.accepted.queue_id,
        "mailbox_id": first.mailbox_id,
        "domain": journey.destinations[0].address.rpartition("@")[2],
        "copies": len(journey.appends),
    }
    parent = parse_traceparent(journey.accepted.traceparent)
    record_span("mailstore.append", child_of(parent), parent, started_ns, facts, error=error)
