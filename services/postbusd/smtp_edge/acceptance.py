"""End of DATA: from a complete message to one that we own (architecture §3.3, §3.4; promises 1, 3, 4).

The order is the promise: verdict and durable blob first, then the envelope on the bus, and only after its PubAck the
250. Whatever fails before leaves nothing behind but an unreferenced blob, which the collector removes.
"""

import asyncio
import logging

import msgspec

from postbus.contracts.events import Client, EventType, MailAccepted, Origin
from postbus.contracts.filter import CheckMessageReply, CheckMessageRequest, TestHit, Verdict
from postbus.core.errors import MailError
from postbus.core.ids import BlobId
from postbus.core.trace import current_trace
from postbus.mime.codec import encode_scan
from postbus.mime.scanner import Content, scan_message
from postbus.runtime.telemetry import span
from postbus.smtp import replies
from postbus.smtp.limits import MAX_RECEIVED_FIELDS
from postbus.smtp.received import count_received
from postbus.smtp.replies import Reply, make_reply
from postbusd.smtp_edge.building import (
    FILTER_UNAVAILABLE,
    Examined,
    build_envelope,
    build_prefix,
    filter_request,
    helo_of,
)
from postbusd.smtp_edge.conversation import Conversation, Site, Transaction
from postbusd.smtp_edge.looping import leave_out_loops
from postbusd.smtp_edge.ownership import judge_authors
from postbusd.smtp_edge.prechecking import judge_message
from postbusd.smtp_edge.refusals import judge_size, refuse_error
from postbusd.smtp_edge.spool import Spool
from postbusd.smtp_edge.undersigning import sign

log = logging.getLogger(__name__)

MAX_CONTENT_IN_CALL_OCTETS = 256 * 1024
"""Up to here the bytes travel to filter in the call, beside the blob's fsync (architecture §3.3)."""
MAX_SCAN_ON_LOOP_OCTETS = 64 * 1024
"""A larger message is scanned in a thread."""
MAX_HEADER_OCTETS = 1024 * 1024
"""Of the header section that delivery's Precheck sees."""
MAX_SCAN_OCTETS = 256 * 1024
"""Of the encoded scan in `mail.accepted`: a larger one is left out, and readers scan the blob themselves."""


class Refused(Exception):  # noqa: N818  # an outcome, not an error
    """The message is answered with `reply`."""

    def __init__(self, reply: Reply) -> None:
        """4xx or 5xx."""
        super().__init__(reply.text)
        self.reply = reply


async def accept_message(conversation: Conversation, transaction: Transaction, spool: Spool) -> Reply:
    """The answer to the final dot. Raises nothing but unknown exceptions (the session's 451 with an incident)."""
    site = conversation.site
    started = site.clock.monotonic()
    try:
        accepted = await _own(conversation, transaction, spool)
    except Refused as refused:
        reply = refused.reply
    except MailError as error:
        log.warning("smtp.message.failed", extra={"queue_id": transaction.queue_id, "reason": str(error)})
        reply = refuse_error(error)
    else:
        transaction.outcome = "accepted"
        _note_accepted(conversation, accepted)
        reply = make_reply(250, "2.0.0", f"queued as {accepted.queue_id}")
    site.counters.end_of_data_took(site.clock.monotonic() - started)
    if not reply.is_positive:
        note_refused(conversation, transaction, reply)
    return reply


def note_refused(conversation: Conversation, transaction: Transaction, reply: Reply) -> None:
    """Counts, logs and reports a message that we did not take."""
    conversation.site.counters.not_owned(reply)
    transaction.outcome = "refused" if reply.is_permanent else "deferred"
    detail = f"{reply.code} {reply.enhanced} {reply.text}"
    facts = {
        "queue_id": transaction.queue_id,
        "reverse_path": transaction.reverse_path,
        "client_address": conversation.client_address,
        "reply": detail,
    }
    log.info("smtp.message.refused" if reply.is_permanent else "smtp.message.deferred", extra=facts)
    if reply.is_permanent:
        conversation.site.events.note(
            EventType.DENIED,
            "message refused",
            queue_id=transaction.queue_id,
            reverse_path=transaction.reverse_path,
            client_address=conversation.client_address,
            detail=detail,
        )


async def _own(conversation: Conversation, transaction: Transaction, spool: Spool) -> MailAccepted:
    """Raises Refused, MailError."""
    site = conversation.site
    _check(judge_size((each.resolution for each in transaction.recipients), spool.octets))
    examined = await _examine(spool)
    if count_received(examined.header) >= MAX_RECEIVED_FIELDS:
        raise Refused(replies.TOO_MANY_HOPS)
    _check(leave_out_loops(transaction, examined))
    if conversation.login is not None:
        _check(await judge_authors(site.recipients, conversation.login, examined))
        signed = await sign(conversation, transaction, spool, examined)
        if signed is not spool:
            spool, examined = signed, await _examine(signed)
    client_name = (await conversation.connection_verdict()).client_name
    request = filter_request(conversation, transaction, examined, spool.octets, client_name)
    verdict, blob_id = await _check_and_store(site, request, spool)
    _judge(transaction, verdict)
    _check(await judge_message(conversation, transaction, examined, verdict))
    accepted = MailAccepted(
        queue_id=transaction.queue_id,
        origin=Origin.SUBMISSION if conversation.login else Origin.SMTP,
        accepted_ms=site.clock.now_ms(),
        envelope=build_envelope(transaction),
        client=Client(
            address=conversation.client_address,
            name=client_name,
            helo=helo_of(conversation),
            tls=conversation.tls,
            mailbox_id=conversation.login.mailbox_id if conversation.login else None,
        ),
        blob_id=blob_id,
        blob_octets=spool.octets,
        verdict=verdict,
        prefix=b"",
        scan=examined.encoded,
        traceparent=trace.format() if (trace := current_trace()) else "",
    )
    accepted = msgspec.structs.replace(accepted, prefix=build_prefix(conversation, accepted, examined))
    with span("bus.publish_mail", {"queue_id": accepted.queue_id}):
        sequence = await site.bus.publish_mail(accepted)
    site.counters.owned(sequence, spool.octets)
    return accepted


def _check(refusal: Reply | None) -> None:
    if refusal is not None:
        raise Refused(refusal)


async def _examine(spool: Spool) -> Examined:
    """Scans the message: here when small, in a thread when large."""
    if spool.path is not None:
        return await asyncio.to_thread(_examine_file, spool)
    content = spool.content()
    if len(content) > MAX_SCAN_ON_LOOP_OCTETS:
        return await asyncio.to_thread(_examine_content, content)
    return _examine_content(content)


def _examine_content(content: Content) -> Examined:
    scan = scan_message(content)
    encoded = encode_scan(scan)
    header = bytes(content[: min(scan.body_start, MAX_HEADER_OCTETS)])
    return Examined(scan, encoded if len(encoded) <= MAX_SCAN_OCTETS else b"", header)


def _examine_file(spool: Spool) -> Examined:
    with spool.mapped() as content:
        return _examine_content(content)


async def _check_and_store(site: Site, request: CheckMessageRequest, spool: Spool) -> tuple[CheckMessageReply, BlobId]:
    """Verdict and durable blob: side by side while the bytes fit the call, else one after the other."""
    if spool.path is not None or spool.octets > MAX_CONTENT_IN_CALL_OCTETS:
        blob_id = await _store(site, spool)
    else:
        checking = _ask_filter(site, msgspec.structs.replace(request, content=spool.content()))
        verdict, stored = await asyncio.gather(checking, _store(site, spool), return_exceptions=True)
        for outcome in (verdict, stored):
            if isinstance(outcome, BaseException):
                raise outcome
        assert isinstance(verdict, CheckMessageReply)
        assert isinstance(stored, str)
        return verdict, stored
    return await _ask_filter(site, msgspec.structs.replace(request, blob_id=blob_id)), blob_id


async def _store(site: Site, spool: Spool) -> BlobId:
    with span("blobs.put", {"octets": spool.octets}):
        return await (site.blobs.put(spool.content()) if spool.path is None else site.blobs.put_file(spool.path))


async def _ask_filter(site: Site, request: CheckMessageRequest) -> CheckMessageReply:
    """filter's verdict; without filter 451, or no verdict where the setting allows that (promise 4)."""
    try:
        return await site.message_filter.check_message(request)
    except MailError as error:
        log.warning("smtp.filter.unavailable", extra={"queue_id": request.queue_id, "reason": str(error)})
        if not site.settings.accept_unfiltered:
            raise Refused(replies.FILTER_AWAY) from error
        tests = (TestHit(name=FILTER_UNAVAILABLE, score=0.0),)
        return CheckMessageReply(verdict=Verdict.ACCEPT, score=0.0, required=0.0, tests=tests)


def _judge(transaction: Transaction, verdict: CheckMessageReply) -> None:
    """Refused when nobody would take it; a verdict per recipient travels on in `mail.accepted`."""
    own = {part.forward_path: part.verdict for part in verdict.recipients}
    paths = [recipient.command.address for recipient in transaction.recipients]
    words = [own.get(path, verdict.verdict) for path in paths]
    if all(word is Verdict.REJECT for word in words):
        raise Refused(_spoken(verdict, replies.CONTENT_REJECTED))
    if any(word is Verdict.DEFER for word in words):
        raise Refused(_spoken(verdict, replies.CONTENT_DEFERRED))


def _spoken(verdict: CheckMessageReply, default: Reply) -> Reply:
    """filter's own words where they fit the class of the reply."""
    enhanced = verdict.reply_enhanced if verdict.reply_enhanced[:1] == str(default.code)[0] else default.enhanced
    return make_reply(default.code, enhanced, verdict.reply_text or default.text)


def _note_accepted(conversation: Conversation, accepted: MailAccepted) -> None:
    facts = {
        "queue_id": accepted.queue_id,
        "reverse_path": accepted.envelope.reverse_path,
        "recipients": len(accepted.envelope.forward_paths),
        "octets": accepted.blob_octets,
        "verdict": accepted.verdict.verdict.value,
        "client_address": accepted.client.address,
    }
    log.info("smtp.message.accepted", extra=facts)
    conversation.site.events.note(
        EventType.RECEIVED,
        "message received",
        at_ms=accepted.accepted_ms,
        queue_id=accepted.queue_id,
        reverse_path=accepted.envelope.reverse_path,
        forward_path=", ".join(path.address for path in accepted.envelope.forward_paths[:10]),
        client_address=accepted.client.address,
        mailbox=conversation.login.address if conversation.login else "",
        detail=accepted.verdict.verdict.value,
    )
