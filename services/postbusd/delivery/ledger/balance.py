"""The books balanced: what the stream says and what the database says, as one sum (pure).

The order of reading is what makes it exact: the ack floor first, then the stream, then the rows in one snapshot. A row
is committed before its message is acknowledged, so every number up to the floor must have one. What is beyond it and
has none is unconsumed where the stream holds it, and missing where it does not.
"""

from collections.abc import Iterator

import msgspec

from postbus.bus.ports import MailState
from postbus.contracts.delivery import GetLedgerReply, MissingMessage
from postbusd.delivery.ledger.numbers import (
    deleted_numbers,
    first_numbers,
    intersect,
    pending_spans,
    sequence_of,
    stream_spans,
    subtract,
    top_number,
)
from postbusd.delivery.ledger.values import Counts, Reading, Span


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The sum, and what follows from it."""

    reply: GetLedgerReply
    """Its missing messages have no queue_id yet: that stands in the stream."""
    missing: tuple[Span, ...]
    """All missing numbers, as far as the gaps were read."""
    verified: int
    """Every number up to here is accounted for."""
    done: int
    """Every number up to here has been acknowledged or is not the stream's to deliver."""


def balance(state: MailState, reading: Reading, now_ms: int, limit: int) -> Balance:
    """The books of that moment, with up to `limit` missing messages."""
    top = top_number(state, reading.volumes)
    pending = pending_spans(state, reading.volumes)
    lost = [number for number in deleted_numbers(state, reading.volumes) if number not in reading.deleted_rows]
    unconsumed = sum(map(len, pending)) - reading.pending_rows - len(lost)
    without_row = top - reading.verified - reading.tail.total
    waiting = tuple(subtract(pending, [Span(first=number, last=number) for number in lost]))
    missing = tuple(subtract(reading.gaps, waiting))
    ended = _ended(reading)
    reply = GetLedgerReply(
        at_ms=now_ms,
        stream_created_ms=state.created_ms,
        first_sequence=state.first_sequence,
        last_sequence=state.last_sequence,
        accepted=top + reading.clash.total,
        folder=ended.folder,
        queued=ended.queued,
        held=ended.held,
        dsn=ended.dsn,
        written_off=ended.written_off,
        unconsumed=unconsumed,
        missing_count=without_row - unconsumed + reading.vanished,
        missing=tuple(MissingMessage(stream_sequence=number) for number in first_numbers(missing, limit)),
        clash_count=reading.open_clashes,
        clashes=reading.clashes[:limit],
        alarms=tuple(find_alarms(state, reading)),
    )
    verified = reading.gaps[0].first - 1 if without_row and reading.gaps else top
    done = min([span.first - 1 for span in pending], default=top)
    return Balance(reply=reply, missing=missing, verified=max(verified, reading.verified), done=done)


def find_alarms(state: MailState, reading: Reading) -> Iterator[str]:
    """What must not be, for people, in constant words: an alarm is told once."""
    for volume in reading.volumes:
        if volume.alarm and not volume.settled:
            yield volume.alarm
    if reading.open_clashes:
        clashes = "1 stream sequence" if reading.open_clashes == 1 else f"{reading.open_clashes} stream sequences"
        yield f"{clashes} came with another queue id: the stream was lost or restored; both messages are accounted for"
    if state.deleted > reading.settled_deleted:
        yield f"the stream has lost {state.deleted} messages between its first and its last: it is damaged"
    if reading.vanished:
        yield f"{reading.vanished} rows of the ledger were deleted that were older than anything it checks again"


def replayable(balanced: Balance, state: MailState, reading: Reading, through: int, limit: int) -> list[int]:
    """Sequences of missing messages with numbers up to `through` that the stream still holds, at most `limit`."""
    held = [
        Span(first=span.first, last=min(span.last, through))
        for span in stream_spans(state, reading.volumes)
        if span.first <= through
    ]
    numbers = first_numbers(intersect(balanced.missing, held), limit + len(state.deleted_sequences))
    sequences = (sequence_of(number, reading.volumes) for number in numbers)
    lost = set(state.deleted_sequences)
    return [sequence for sequence in sequences if sequence is not None and sequence not in lost][:limit]


def _ended(reading: Reading) -> Counts:
    """By outcome. Up to `verified` whatever is nothing else is in folders: those are counted by nobody."""
    others, trimmed, tail, clash = reading.others, reading.trimmed, reading.tail, reading.clash
    return Counts(
        folder=reading.verified - others.total - trimmed.others - reading.vanished + tail.folder + clash.folder,
        queued=others.queued + trimmed.queued + tail.queued + clash.queued,
        held=others.held + trimmed.held + tail.held + clash.held,
        dsn=others.dsn + trimmed.dsn + tail.dsn + clash.dsn,
        written_off=others.written_off + trimmed.written_off + tail.written_off + clash.written_off,
    )
