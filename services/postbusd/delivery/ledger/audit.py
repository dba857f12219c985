"""A look at the books: database, stream and database again, in the order that makes the sum exact.

What the database knows of the stream is read first. A stream that has less than that went back, or is another one: the
book then opens a new volume, told as an alarm until somebody settles it, and goes on exactly.
"""

import logging
from datetime import UTC, datetime

import msgspec

from postbus.bus.ports import MailConsumer, MailDelivery, MailState
from postbus.contracts.delivery import MissingMessage
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbusd.delivery.ledger.balance import Balance, balance
from postbusd.delivery.ledger.numbers import known_messages, last_known, sequence_of, went_astray
from postbusd.delivery.ledger.ports import Books
from postbusd.delivery.ledger.values import Reading, Survey, Volume

log = logging.getLogger(__name__)

MAX_LOOKS = 5
"""Looks in which everything may change, before we give up."""
NS_PER_MS = 1_000_000


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, and the books that it makes."""

    state: MailState
    reading: Reading
    balance: Balance


class Auditor:
    """Looks at the books."""

    def __init__(self, bus: MailConsumer, books: Books, clock: Clock) -> None:
        """`books` is the database."""
        self._bus = bus
        self._books = books
        self._clock = clock

    async def look(self, limit: int) -> Look:
        """The books as they are, with up to `limit` missing messages. Raises MailError: UNAVAILABLE."""
        for _ in range(MAX_LOOKS):
            survey = await self._books.survey()
            state = await self._bus.mail_state()
            if went_astray(survey, state) or await self._was_replaced(survey, state):
                await self._open_volume(survey, state)
                continue
            reading = await self._books.read(state, limit)
            if len(reading.volumes) == len(survey.volumes):
                balanced = balance(state, reading, self._clock.now_ms(), limit)
                return Look(state=state, reading=reading, balance=balanced)
        raise MailError(ErrorKind.UNAVAILABLE, "ledger: the stream of accepted mail changes all the time")

    async def name_missing(self, look: Look, limit: int) -> tuple[MissingMessage, ...]:
        """The first `limit` missing messages with their queue ids, as far as the stream still holds them."""
        return tuple([await self._name(look, message) for message in look.balance.reply.missing[:limit]])

    async def _name(self, look: Look, message: MissingMessage) -> MissingMessage:
        sequence = sequence_of(message.stream_sequence, look.reading.volumes)
        found = None if sequence is None else await self._bus.read_mail(sequence)
        if found is None or found.accepted is None:
            return message
        return msgspec.structs.replace(
            message, queue_id=found.accepted.queue_id, accepted_ms=found.accepted.accepted_ms
        )

    async def _open_volume(self, survey: Survey, state: MailState) -> None:
        """The first volume, or one for what the stream took since it went astray."""
        volume = Volume(
            volume=len(survey.volumes) + 1,
            created_ms=state.created_ms,
            begins=1,
            since_ns=0,
            offset=0,
            last_sequence=state.last_sequence,
            last_stored_ns=state.last_stored_ns,
            opened_ms=self._clock.now_ms(),
        )
        if survey.volumes:
            volume = await self._part(survey, state, volume)
        if await self._books.open_volume(volume) and survey.volumes:
            log.error(
                "delivery.ledger.stream_replaced",
                extra={
                    "reason": volume.alarm,
                    "last_sequence": state.last_sequence,
                    "known_sequence": last_known(survey),
                },
            )

    async def _was_replaced(self, survey: Survey, state: MailState) -> bool:
        """Whether the last messages that we know of are others now: the stream went back and grew again meanwhile."""
        for sequence, stored_ns in known_messages(survey):
            if not await self._is_same(state, sequence, stored_ns):
                return True
        return False

    async def _is_same(self, state: MailState, sequence: int, stored_ns: int) -> bool:
        if not stored_ns or not state.first_sequence <= sequence <= state.last_sequence:
            return True
        found = await self._bus.read_mail(sequence)
        return found is None or found.stored_ns == stored_ns

    async def _part(self, survey: Survey, state: MailState, volume: Volume) -> Volume:
        """Where the new volume begins: at the first message that is younger than all that we knew."""
        last = survey.volumes[-1]
        made_ns = state.created_ms * NS_PER_MS
        if state.created_ms != last.created_ms and not await self._is_older(state, made_ns):
            return msgspec.structs.replace(volume, since_ns=made_ns, alarm=_made_anew(survey, state))
        since_ns = max(last.last_stored_ns, last.since_ns - 1)  # back twice: not before the volume between
        highest = survey.highest - last.offset
        if highest > state.last_sequence or not await self._is_same(state, highest, survey.highest_stored_ns):
            since_ns = max(since_ns, survey.highest_stored_ns)
        begins = await self._first_since(state, since_ns + 1)
        first = await self._bus.read_mail(begins)
        return msgspec.structs.replace(
            volume,
            begins=begins,
            since_ns=since_ns + 1 if first is None else first.stored_ns,
            alarm=_went_back(survey, state),
        )

    async def _is_older(self, state: MailState, time_ns: int) -> bool:
        """Whether the stream holds messages that are older than it is: then it was restored from a copy."""
        first = await self._bus.read_mail(state.first_sequence)
        return first is not None and first.stored_ns < time_ns

    async def _first_since(self, state: MailState, time_ns: int) -> int:
        """The first sequence that the stream took since then; the next one to come when there is none."""
        low, high = max(state.first_sequence, 1), state.last_sequence + 1
        begins = high
        while low < high:
            middle = (low + high) // 2
            found = await self._next_held(middle, high)
            if found is not None and found.stored_ns < time_ns:
                low = found.stream_sequence + 1
            else:
                begins = begins if found is None else found.stream_sequence
                high = middle
        return begins

    async def _next_held(self, sequence: int, end: int) -> MailDelivery | None:
        """The first message from there on that the stream has not lost."""
        for candidate in range(sequence, end):
            found = await self._bus.read_mail(candidate)
            if found is not None:
                return found
        return None


def _made_anew(survey: Survey, state: MailState) -> str:
    return (
        f"another stream: made {_time(state.created_ms)}, its sequences begin again; the one before had given out "
        f"{last_known(survey)}"
    )


def _went_back(survey: Survey, state: MailState) -> str:
    return (
        f"the stream went back: it had given out sequence {last_known(survey)} before; what it gives out again is "
        f"other mail (its last sequence is {state.last_sequence} now)"
    )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
