"""Dead letters in an administrator's hands: delivered after all, by the same road and the same keys, or given up.

A retry goes where the message went at first. What led nowhere then (a refused forward_path, a mailbox that is gone) is
asked of directory again, and what it says is kept in the letter before anything is delivered by it: a retry that dies
half-way is followed by one to the same destinations. A message all of whose forward_paths have not found their place
stays a dead letter, with the reason.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from postbus.blobs.ports import BlobStore
from postbus.bus.codec import encode_value
from postbus.bus.mail_stream import decode_mail
from postbus.bus.ports import WakeUps
from postbus.contracts.delivery import Accounted
from postbus.contracts.directory import AddressResolver, Outcome, Resolution, ResolveRequest
from postbus.contracts.events import Event, EventType, ForwardPath, MailAccepted
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_uuid7
from postbus.core.trace import parse_traceparent, use_trace
from postbus.mailstore.ports import MessageAppender
from postbus.mailstore.values import AppendOutcome, AppendResult
from postbus.mime.scanner import scan_message
from postbusd.delivery.expansion import Expander
from postbusd.delivery.journey import Journey, Site, judge, plan_journey
from postbusd.delivery.ledger.ports import Letter, Letters
from postbusd.delivery.outbound.entering import OWN_ORIGINS
from postbusd.delivery.ports import LedgerEntry
from postbusd.delivery.waking import wake_readers

log = logging.getLogger(__name__)

_NOWHERE = frozenset({Outcome.REJECT, Outcome.LATER})
_PLACED = frozenset({AppendOutcome.STORED, AppendOutcome.DUPLICATE})


class Road(msgspec.Struct, frozen=True, kw_only=True):
    """What a message passes on its way; the worker's own."""

    store: MessageAppender
    blobs: BlobStore
    bus: WakeUps
    resolver: AddressResolver
    expander: Expander
    site: Site
    wake_queue: Callable[[], None]
    clock: Clock


class HeldMail:
    """Retries and discards, a letter at a time."""

    def __init__(self, letters: Letters, road: Road) -> None:
        """`letters` is the database."""
        self._letters = letters
        self._road = road

    async def retry(self, letter: Letter, actor: str) -> None:
        """Delivers it. Raises MailError telling why it stays a dead letter."""
        accepted = decode_mail(letter.payload)
        if accepted is None:
            raise MailError(ErrorKind.INVALID, "its envelope can't be read")
        with use_trace(parse_traceparent(accepted.traceparent)):
            try:
                await self._deliver(letter, accepted, actor)
            except MailError as error:
                await self._explain(letter, error)
                raise
            except Exception as error:
                incident = os.urandom(6).hex()
                log.exception("delivery.held.failed", extra={"queue_id": letter.queue_id, "incident": incident})
                raise MailError(ErrorKind.INTERNAL, f"incident {incident}: {type(error).__name__}") from error

    async def discard(self, letter: Letter, actor: str, reason: str) -> bool:
        """Gives it up; the ledger keeps who did and why. False: it is gone already."""
        now_ms = self._road.clock.now_ms()
        entry = _entry(letter, Accounted.WRITTEN_OFF, f"discarded by {actor}: {reason}")
        event = _discarded_event(letter, actor, reason, now_ms)
        done = await self._letters.release(entry, (), (event,), now_ms)
        if done:
            facts = {"queue_id": letter.queue_id, "stream_sequence": letter.number}
            log.warning("delivery.held.discarded", extra={**facts, "actor": actor, "reason": reason})
        return done

    async def _deliver(self, letter: Letter, accepted: MailAccepted, actor: str) -> None:
        accepted = await self._road.expander.expand(accepted)
        accepted = await self._resolve_again(letter, accepted, {path.address for path in _nowhere(accepted)})
        journey, results = await self._store(letter, accepted)
        gone = _not_placed(journey, results)
        if gone:
            accepted = await self._resolve_again(letter, accepted, gone)
            journey, results = await self._store(letter, accepted)
        arrival = judge(journey, results)
        still = [f"{path.address}: {path.resolution.reason or 'leads nowhere'}" for path in _nowhere(accepted)]
        if still or arrival.accounted is Accounted.HELD:
            raise MailError(ErrorKind.INVALID, "; ".join([*still[:10], *filter(None, [arrival.detail])]))
        entry = _entry(letter, arrival.accounted, f"was held ({letter.reason}); retried by {actor}")
        entry = msgspec.structs.replace(entry, placements=arrival.placements)
        outgoing = () if journey.outgoing is None else (journey.outgoing,)
        if await self._letters.release(entry, outgoing, (), self._road.clock.now_ms()):
            facts = {"queue_id": letter.queue_id, "stream_sequence": letter.number, "actor": actor}
            log.info("delivery.held.retried", extra={**facts, "outcome": arrival.accounted})
        if outgoing:
            self._road.wake_queue()

    async def _store(self, letter: Letter, accepted: MailAccepted) -> tuple[Journey, list[AppendResult]]:
        road = self._road
        scan = None if accepted.scan else scan_message(await road.blobs.get(accepted.blob_id))
        journey = plan_journey(letter.number, accepted, scan, road.clock.now_ms(), road.site)
        results = await road.store.append(journey.appends) if journey.appends else []
        await wake_readers(road.bus, journey.appends, results)
        return journey, results

    async def _resolve_again(self, letter: Letter, accepted: MailAccepted, paths: Collection[str]) -> MailAccepted:
        """Asks the directory itself, not its cache, and keeps the answer."""
        if not paths:
            return accepted
        asked = tuple(sorted(paths))
        reply = await self._road.resolver.resolve(ResolveRequest(forward_paths=asked, bypass_cache=True))
        if any(resolution.outcome is Outcome.LATER for resolution in reply.resolutions):
            raise MailError(ErrorKind.UNAVAILABLE, "directory can't resolve a forward_path now")
        accepted = _resolved(accepted, dict(zip(asked, reply.resolutions, strict=True)))
        await self._letters.amend(letter.number, encode_value(accepted), letter.reason)
        return accepted

    async def _explain(self, letter: Letter, error: MailError) -> None:
        """The letter tells why it stayed; a part that is away is no reason."""
        if error.kind is not ErrorKind.UNAVAILABLE:
            kept = await self._letters.letter(letter.number)
            if kept is not None:
                await self._letters.amend(letter.number, kept.payload, error.detail)


def _nowhere(accepted: MailAccepted) -> Iterator[ForwardPath]:
    """Forward_paths that lead to no mailbox, no list and no host that we may send to."""
    for path in accepted.envelope.forward_paths:
        outcome = path.resolution.outcome
        if outcome in _NOWHERE or (outcome is Outcome.REMOTE and accepted.origin not in OWN_ORIGINS):
            yield path


def _not_placed(journey: Journey, results: Sequence[AppendResult]) -> set[str]:
    """Forward_paths with a mailbox that took nothing, whichever of them was the first to lead there."""
    gone = {
        destination.mailbox_id
        for destination, result in zip(journey.destinations, results, strict=True)
        if result.outcome not in _PLACED
    }
    return {
        path.address
        for path in journey.accepted.envelope.forward_paths
        if any(target.mailbox_id in gone for target in path.resolution.targets)
    }


def _resolved(accepted: MailAccepted, found: dict[str, Resolution]) -> MailAccepted:
    paths = tuple(
        msgspec.structs.replace(path, resolution=found.get(path.address, path.resolution))
        for path in accepted.envelope.forward_paths
    )
    return msgspec.structs.replace(accepted, envelope=msgspec.structs.replace(accepted.envelope, forward_paths=paths))


def _entry(letter: Letter, accounted: Accounted, detail: str) -> LedgerEntry:
    return LedgerEntry(
        stream_sequence=letter.number, queue_id=letter.queue_id, accounted=accounted, accepted_ms=0, detail=detail
    )


def _discarded_event(letter: Letter, actor: str, reason: str, now_ms: int) -> Event:
    """Given up, as a copy that a remote refused is; nobody is told, though."""
    accepted = decode_mail(letter.payload)
    paths = accepted.envelope.forward_paths if accepted else ()
    return Event(
        event_id=new_uuid7(now_ms),
        type=EventType.BOUNCED,
        at_ms=now_ms,
        service="delivery",
        summary=f"dead letter discarded by {actor}",
        queue_id=letter.queue_id,
        domain=paths[0].address.rpartition("@")[2] if paths else "",
        reverse_path=accepted.envelope.reverse_path if accepted else "",
        forward_path=paths[0].address if paths else "",
        detail=f"{reason} (it was held: {letter.reason})",
        traceparent=accepted.traceparent if accepted else "",
    )
