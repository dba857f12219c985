"""The ledger and the dead letters as admin-api asks for them (`postbus.contracts.delivery.Bookkeeper`)."""

import logging

import msgspec

from postbus.bus.mail_stream import decode_mail
from postbus.contracts.delivery import (
    ChangeHeldReply,
    ChangeHeldRequest,
    GetLedgerReply,
    GetLedgerRequest,
    HeldAction,
    HeldFailure,
    HeldMessage,
    ListHeldReply,
    ListHeldRequest,
    SettleLedgerReply,
    SettleLedgerRequest,
)
from postbus.core.errors import ErrorKind, MailError
from postbusd.delivery.ledger.audit import Auditor, Look
from postbusd.delivery.ledger.held import HeldMail
from postbusd.delivery.ledger.numbers import number_of, stream_spans, subtract
from postbusd.delivery.ledger.ports import Books, Letter, Letters, Settlement
from postbusd.delivery.ledger.values import Span

log = logging.getLogger(__name__)

MAX_LISTED = 1000
MAX_SETTLE_LOOKS = 100
"""Looks that one settlement takes: each sees the first gaps only."""
SHOWN_PATHS = 10
SHOWN_FAILURES = 100
PAGE_LETTERS = 100


class Bookkeeping:
    """Implements `Bookkeeper`."""

    def __init__(self, auditor: Auditor, books: Books, letters: Letters, held: HeldMail) -> None:
        """`books` and `letters` are the database."""
        self._auditor = auditor
        self._books = books
        self._letters = letters
        self._held = held

    async def get_ledger(self, request: GetLedgerRequest) -> GetLedgerReply:
        """See `Bookkeeper.get_ledger`."""
        _check_limit(request.limit)
        look = await self._auditor.look(request.limit)
        missing = await self._auditor.name_missing(look, request.limit)
        return msgspec.structs.replace(look.balance.reply, missing=missing)

    async def settle_ledger(self, request: SettleLedgerRequest) -> SettleLedgerReply:
        """See `Bookkeeper.settle_ledger`. What the stream still holds is not written off: it is delivered again."""
        look = await self._auditor.look(MAX_LISTED)
        reply = look.balance.reply
        missing = _lost_for_good(look)
        written_off = sum(map(len, missing)) + look.reading.vanished
        if not request.dry_run:
            written_off = await self._books.settle(self._settlement(request, look, missing))
            for _ in range(MAX_SETTLE_LOOKS):
                again = await self._auditor.look(1)
                left = _lost_for_good(again)
                if not left:
                    break
                written_off += await self._books.settle(self._settlement(request, again, left))
            facts = {"missing": written_off, "clashes": reply.clash_count, "alarms": list(reply.alarms)}
            log.warning("delivery.ledger.settled", extra={"actor": request.actor, "reason": request.reason, **facts})
        return SettleLedgerReply(missing=written_off, clashes=reply.clash_count, alarms=reply.alarms)

    async def list_held(self, request: ListHeldRequest) -> ListHeldReply:
        """See `Bookkeeper.list_held`."""
        _check_limit(request.limit)
        letters = await self._letters.page(request.after, request.limit + 1)
        page = letters[: request.limit]
        return ListHeldReply(
            messages=tuple(_describe(letter) for letter in page),
            next_after=page[-1].number if len(letters) > len(page) else 0,
            total=await self._letters.count(),
        )

    async def change_held(self, request: ChangeHeldRequest) -> ChangeHeldReply:
        """See `Bookkeeper.change_held`."""
        if request.stream_sequence:
            letter = await self._letters.letter(request.stream_sequence)
            if letter is None:
                raise MailError(
                    ErrorKind.NOT_FOUND, f"stream_sequence: there is no dead letter {request.stream_sequence}"
                )
            return ChangeHeldReply(changed=1) if request.dry_run else await self._change([letter], request)
        if request.dry_run:
            return ChangeHeldReply(changed=await self._letters.count())
        changed, after = 0, 0
        failed: tuple[HeldFailure, ...] = ()
        while letters := await self._letters.page(after, PAGE_LETTERS):
            done = await self._change(letters, request)
            changed, failed, after = changed + done.changed, failed + done.failed, letters[-1].number
        return ChangeHeldReply(changed=changed, failed=failed[:SHOWN_FAILURES])

    async def _change(self, letters: list[Letter], request: ChangeHeldRequest) -> ChangeHeldReply:
        changed = 0
        failed = []
        for letter in letters:
            try:
                if request.action is HeldAction.RETRY:
                    await self._held.retry(letter, request.actor)
                    changed += 1
                else:
                    changed += await self._held.discard(letter, request.actor, request.reason)
            except MailError as error:
                failed.append(HeldFailure(stream_sequence=letter.number, reason=error.detail))
        return ChangeHeldReply(changed=changed, failed=tuple(failed))

    def _settlement(self, request: SettleLedgerRequest, look: Look, missing: tuple[Span, ...]) -> Settlement:
        return Settlement(
            actor=request.actor,
            reason=request.reason,
            missing=missing,
            deleted=look.state.deleted,
            alarms=look.balance.reply.alarms,
        )


def _lost_for_good(look: Look) -> tuple[Span, ...]:
    """What is missing and not in the stream any more."""
    volumes = look.reading.volumes
    numbers = [number_of(sequence, volumes) for sequence in look.state.deleted_sequences]
    lost = [Span(first=number, last=number) for number in numbers if number is not None]
    held = tuple(subtract(stream_spans(look.state, volumes), lost))
    return tuple(subtract(look.balance.missing, held))


def _describe(letter: Letter) -> HeldMessage:
    """With what its payload tells, if that can be read."""
    told = HeldMessage(
        stream_sequence=letter.number, queue_id=letter.queue_id, reason=letter.reason, held_ms=letter.held_ms
    )
    accepted = decode_mail(letter.payload)
    if accepted is None:
        return told
    return msgspec.structs.replace(
        told,
        reverse_path=accepted.envelope.reverse_path,
        forward_paths=tuple(path.address for path in accepted.envelope.forward_paths[:SHOWN_PATHS]),
        size_octets=accepted.blob_octets + len(accepted.prefix),
    )


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LISTED:
        raise MailError(ErrorKind.INVALID, f"limit: 1 to {MAX_LISTED}")
