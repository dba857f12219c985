"""MAIL and RCPT (RFC 5321 §4.1.1.2, §4.1.1.3): who may send, who receives (architecture §3.2)."""

import logging
from collections.abc import Callable
from pathlib import Path

from postbus.contracts.directory import Resolution
from postbus.contracts.events import EventType
from postbus.contracts.filter import Verdict
from postbus.core.errors import MailError
from postbus.core.ids import new_queue_id
from postbus.core.trace import current_trace, new_trace, use_trace
from postbus.runtime.log import current_session
from postbus.runtime.telemetry import Span
from postbus.smtp import replies
from postbus.smtp.commands import Mail, Rcpt
from postbus.smtp.replies import Reply, make_reply
from postbusd.smtp_edge.conversation import Conversation, Recipient, Transaction
from postbusd.smtp_edge.ownership import judge_reverse_path
from postbusd.smtp_edge.prechecking import judge_envelope
from postbusd.smtp_edge.recipients import needs_fresh_quota, pin
from postbusd.smtp_edge.refusals import judge_recipient, refuse_error
from postbusd.smtp_edge.spool import Spool

log = logging.getLogger(__name__)

MAX_EXPANSION = 10_000
"""Mailboxes and addresses that the recipients of one transaction come to, unless one alone comes to more: all of them
travel in `mail.accepted`, which must fit into one bus message."""

Upcoming = Callable[[], list[Rcpt]]


async def answer_mail(conversation: Conversation, command: Mail) -> Reply:
    """Opens a transaction with a queue_id and a trace of its own."""
    site = conversation.site
    queue_id = new_queue_id(site.clock.now_ms())
    facts: dict[str, str | int] = {"queue_id": queue_id, "session_id": current_session(), "listener": conversation.kind}
    transaction = Transaction(command, queue_id, Span("smtp.accept", new_trace(), None, facts, (current_trace(),)))
    with use_trace(transaction.span.context):
        try:
            reply, reason = await _judge_reverse_path(conversation, transaction), ""
        except MailError as error:
            reply, reason = refuse_error(error), str(error)
        if reply.is_positive:
            conversation.transaction = transaction
        else:
            log.info("smtp.mail.refused", extra=_facts(conversation, transaction, reply) | {"reason": reason})
            transaction.span.set(outcome="refused" if reply.is_permanent else "deferred")
            transaction.span.end()
    return reply


async def _judge_reverse_path(conversation: Conversation, transaction: Transaction) -> Reply:
    site, command = conversation.site, transaction.mail
    if conversation.takes_logins and conversation.login is None:
        return replies.AUTH_REQUIRED if conversation.tls else replies.TLS_REQUIRED
    if command.size is not None and command.size > conversation.policy.max_message_octets:
        return replies.MESSAGE_TOO_BIG
    await site.blobs.check_writable()
    login = conversation.login
    if login is None:
        return replies.REVERSE_PATH_OK
    refusal = await judge_reverse_path(site.recipients, login, transaction.reverse_path)
    if refusal is not None:
        site.events.note(
            EventType.DENIED,
            "sender refused",
            mailbox=login.address,
            reverse_path=transaction.reverse_path,
            client_address=conversation.client_address,
            detail=f"{refusal.code} {refusal.enhanced} {refusal.text}",
        )
    return refusal or await site.rates.add_message(login, site.events) or replies.REVERSE_PATH_OK


async def answer_rcpt(conversation: Conversation, command: Rcpt, upcoming: Upcoming) -> Reply:
    """Adds a recipient; `upcoming` gives those that are pipelined behind this one, to be resolved with it."""
    transaction = conversation.transaction
    if transaction is None:
        return replies.NEED_MAIL
    if any(recipient.command.address == command.address for recipient in transaction.recipients):
        conversation.idle_commands += 1
        return replies.FORWARD_PATH_OK
    if len(transaction.recipients) >= conversation.site.settings.max_recipients:
        return replies.TOO_MANY_RECIPIENTS
    reason = ""
    try:
        reply = await _judge_recipient(conversation, transaction, command, upcoming)
    except MailError as error:
        reply, reason = refuse_error(error), str(error)
    conversation.site.counters.recipient(reply)
    if not reply.is_positive:
        _note_refusal(conversation, transaction, command, reply, reason)
    return reply


async def _judge_recipient(
    conversation: Conversation, transaction: Transaction, command: Rcpt, upcoming: Upcoming
) -> Reply:
    if command.forward_path is not None and command.forward_path.is_literal:
        return replies.LITERAL_REFUSED
    refusal = await _refuse_client(conversation, command)
    if refusal is not None:
        return refusal
    site, logged_in, size = conversation.site, conversation.login is not None, transaction.mail.size
    resolution = await _resolve(conversation, transaction, command, upcoming)
    reply = judge_recipient(resolution, logged_in, size)
    if reply.is_permanent or needs_fresh_quota(resolution, conversation.policy.max_message_octets):
        resolution = await site.recipients.confirm(command.address)
        reply = judge_recipient(resolution, logged_in, size)
    if not reply.is_positive:
        return reply
    refusal = await _refuse_accepted(conversation, transaction, resolution)
    if refusal is None:
        transaction.recipients.append(Recipient(command=command, resolution=pin(resolution)))
    return refusal or reply


async def _refuse_accepted(
    conversation: Conversation, transaction: Transaction, resolution: Resolution
) -> Reply | None:
    """What may still refuse a recipient that directory knows: its size, a list for its members, the login's rate."""
    resolutions = [resolution, *(recipient.resolution for recipient in transaction.recipients)]
    expansion = sum(len(each.targets) + len(each.remotes) for each in resolutions)
    if transaction.recipients and expansion > MAX_EXPANSION:
        return replies.TOO_MANY_RECIPIENTS
    refusal = await judge_envelope(conversation, transaction, resolution)
    if refusal is None and conversation.login is not None:
        refusal = await conversation.site.rates.add_recipient(conversation.login, conversation.site.events)
    return refusal


async def _refuse_client(conversation: Conversation, command: Rcpt) -> Reply | None:
    """filter's word on the client; postmaster hears everybody (RFC 5321 §4.5.1)."""
    if command.is_postmaster:
        return None
    word = await conversation.connection_verdict()
    if word.verdict is Verdict.REJECT:
        return make_reply(550, "5.7.1", word.reply_text) if word.reply_text else replies.CLIENT_REJECTED
    if word.verdict is Verdict.DEFER:
        return make_reply(451, "4.7.1", word.reply_text) if word.reply_text else replies.CONTENT_DEFERRED
    return None


async def _resolve(
    conversation: Conversation, transaction: Transaction, command: Rcpt, upcoming: Upcoming
) -> Resolution:
    known = transaction.resolved.pop(command.address, None)
    if known is not None:
        return known
    addresses = [command.address, *(each.address for each in upcoming())]
    transaction.resolved = await conversation.site.recipients.resolve(addresses)
    return transaction.resolved.pop(command.address)


def start_data(conversation: Conversation) -> Reply:
    """354: from now on the message is spooled."""
    transaction, site = conversation.transaction, conversation.site
    if transaction is None or not transaction.recipients:
        return replies.NO_RECIPIENTS
    transaction.spool = Spool(Path(site.spool_dir) / transaction.queue_id, site.settings.memory_octets, site.memory)
    transaction.deadline = site.clock.monotonic() + site.settings.data_seconds
    return replies.START_MAIL_INPUT


def _note_refusal(
    conversation: Conversation, transaction: Transaction, command: Rcpt, reply: Reply, reason: str
) -> None:
    """`reason` tells what broke: it stays in the log."""
    facts = _facts(conversation, transaction, reply) | {"forward_path": command.address}
    if reason:
        facts["reason"] = reason
    log.info("smtp.rcpt.rejected" if reply.is_permanent else "smtp.rcpt.deferred", extra=facts)
    if reply.is_permanent:
        conversation.refused_recipients += 1
        conversation.site.events.note(
            EventType.DENIED,
            "recipient refused",
            queue_id=transaction.queue_id,
            reverse_path=transaction.reverse_path,
            forward_path=command.address,
            client_address=conversation.client_address,
            detail=f"{reply.code} {reply.enhanced} {reply.text}",
        )


def _facts(conversation: Conversation, transaction: Transaction, reply: Reply) -> dict[str, str]:
    return {
        "queue_id": transaction.queue_id,
        "reverse_path": transaction.reverse_path,
        "client_address": conversation.client_address,
        "reply": f"{reply.code} {reply.enhanced} {reply.text}",
    }
