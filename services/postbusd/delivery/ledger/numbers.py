"""Sequences of the stream and numbers of the book (pure)."""

from collections.abc import Iterable, Iterator, Sequence

from postbus.bus.ports import MailState
from postbusd.delivery.ledger.values import Span, Survey, Volume


def top_number(state: MailState, volumes: Sequence[Volume]) -> int:
    """The number of the stream's last message: all up to it were accepted."""
    return volumes[-1].offset + state.last_sequence


def went_astray(survey: Survey, state: MailState) -> bool:
    """Whether the stream is another one than we knew, or went back. `survey` is older than `state`."""
    if not survey.volumes:
        return True
    volume = survey.volumes[-1]
    return state.created_ms != volume.created_ms or state.last_sequence < last_known(survey)


def last_known(survey: Survey) -> int:
    """The highest sequence of the current volume that is known to have been given out."""
    volume = survey.volumes[-1]
    return max(volume.last_sequence, survey.highest - volume.offset)


def known_messages(survey: Survey) -> Iterator[tuple[int, int]]:
    """Sequence and time of the last messages of the current volume that are known: as seen, and as recorded."""
    volume = survey.volumes[-1]
    yield volume.last_sequence, volume.last_stored_ns
    if survey.highest - volume.offset >= volume.begins:
        yield survey.highest - volume.offset, survey.highest_stored_ns


def held_parts(volumes: Sequence[Volume]) -> Iterator[tuple[Volume, Span]]:
    """The sequences of the current stream, by volume: of an earlier one, what the stream had when it went back."""
    before = 0
    for volume in reversed(volumes):
        last = before - 1 if before else 2**62
        if volume.begins <= last:
            yield volume, Span(first=volume.begins, last=last)
        before = min(volume.begins, before) if before else volume.begins


def sequence_of(number: int, volumes: Sequence[Volume]) -> int | None:
    """The sequence of a number in the current stream; None: its stream is gone."""
    for volume, span in held_parts(volumes):
        sequence = number - volume.offset
        if span.first <= sequence <= span.last and _volume_of(number, volumes) is volume:
            return sequence
    return None


def number_of(sequence: int, volumes: Sequence[Volume]) -> int | None:
    """The number of a sequence of the current stream."""
    for volume, span in held_parts(volumes):
        if span.first <= sequence <= span.last:
            return sequence + volume.offset
    return None


def stream_spans(state: MailState, volumes: Sequence[Volume], above: int = 0) -> tuple[Span, ...]:
    """Numbers of the sequences beyond `above` that the stream holds, in order; lost ones among them."""
    spans = []
    low = max(above + 1, state.first_sequence)
    for volume, span in held_parts(volumes):
        first, last = max(span.first, low), min(span.last, state.last_sequence)
        if first <= last:
            spans.append(Span(first=first + volume.offset, last=last + volume.offset))
    return tuple(reversed(spans))


def pending_spans(state: MailState, volumes: Sequence[Volume]) -> tuple[Span, ...]:
    """Numbers that the stream holds and the consumer has not done with, as far as the floor tells."""
    return stream_spans(state, volumes, state.ack_floor)


def deleted_numbers(state: MailState, volumes: Sequence[Volume]) -> tuple[int, ...]:
    """Numbers in the pending spans whose messages the stream has lost."""
    found = [number_of(sequence, volumes) for sequence in state.deleted_sequences if sequence > state.ack_floor]
    return tuple(sorted(number for number in found if number is not None))


def subtract(spans: Iterable[Span], holes: Sequence[Span]) -> Iterator[Span]:
    """What is left of `spans` without `holes`; both in order."""
    for span in spans:
        first = span.first
        for hole in holes:
            if hole.last < first or hole.first > span.last:
                continue
            if hole.first > first:
                yield Span(first=first, last=hole.first - 1)
            first = hole.last + 1
        if first <= span.last:
            yield Span(first=first, last=span.last)


def intersect(spans: Iterable[Span], others: Sequence[Span]) -> Iterator[Span]:
    """What both have; both in order."""
    for span in spans:
        for other in others:
            first, last = max(span.first, other.first), min(span.last, other.last)
            if first <= last:
                yield Span(first=first, last=last)


def first_numbers(spans: Iterable[Span], limit: int) -> list[int]:
    """The first `limit` numbers."""
    found: list[int] = []
    for span in spans:
        found += range(span.first, min(span.last, span.first + limit - len(found) - 1) + 1)
        if len(found) >= limit:
            break
    return found


def _volume_of(number: int, volumes: Sequence[Volume]) -> Volume | None:
    """The volume that a number lies in."""
    return next((volume for volume in reversed(volumes) if volume.begins + volume.offset <= number), None)
