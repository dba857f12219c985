"""The last leg of a message: from `mail.accepted` to its folders (architecture §3.5).

The resolution made at RCPT travels in the envelope and is the pinned expansion: a redelivery leads to the same
mailboxes, whatever the directory says by then, so that the key (mailbox_id, queue_id) is all that promise 2 needs. Only
a forward_path that could not be resolved then is resolved now.

Order within a batch: append (one round trip) → wake-ups → ledger → ack. Dying between two of them redelivers, and the
key answers DUPLICATE.
"""

from collections.abc import Sequence

import msgspec

from postbus.contracts.delivery import Accounted, Placement
from postbus.contracts.events import Event, EventType, MailAccepted
from postbus.contracts.filter import Verdict
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId, new_email_id, new_uuid7
from postbus.mailstore.prepare import complete_scan, prepare_message
from postbus.mailstore.values import Append, AppendOutcome, AppendResult, SpecialUse
from postbus.mime.codec import decode_scan
from postbus.mime.values import Scan
from postbus.runtime.telemetry import is_exporting
from postbusd.delivery.outbound.entering import Lifetime, plan_outgoing
from postbusd.delivery.outbound.queue import Outgoing


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """One mailbox that a message goes to, by the first forward_path that leads there."""

    mailbox_id: MailboxId
    address: str
    forward_path: str
    reverse_path: str
    """The list's bounce path for a list's copies (the list is the mediator)."""
    quarantine: bool


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """A message with all its destinations and what is to be appended; the two are parallel."""

    stream_sequence: int
    accepted: MailAccepted
    destinations: tuple[Destination, ...]
    appends: tuple[Append, ...]
    outgoing: Outgoing | None = None
    """Its copies to other hosts."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan needs to know about the installation."""

    mail_host: str
    lifetime: Lifetime


def plan_journey(stream_sequence: int, accepted: MailAccepted, scan: Scan | None, now_ms: int, site: Site) -> Journey:
    """What to append and to send for a message whose forward_paths are all resolved; `scan` where it does not travel
    along.

    Raises MailError: INVALID when it leads nowhere (it then becomes a dead letter, never nothing).
    """
    destinations = find_destinations(accepted)
    parsed = scan or decode_scan(accepted.scan)
    message_id = complete_scan(parsed, accepted.prefix).message_id
    outgoing = plan_outgoing(accepted, message_id, site.mail_host, site.lifetime)
    if not destinations and outgoing is None:
        raise MailError(ErrorKind.INVALID, _why_nowhere(accepted))
    appends = tuple(_append(accepted, destination, parsed, message_id, now_ms) for destination in destinations)
    return Journey(
        stream_sequence=stream_sequence,
        accepted=accepted,
        destinations=destinations,
        appends=appends,
        outgoing=outgoing,
    )


def _why_nowhere(accepted: MailAccepted) -> str:
    reasons = "; ".join(f"{path.address}: {path.resolution.reason}" for path in accepted.envelope.forward_paths[:10])
    return f"no forward_path leads to a mailbox: {reasons}"


def find_destinations(accepted: MailAccepted) -> tuple[Destination, ...]:
    """Each mailbox once, whatever paths lead there (promise 2)."""
    found: dict[MailboxId, Destination] = {}
    own = {verdict.forward_path: verdict.verdict for verdict in accepted.verdict.recipients}
    for path in accepted.envelope.forward_paths:
        quarantine = own.get(path.address, accepted.verdict.verdict) is Verdict.QUARANTINE
        for target in path.resolution.targets:
            found.setdefault(
                target.mailbox_id,
                Destination(
                    mailbox_id=target.mailbox_id,
                    address=target.address,
                    forward_path=path.address,
                    reverse_path=path.resolution.bounce_path or accepted.envelope.reverse_path,
                    quarantine=quarantine,
                ),
            )
    return tuple(found.values())


def final_prefix(accepted: MailAccepted, destination: Destination) -> bytes:
    """Return-Path (RFC 5321 §4.4) and Delivered-To before what smtp-edge and filter have added."""
    return (
        f"Return-Path: <{destination.reverse_path}>\r\nDelivered-To: {destination.forward_path}\r\n".encode()
        + accepted.prefix
    )


def _append(accepted: MailAccepted, destination: Destination, scan: Scan, message_id: str, now_ms: int) -> Append:
    return Append(
        mailbox_id=destination.mailbox_id,
        operation_key=accepted.queue_id,
        folder=SpecialUse.JUNK if destination.quarantine else SpecialUse.INBOX,
        message=prepare_message(
            email_id=new_email_id(now_ms),
            blob_id=accepted.blob_id,
            prefix=final_prefix(accepted, destination),
            scan=scan,
            internal_date_ms=accepted.accepted_ms,
        ),
        fallback_to_inbox=True,
        may_overdraw=True,
        events=(_event(accepted, destination, message_id, now_ms),),
        traceparent=accepted.traceparent if is_exporting() else "",
    )


def _event(accepted: MailAccepted, destination: Destination, message_id: str, now_ms: int) -> Event:
    return Event(
        event_id=new_uuid7(now_ms),
        type=EventType.QUARANTINED if destination.quarantine else EventType.DELIVERED,
        at_ms=now_ms,
        service="delivery",
        summary=f"{'filed as spam' if destination.quarantine else 'delivered'} for {destination.address}",
        queue_id=accepted.queue_id,
        message_id=message_id,
        domain=destination.address.rpartition("@")[2],
        mailbox=destination.address,
        reverse_path=accepted.envelope.reverse_path,
        forward_path=destination.forward_path,
        client_address=accepted.client.address,
        traceparent=accepted.traceparent,
    )


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a journey: its placements, and why a copy could not be placed."""

    accounted: Accounted
    placements: tuple[Placement, ...]
    detail: str


def judge(journey: Journey, results: Sequence[AppendResult]) -> Arrival:
    """FOLDER when every copy has its place, QUEUED when others go out, HELD when one has none (its mailbox is gone)."""
    placements = []
    missing = []
    for destination, result in zip(journey.destinations, results, strict=True):
        if result.outcome in {AppendOutcome.STORED, AppendOutcome.DUPLICATE}:
            placements.append(
                Placement(
                    mailbox_id=destination.mailbox_id,
                    address=destination.address,
                    folder=result.folder_name,
                    uid=result.uid,
                )
            )
        else:
            missing.append(f"{destination.address}: {result.outcome}")
    settled = Accounted.FOLDER if journey.outgoing is None else Accounted.QUEUED
    return Arrival(
        accounted=Accounted.HELD if missing else settled,
        placements=tuple(placements),
        detail="; ".join(missing),
    )
