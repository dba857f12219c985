"""The fakes of delivery's `Ledger` and of the `Books` over it."""

from collections.abc import Sequence

import msgspec

from postbus.bus.ports import MailState
from postbus.contracts.delivery import Accounted, LedgerClash
from postbus.core.errors import MailError
from postbus.core.ids import QueueId
from postbusd.delivery.ledger.numbers import deleted_numbers, pending_spans, top_number
from postbusd.delivery.ledger.ports import Seen, Settlement
from postbusd.delivery.ledger.values import FIRST_CLASH, Counts, Reading, Span, Survey, Volume
from postbusd.delivery.ports import DeadLetter, LedgerEntry

KEEPER_NOBODY = ""


class Clash(msgspec.Struct):
    """A second message under a taken number."""

    number: int
    taken: int
    first_queue_id: str
    seen_ms: int
    settled: bool = False


class MemoryLedger:
    """A ledger in a dict by number; `fail_with` makes it an absent database, `now_ms` is its clock."""

    def __init__(self) -> None:
        self.entries: dict[int, LedgerEntry] = {}
        self.letters: dict[int, DeadLetter] = {}
        self.held_ms: dict[int, int] = {}
        self.noted_ms: dict[int, int] = {}
        self.settled: set[int] = set()
        """Numbers that were written off as missing."""
        self.volumes: list[Volume] = []
        self.clashes: list[Clash] = []
        self.trimmed_through = 0
        self.verified = 0
        self.vanished = 0
        self.deletions = 0
        self.now_ms = 1_795_000_000_000
        self.fail_with: MailError | None = None
        self._next_clash = FIRST_CLASH

    async def check(self) -> None:
        """Fails when told to."""
        if self.fail_with is not None:
            raise self.fail_with

    async def record(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """First come, first noted; others under the same number beside it."""
        await self.check()
        return [entry for entry in entries if self._record(entry)[1]]

    async def hold(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Letter and entry."""
        await self.check()
        clashing = []
        for letter in letters:
            entry = LedgerEntry(
                stream_sequence=letter.stream_sequence,
                queue_id=letter.queue_id,
                accounted=Accounted.HELD,
                accepted_ms=letter.accepted_ms,
                detail=letter.reason,
                placements=letter.placements,
                traceparent=letter.traceparent,
                stored_ns=letter.stored_ns,
            )
            number, clashes = self._record(entry)
            if clashes:
                clashing.append(letter)
            if self.entries[number].accounted is Accounted.HELD:
                self.letters.setdefault(number, msgspec.structs.replace(letter, stream_sequence=number))
                self.held_ms.setdefault(number, self.now_ms)
        return clashing

    async def find(self, queue_id: QueueId) -> LedgerEntry | None:
        """By queue_id, the lowest number."""
        await self.check()
        return next((entry for _, entry in sorted(self.entries.items()) if entry.queue_id == queue_id), None)

    def number(self, sequence: int, stored_ns: int) -> int:
        """The number of a sequence."""
        for volume in reversed(self.volumes):
            if volume.begins <= sequence and (not stored_ns or volume.since_ns <= stored_ns):
                return sequence + volume.offset
        return sequence

    def sequence(self, number: int) -> int:
        """The sequence that a number stands for."""
        for volume in reversed(self.volumes):
            if volume.begins + volume.offset <= number:
                return number - volume.offset
        return number

    def delete(self, *numbers: int) -> None:
        """Somebody deletes rows."""
        for number in numbers:
            del self.entries[number]
        self.deletions += 1
        self.vanished += sum(number <= self.trimmed_through for number in numbers)
        self.verified = max(self.trimmed_through, min(self.verified, *(number - 1 for number in numbers)))

    def put(self, number: int, entry: LedgerEntry) -> None:
        """A row."""
        self.entries[number] = msgspec.structs.replace(entry, stream_sequence=number)
        self.noted_ms[number] = self.now_ms

    def _record(self, entry: LedgerEntry) -> tuple[int, bool]:
        """The number that the message has in the end, and whether it clashes."""
        number = self.number(entry.stream_sequence, entry.stored_ns)
        found = self.entries.get(number)
        if found is None and number > self.trimmed_through:
            self.put(number, entry)
            return number, False
        if found is not None:
            if number in self.settled and found.queue_id in ("", entry.queue_id):
                self.settled.discard(number)
                self.put(number, entry)
                return number, False
            if found.queue_id == entry.queue_id and not _differs(found, entry):
                return number, False
        for clash in self.clashes:
            beside = self.entries[clash.number]
            same = (beside.queue_id, beside.stored_ns) == (entry.queue_id, entry.stored_ns)
            if clash.taken == number and same:
                return clash.number, True
        return self._put_beside(number, entry, found.queue_id if found else ""), True

    def _put_beside(self, taken: int, entry: LedgerEntry, first_queue_id: str) -> int:
        number = self._next_clash
        self._next_clash += 1
        self.put(number, entry)
        clash = Clash(number=number, taken=taken, first_queue_id=first_queue_id, seen_ms=self.now_ms)
        self.clashes.append(clash)
        return number


def _differs(found: LedgerEntry, entry: LedgerEntry) -> bool:
    """Two messages that can't be read are told apart by their times."""
    return not entry.queue_id and found.stored_ns != entry.stored_ns and 0 not in (found.stored_ns, entry.stored_ns)


class MemoryBooks:
    """`Books` over a MemoryLedger; `open_copies` are the queue ids that the queue still holds."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.ledger = ledger
        self.trimmed = dict.fromkeys(Accounted, 0)
        self.trimmed_clashes = dict.fromkeys(Accounted, 0)
        self.settled_deleted = 0
        self.settlements: list[Settlement] = []
        self.keeper = KEEPER_NOBODY
        self.open_copies: set[str] = set()

    async def survey(self) -> Survey:
        """As Postgres does."""
        await self.ledger.check()
        highest = max((number for number in self.ledger.entries if number < FIRST_CLASH), default=0)
        stored_ns = self.ledger.entries[highest].stored_ns if highest else 0
        return Survey(volumes=tuple(self.ledger.volumes), highest=highest, highest_stored_ns=stored_ns)

    async def open_volume(self, volume: Volume) -> bool:
        """Moves what belongs to it."""
        await self.ledger.check()
        ledger = self.ledger
        if volume.volume != len(ledger.volumes) + 1:
            return False
        offset = 0
        if ledger.volumes:
            offset = self._move(ledger.volumes[-1], volume)
            ledger.deletions += 1
        ledger.volumes.append(msgspec.structs.replace(volume, offset=offset))
        return True

    def _move(self, last: Volume, volume: Volume) -> int:
        ledger = self.ledger
        taken_by = {number: number for number in ledger.entries if number < FIRST_CLASH}
        taken_by |= {clash.number: clash.taken for clash in ledger.clashes}
        moving: dict[int, int] = {}
        """Number by sequence."""
        for number in sorted(taken_by):
            sequence = ledger.sequence(taken_by[number])
            young = ledger.entries[number].stored_ns >= volume.since_ns
            if young and sequence >= volume.begins and sequence not in moving:
                moving[sequence] = number
                ledger.verified = max(ledger.trimmed_through, min(ledger.verified, taken_by[number] - 1))
        ledger.clashes = [clash for clash in ledger.clashes if clash.number not in moving.values()]
        rows = {sequence: ledger.entries.pop(number) for sequence, number in moving.items()}
        letters = {
            sequence: (ledger.letters.pop(number), ledger.held_ms.pop(number))
            for sequence, number in moving.items()
            if number in ledger.letters
        }
        left = max((number for number in ledger.entries if number < FIRST_CLASH), default=0)
        offset = max(last.offset + last.last_sequence, left) + 1 - volume.begins
        for sequence, entry in rows.items():
            ledger.put(sequence + offset, entry)
        for sequence, (letter, held_ms) in letters.items():
            number = sequence + offset
            ledger.letters[number] = msgspec.structs.replace(letter, stream_sequence=number)
            ledger.held_ms[number] = held_ms
        return offset

    async def read(self, state: MailState, limit: int) -> Reading:
        """By counting everything."""
        await self.ledger.check()
        ledger = self.ledger
        volumes = tuple(ledger.volumes)
        top = top_number(state, volumes)
        pending = pending_spans(state, volumes)
        numbers = [number for number in ledger.entries if number < FIRST_CLASH]
        spent = [number for number in numbers if number <= ledger.verified]
        open_clashes = [clash for clash in ledger.clashes if not clash.settled]
        return Reading(
            volumes=volumes,
            verified=ledger.verified,
            vanished=ledger.vanished,
            settled_deleted=self.settled_deleted,
            deletions=ledger.deletions,
            others=msgspec.structs.replace(self._count(spent), folder=0),
            trimmed=_counts(self.trimmed),
            tail=self._count([number for number in numbers if ledger.verified < number <= top]),
            clash=_add(self._count([clash.number for clash in ledger.clashes]), _counts(self.trimmed_clashes)),
            pending_rows=sum(any(span.first <= number <= span.last for span in pending) for number in numbers),
            deleted_rows=tuple(number for number in deleted_numbers(state, volumes) if number in ledger.entries),
            gaps=tuple(self._gaps(top)),
            open_clashes=len(open_clashes),
            clashes=tuple(
                LedgerClash(
                    stream_sequence=clash.taken,
                    queue_id=ledger.entries[clash.number].queue_id,
                    first_queue_id=clash.first_queue_id,
                    seen_ms=clash.seen_ms,
                )
                for clash in open_clashes[:limit]
            ),
        )

    async def note(self, keeper: str, seconds: float, seen: Seen) -> bool:
        """The lease lasts until `keeper` is set to nobody."""
        await self.ledger.check()
        if self.keeper not in (KEEPER_NOBODY, keeper):
            return False
        self.keeper = keeper
        if seen.deletions == self.ledger.deletions:
            self.ledger.verified = max(self.ledger.verified, seen.verified)
        if seen.volume == len(self.ledger.volumes):
            last = self.ledger.volumes[-1]
            self.ledger.volumes[-1] = msgspec.structs.replace(
                last,
                last_sequence=max(last.last_sequence, seen.last_sequence),
                last_stored_ns=max(last.last_stored_ns, seen.last_stored_ns),
            )
        return True

    async def settle(self, settlement: Settlement) -> int:
        """Rows `written_off`."""
        await self.ledger.check()
        self.settlements.append(settlement)
        ledger = self.ledger
        missing = 0
        detail = f"missing; settled by {settlement.actor}: {settlement.reason}"
        for span in settlement.missing:
            for number in range(span.first, span.last + 1):
                if number not in ledger.entries:
                    entry = LedgerEntry(
                        stream_sequence=number,
                        queue_id=QueueId(""),
                        accounted=Accounted.WRITTEN_OFF,
                        accepted_ms=ledger.now_ms,
                        detail=detail,
                    )
                    ledger.put(number, entry)
                    ledger.settled.add(number)
                    missing += 1
        missing += ledger.vanished
        self.trimmed[Accounted.WRITTEN_OFF] += ledger.vanished
        ledger.vanished = 0
        self.settled_deleted = max(self.settled_deleted, settlement.deleted)
        for clash in ledger.clashes:
            clash.settled = True
        ledger.volumes = [msgspec.structs.replace(volume, settled=True) for volume in ledger.volumes]
        return missing

    async def trim(self, before_ms: int, limit: int) -> bool:
        """All but dead letters and what the queue holds."""
        await self.ledger.check()
        ledger = self.ledger
        through = max(ledger.trimmed_through, min(ledger.trimmed_through + limit, ledger.verified))
        young = [
            number
            for number in ledger.entries
            if ledger.trimmed_through < number <= through and ledger.noted_ms[number] >= before_ms
        ]
        through = min([through, *(number - 1 for number in young)])
        closed = {clash.number for clash in ledger.clashes if clash.settled}
        old = [
            number
            for number, entry in ledger.entries.items()
            if (number <= through or number in closed) and ledger.noted_ms[number] < before_ms and self._ended(entry)
        ]
        for number in old:
            counts = self.trimmed if number < FIRST_CLASH else self.trimmed_clashes
            counts[ledger.entries.pop(number).accounted] += 1
        ledger.clashes = [clash for clash in ledger.clashes if clash.number in ledger.entries]
        more = bool(old) or through > ledger.trimmed_through
        ledger.trimmed_through = through
        return more

    def _ended(self, entry: LedgerEntry) -> bool:
        return entry.accounted is not Accounted.HELD and entry.queue_id not in self.open_copies

    def _count(self, numbers: Sequence[int]) -> Counts:
        counts = dict.fromkeys(Accounted, 0)
        for number in numbers:
            counts[self.ledger.entries[number].accounted] += 1
        return _counts(counts)

    def _gaps(self, top: int) -> list[Span]:
        spans: list[Span] = []
        for number in range(self.ledger.verified + 1, top + 1):
            if number in self.ledger.entries:
                continue
            if spans and spans[-1].last == number - 1:
                spans[-1] = Span(first=spans[-1].first, last=number)
            else:
                spans.append(Span(first=number, last=number))
        return spans


def _counts(counts: dict[Accounted, int]) -> Counts:
    return Counts(**{outcome.value: number for outcome, number in counts.items()})


def _add(one: Counts, other: Counts) -> Counts:
    return Counts(**{name: getattr(one, name) + getattr(other, name) for name in Counts.__struct_fields__})
