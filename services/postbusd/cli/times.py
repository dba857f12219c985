"""Moments and spans for people, in the time zone of the machine; spans of time that people type."""

import datetime
import re

from postbusd.cli.objects import UsageError

SECOND_MS = 1000
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NAMES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def format_moment(at_ms: int | None) -> str:
    """The same; `never` for None."""
    return "never" if at_ms is None else format_time(at_ms)


def format_time(at_ms: int, *, milliseconds: bool = False) -> str:
    """`2026-03-01 10:00:00`."""
    moment = datetime.datetime.fromtimestamp(at_ms / SECOND_MS, datetime.UTC).astimezone()
    return moment.isoformat(" ", "milliseconds" if milliseconds else "seconds")[: 23 if milliseconds else 19]


def format_span(milliseconds: int) -> str:
    """`12 min`, `3 h`: the largest unit that fits, rounded down."""
    seconds = max(0, milliseconds // SECOND_MS)
    size, name = next(((size, name) for size, name in _NAMES if seconds >= size), _NAMES[-1])
    return f"{seconds // size} {name}"


def parse_moment(text: str, now_ms: int) -> str:
    """`2h` ago or a date and time, as the API takes it. Raises UsageError."""
    span = _SPAN.match(text)
    if span is not None:
        at = now_ms / SECOND_MS - int(span[1]) * _SECONDS[span[2]]
        return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC).isoformat()
    except ValueError as error:
        raise UsageError("a time is 2h, 3d or 2026-03-01T10:00") from error


def parse_deadline(text: str, now_ms: int) -> int | None:
    """`90d` from now or a date and time, Unix time in milliseconds; None for `never`. Raises UsageError."""
    if text == "never":
        return None
    span = _SPAN.match(text)
    if span is not None:
        return now_ms + int(span[1]) * _SECONDS[span[2]] * SECOND_MS
    try:
        return int(datetime.datetime.fromisoformat(text).timestamp() * SECOND_MS)
    except (ValueError, OverflowError) as error:
        raise UsageError("a time is 90d, 2w, 2026-03-01T10:00 or never") from error
