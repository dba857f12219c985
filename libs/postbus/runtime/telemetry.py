"""Spans: what one service did for one trace, exported by OTLP only where a collector is set (house-style §7).

The identifiers are our own (`postbus.core.trace`), so a span may begin in one function and end in another, or be told
afterwards with its times: a batch that is stored in one transaction still has one span a message. Without an exporter
nothing is made and nothing imported: `span` then leaves the current trace as it is, and a service that does export
finds the nearest span above it as its parent. Attributes are ids, counts, host names and outcomes; never subjects,
bodies or addresses of people.
"""

import contextvars
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from postbus.core.errors import MailError
from postbus.core.trace import TraceContext, current_trace, enter_trace, leave_trace, new_trace
from postbus.runtime.log import current_service

Attribute = str | int


class FinishedSpan(NamedTuple):
    """A span that has ended."""

    service: str
    name: str
    context: TraceContext
    parent: TraceContext | None
    """None: the first of its trace."""
    started_ns: int
    """Unix time."""
    ended_ns: int
    attributes: dict[str, Attribute]
    links: tuple[TraceContext, ...]
    error: str
    """An error's kind or type; empty: none."""


class SpanSink(Protocol):
    """Takes what has ended; never waits, never raises."""

    def put(self, finished: FinishedSpan) -> None:
        """From any thread."""
        ...


class _Exporting:
    sink: SpanSink | None = None


_exporting = _Exporting()


def use_sink(sink: SpanSink | None) -> SpanSink | None:
    """Sends the spans of this process there, None: nowhere; what it was before."""
    before, _exporting.sink = _exporting.sink, sink
    return before


def is_exporting() -> bool:
    """Whether spans go anywhere."""
    return _exporting.sink is not None


def child_of(parent: TraceContext | None) -> TraceContext:
    """The identity of a span to be opened below `parent`, or of the first of a new trace."""
    if parent is None:
        return new_trace()
    return parent.child() if _exporting.sink is not None else parent


class Span:
    """One piece of work; `with` makes it the current trace and ends it."""

    __slots__ = ("_attributes", "_links", "_name", "_parent", "_started_ns", "_token", "context")

    def __init__(
        self,
        name: str,
        context: TraceContext,
        parent: TraceContext | None,
        attributes: dict[str, Attribute] | None = None,
        links: Sequence[TraceContext | None] = (),
    ) -> None:
        """Begins now; of `links` None counts nothing."""
        self.context = context
        self._name = name
        self._parent = parent
        self._attributes = attributes
        self._links = links
        self._started_ns = time.time_ns() if _exporting.sink is not None else 0
        self._token: contextvars.Token[TraceContext | None] | None = None

    def set(self, **attributes: Attribute) -> None:
        """Adds facts that are known only now."""
        if _exporting.sink is not None:
            self._attributes = {**self._attributes, **attributes} if self._attributes else attributes

    def end(self, error: str = "") -> None:
        """Exports it; later calls do nothing."""
        if self._started_ns:
            record_span(
                self._name,
                self.context,
                self._parent,
                self._started_ns,
                self._attributes,
                links=self._links,
                error=error,
            )
            self._started_ns = 0

    def __enter__(self) -> Self:
        """The code below works for this span."""
        self._token = enter_trace(self.context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it, with the error if there is one."""
        if self._token is not None:
            leave_trace(self._token)
            self._token = None
        self.end(error_word(error) if error is not None else "")


def span(name: str, attributes: dict[str, Attribute] | None = None) -> Span:
    """A span below the current one, or the first of a new trace; for `with`."""
    parent = current_trace()
    return Span(name, child_of(parent), parent, attributes)


def record_span(  # noqa: PLR0913  # a span's parts
    name: str,
    context: TraceContext,
    parent: TraceContext | None,
    started_ns: int,
    attributes: dict[str, Attribute] | None = None,
    *,
    links: Sequence[TraceContext | None] = (),
    error: str = "",
) -> None:
    """Exports a span that ends now and began at `started_ns` (Unix time)."""
    sink = _exporting.sink
    if sink is None or not context.sampled:
        return
    found = tuple(link for link in links if link is not None) if links else ()
    service = current_service() or "runtime"
    sink.put(FinishedSpan(service, name, context, parent, started_ns, time.time_ns(), attributes or {}, found, error))


def error_word(error: BaseException) -> str:
    """A word of a closed set for an error: never its text, which may quote anything."""
    return str(error.kind) if isinstance(error, MailError) else type(error).__name__
