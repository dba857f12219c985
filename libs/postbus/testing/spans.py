"""Spans in memory: what a piece of code would have exported."""

import contextlib
from collections.abc import Iterator

from postbus.runtime.telemetry import FinishedSpan, use_sink


class KeptSpans:
    """Implements SpanSink."""

    def __init__(self) -> None:
        self.spans: list[FinishedSpan] = []

    def put(self, finished: FinishedSpan) -> None:
        """Keeps it."""
        self.spans.append(finished)

    def named(self, name: str, **facts: str | int) -> FinishedSpan:
        """The only one with that name and these attributes."""
        (found,) = self.all_named(name, **facts)
        return found

    def all_named(self, name: str, **facts: str | int) -> list[FinishedSpan]:
        """All of them, in the order of their ends."""
        return [each for each in self.spans if each.name == name and facts.items() <= each.attributes.items()]


@contextlib.contextmanager
def kept_spans() -> Iterator[KeptSpans]:
    """Exports to memory while the block runs."""
    kept = KeptSpans()
    before = use_sink(kept)
    try:
        yield kept
    finally:
        use_sink(before)
