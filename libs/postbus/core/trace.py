"""W3C Trace Context (https://www.w3.org/TR/trace-context/): one trace per message, through gRPC, NATS headers and rows.

The context lives in a context variable, so that no function needs a parameter for it. Whether spans are exported is the
runtime's business; the identifiers exist always, because logs carry them.
"""

import contextlib
import contextvars
import os
import re
from collections.abc import Iterator

import msgspec

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")


class TraceContext(msgspec.Struct, frozen=True, kw_only=True):
    """Identifies a span: trace_id is 32 and span_id 16 hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def format(self) -> str:
        """The `traceparent` header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def child(self) -> "TraceContext":
        """The same trace with a new span."""
        return TraceContext(trace_id=self.trace_id, span_id=os.urandom(8).hex(), sampled=self.sampled)


_current: contextvars.ContextVar[TraceContext | None] = contextvars.ContextVar("postbus_trace", default=None)


def new_trace() -> TraceContext:
    """A trace of its own."""
    return TraceContext(trace_id=os.urandom(16).hex(), span_id=os.urandom(8).hex())


def parse_traceparent(value: str | None) -> TraceContext | None:
    """The context of a `traceparent` value; None when it is absent or malformed (the trace then starts anew)."""
    match = _TRACEPARENT.match(value) if value else None
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return None
    return TraceContext(trace_id=match[1], span_id=match[2], sampled=bool(int(match[3], 16) & 1))


def current_trace() -> TraceContext | None:
    """The context of the running task."""
    return _current.get()


def enter_trace(context: TraceContext) -> contextvars.Token[TraceContext | None]:
    """Makes `context` that of the running task, until `leave_trace` of the result: for what is no `with` block."""
    return _current.set(context)


def leave_trace(token: contextvars.Token[TraceContext | None]) -> None:
    """What it was before."""
    _current.reset(token)


@contextlib.contextmanager
def use_trace(context: TraceContext | None) -> Iterator[TraceContext]:
    """Runs the block in `context`, or in a new trace when None."""
    active = context or new_trace()
    token = _current.set(active)
    try:
        yield active
    finally:
        _current.reset(token)
