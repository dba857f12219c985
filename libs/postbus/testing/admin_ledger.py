"""delivery's books and smtp-edge's counters in memory, as admin-api asks for them."""

import msgspec

from postbus.contracts import Empty
from postbus.contracts.delivery import (
    ChangeHeldReply,
    ChangeHeldRequest,
    GetLedgerReply,
    GetLedgerRequest,
    HeldAction,
    HeldFailure,
    HeldMessage,
    LedgerClash,
    ListHeldReply,
    ListHeldRequest,
    MissingMessage,
    SettleLedgerReply,
    SettleLedgerRequest,
)
from postbus.contracts.smtp_edge import Counters
from postbus.core.errors import ErrorKind, MailError

CREATED_MS = 1_790_000_000_000
CLASH_ALARM = "a stream sequence came with another queue id"


class MemoryBooks:
    """Bookkeeper; `ended` counts what went where, `letters` are dead, those in `stubborn` can't be retried."""

    def __init__(self) -> None:
        self.ended = {"folder": 0, "queued": 0, "dsn": 0, "written_off": 0}
        self.unconsumed = 0
        self.last_sequence: int | None = None
        """None: as many as are accounted for."""
        self.missing: list[MissingMessage] = []
        self.clashes: list[LedgerClash] = []
        self.letters: list[HeldMessage] = []
        self.stubborn: dict[int, str] = {}
        self.away = False
        self.calls: list[object] = []

    async def get_ledger(self, request: GetLedgerRequest) -> GetLedgerReply:
        """The books as they stand."""
        self._take(request)
        accounted = sum(self.ended.values()) + len(self.letters) + self.unconsumed + len(self.missing)
        last = accounted if self.last_sequence is None else self.last_sequence
        return GetLedgerReply(
            at_ms=CREATED_MS + 1_000,
            stream_created_ms=CREATED_MS,
            first_sequence=1,
            last_sequence=last,
            accepted=last,
            **self.ended,
            held=len(self.letters),
            unconsumed=self.unconsumed,
            missing_count=len(self.missing),
            missing=tuple(self.missing[: request.limit]),
            clash_count=len(self.clashes),
            clashes=tuple(self.clashes[: request.limit]),
            alarms=(CLASH_ALARM,) if self.clashes else (),
        )

    async def settle_ledger(self, request: SettleLedgerRequest) -> SettleLedgerReply:
        """Writes off and closes."""
        self._take(request)
        reply = SettleLedgerReply(
            missing=len(self.missing),
            clashes=len(self.clashes),
            alarms=(CLASH_ALARM,) if self.clashes else (),
        )
        if not request.dry_run:
            self.ended["written_off"] += len(self.missing)
            self.missing, self.clashes = [], []
        return reply

    async def list_held(self, request: ListHeldRequest) -> ListHeldReply:
        """A page."""
        self._take(request)
        rest = [letter for letter in self.letters if letter.stream_sequence > request.after]
        page = rest[: request.limit]
        return ListHeldReply(
            messages=tuple(page),
            next_after=page[-1].stream_sequence if len(rest) > len(page) else 0,
            total=len(self.letters),
        )

    async def change_held(self, request: ChangeHeldRequest) -> ChangeHeldReply:
        """Retried ones go to folders, discarded ones are written off."""
        self._take(request)
        chosen = [letter for letter in self.letters if request.stream_sequence in (0, letter.stream_sequence)]
        if request.stream_sequence and not chosen:
            raise MailError(ErrorKind.NOT_FOUND, f"stream_sequence: there is no dead letter {request.stream_sequence}")
        retrying = request.action is HeldAction.RETRY
        kept = [letter for letter in chosen if retrying and letter.stream_sequence in self.stubborn]
        gone = [letter for letter in chosen if letter not in kept]
        if not request.dry_run:
            self.letters = [letter for letter in self.letters if letter not in gone]
            self.ended["folder" if retrying else "written_off"] += len(gone)
        failed = tuple(
            HeldFailure(stream_sequence=letter.stream_sequence, reason=self.stubborn[letter.stream_sequence])
            for letter in kept
        )
        return ChangeHeldReply(changed=len(gone), failed=failed)

    def _take(self, request: object) -> None:
        self.calls.append(request)
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "delivery is away")


class MemoryEdge:
    """SmtpEdge; `counters` None: it is away. `calls` may be shared with others, so that their order shows."""

    def __init__(self, calls: list[object]) -> None:
        self.counters: Counters | None = make_counters()
        self._calls = calls

    async def get_counters(self, request: Empty) -> Counters:
        """As set."""
        self._calls.append(request)
        if self.counters is None:
            raise MailError(ErrorKind.UNAVAILABLE, "smtp-edge can't be reached")
        return self.counters


def make_counters(**changes: object) -> Counters:
    """Of a process that has just started, later than the stream was made."""
    counters = Counters(
        instance_id="edge-1",
        started_ms=CREATED_MS + 500,
        accepted=0,
        refused=0,
        deferred=0,
        last_stream_sequence=0,
        open_sessions=0,
    )
    return msgspec.structs.replace(counters, **changes)


def make_letter(stream_sequence: int, **changes: object) -> HeldMessage:
    """A dead letter."""
    letter = HeldMessage(
        stream_sequence=stream_sequence,
        queue_id=f"01JQZ8Y6KX4M2N3P5R7S9T{stream_sequence:04d}",
        reason="no recipient is left",
        held_ms=CREATED_MS + 900,
        reverse_path="kim@demo.example",
        forward_paths=("a@demo.example", "b@demo.example"),
        size_octets=4096,
    )
    return msgspec.structs.replace(letter, **changes)
