"""Sequence sets (RFC 9051 §9, sequence-set): numbers and ranges, `*` being the largest number in use."""

import re
from collections.abc import Iterable

import msgspec

from postbus.core.errors import RemoteProtocolError
from postbus.imap.cursor import Cursor
from postbus.imap.limits import MAX_NUMBER, MAX_SET_RANGES

STAR = 0
"""`*` in a range: numbers start at 1."""

_RANGE = re.compile(rb"([0-9]{1,10}|\*)(?::([0-9]{1,10}|\*))?")


class SequenceSet(msgspec.Struct, frozen=True, kw_only=True):
    """Ranges as the client wrote them; `0` stands for `*`."""

    ranges: tuple[tuple[int, int], ...]

    def resolve(self, largest: int) -> list[tuple[int, int]]:
        """Inclusive ranges, ascending, apart from one another, with `*` replaced by `largest`.

        `5:*` names `largest` even where it is below 5 (RFC 9051 §9, seq-range); numbers above `largest` stay.
        """
        pairs = sorted(_order(first or largest, last or largest) for first, last in self.ranges)
        return merge_ranges(pairs)


def _order(first: int, last: int) -> tuple[int, int]:
    return (first, last) if first <= last else (last, first)


def merge_ranges(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Joins ascending ranges that touch or overlap."""
    merged: list[tuple[int, int]] = []
    for first, last in pairs:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def parse_sequence_set(cursor: Cursor) -> SequenceSet:
    """A sequence set. Raises RemoteProtocolError."""
    ranges: list[tuple[int, int]] = []
    while True:
        match = cursor.match(_RANGE)
        if match is None:
            raise RemoteProtocolError("Expected a sequence set")
        first = _parse_bound(match[1])
        ranges.append((first, first if match[2] is None else _parse_bound(match[2])))
        if len(ranges) > MAX_SET_RANGES:
            raise RemoteProtocolError("Too many ranges in the set")
        if not cursor.accept(b","):
            return SequenceSet(ranges=tuple(ranges))


def _parse_bound(octets: bytes) -> int:
    if octets == b"*":
        return STAR
    value = int(octets)
    if not 1 <= value <= MAX_NUMBER:
        raise RemoteProtocolError("Numbers of a set lie between 1 and 4294967295")
    return value


def format_sequence_set(value: SequenceSet) -> bytes:
    """The set as it was written."""
    return b",".join(
        _format_bound(first) if first == last else b"%b:%b" % (_format_bound(first), _format_bound(last))
        for first, last in value.ranges
    )


def _format_bound(number: int) -> bytes:
    return b"%d" % number if number else b"*"
