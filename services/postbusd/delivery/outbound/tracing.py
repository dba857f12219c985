"""Spans of the outgoing queue: one for each message of a batch and attempt (promise 8).

The first attempt stands in the message's trace; a later one begins a trace of its own that is linked to it (house-style
§7): a message that waits for days would make a trace that no tool can show.
"""

import time
from collections.abc import Mapping, Sequence

import msgspec

from postbus.core.trace import TraceContext, new_trace, parse_traceparent
from postbus.runtime.telemetry import Attribute, child_of, record_span
from postbusd.delivery.outbound.queue import Claimed
from postbusd.delivery.outbound.values import NextHop, RecipientResult

Key = tuple[str, str]
"""queue_id and reverse_path: one transaction."""


class _Attempt(msgspec.Struct, frozen=True):
    context: TraceContext
    parent: TraceContext | None
    link: TraceContext | None


class AttemptSpans:
    """Of one batch, whose messages go one after the other: each begins where the one before ended."""

    def __init__(self, copies: Mapping[Key, Sequence[Claimed]]) -> None:
        """Begins with the first of them."""
        self._copies = copies
        self._attempts = {key: _begin(claimed) for key, claimed in copies.items()}
        self._started_ns = time.time_ns()

    @property
    def first(self) -> TraceContext:
        """What is done for the whole batch is done for its first message."""
        return next(iter(self._attempts.values())).context

    def of(self, key: Key) -> TraceContext:
        """The trace of a message's attempt."""
        return self._attempts[key].context

    def end(self, key: Key, hop: NextHop, results: Sequence[RecipientResult]) -> None:
        """The remote has answered, or nobody did; of its reply only the code is told."""
        facts: dict[str, Attribute] = {"outcome": ",".join(sorted({each.outcome for each in results}))}
        spoken = next((each for each in results if each.is_reply), None)
        if spoken is not None:
            facts |= {"reply_code": spoken.reply[:3], "remote_host": spoken.remote_host}
        if results:
            facts |= {"status": results[0].status, "tls": results[0].tls, "next_hop": hop.name}
        self._record(key, facts)

    def postpone(self) -> None:
        """Something of ours was away: nobody was asked."""
        for key in self._attempts:
            self._record(key, {"outcome": "postponed"})

    def _record(self, key: Key, facts: dict[str, Attribute]) -> None:
        attempt, copies = self._attempts[key], self._copies[key]
        facts |= {
            "queue_id": copies[0].message.queue_id,
            "message_id": copies[0].message.message_id,
            "domain": copies[0].copy.domain,
            "attempt": min(each.attempts for each in copies) + 1,
            "copies": len(copies),
        }
        record_span("delivery.attempt", attempt.context, attempt.parent, self._started_ns, facts, links=(attempt.link,))
        self._started_ns = time.time_ns()


def _begin(copies: Sequence[Claimed]) -> _Attempt:
    told = parse_traceparent(copies[0].message.traceparent)
    if told is None or any(each.attempts == 0 for each in copies):
        return _Attempt(child_of(told), told, None)
    return _Attempt(new_trace(), None, told)
