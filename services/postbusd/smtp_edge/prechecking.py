"""delivery's word on recipients that may refuse a message (promise 3): members-only lists and, later, Sieve scripts.

A members-only list is asked twice: at RCPT, where only the envelope is known, and at end of DATA, where the author and
what proves him are. README.md says what happens when recipients disagree.
"""

from postbus.contracts.delivery import PrecheckRequest, PrecheckResult
from postbus.contracts.directory import Resolution
from postbus.contracts.filter import CheckMessageReply, Verdict
from postbus.contracts.filter import Recipient as FilterRecipient
from postbus.smtp import replies
from postbus.smtp.replies import Reply, make_reply
from postbusd.smtp_edge.building import FILTER_UNAVAILABLE, Examined, filter_recipients
from postbusd.smtp_edge.conversation import Conversation, Transaction

_UNKNOWN = "temperror"
"""The result of a check that filter could not make: a delay, never a refusal (promise 4)."""


async def judge_envelope(conversation: Conversation, transaction: Transaction, resolution: Resolution) -> Reply | None:
    """The refusal of RCPT when no message with this envelope could pass. Raises MailError."""
    if not resolution.members_only:
        return None
    recipient = FilterRecipient(
        forward_path=resolution.forward_path,
        mailbox_ids=tuple(target.mailbox_id for target in resolution.targets),
    )
    request = PrecheckRequest(
        queue_id=transaction.queue_id,
        reverse_path=transaction.reverse_path,
        recipients=(recipient,),
        header=b"",
        size_octets=transaction.mail.size or 0,
        authenticated_as=_login_of(conversation),
        envelope_only=True,
    )
    reply = await conversation.site.prechecker.precheck(request)
    return next((_refuse(result) for result in reply.results if result.verdict is Verdict.REJECT), None)


async def judge_message(
    conversation: Conversation, transaction: Transaction, examined: Examined, verdict: CheckMessageReply
) -> Reply | None:
    """The refusal at end of DATA; a verdict of filter's for one recipient counts as its word. Raises MailError."""
    if not any(_may_refuse(recipient.resolution) for recipient in transaction.recipients):
        return None
    proven = not any(test.name == FILTER_UNAVAILABLE for test in verdict.tests)
    request = PrecheckRequest(
        queue_id=transaction.queue_id,
        reverse_path=transaction.reverse_path,
        recipients=filter_recipients(transaction),
        header=examined.header,
        size_octets=examined.scan.octets,
        authenticated_as=_login_of(conversation),
        spf=verdict.spf if proven else _UNKNOWN,
        dmarc=verdict.dmarc if proven else _UNKNOWN,
    )
    reply = await conversation.site.prechecker.precheck(request)
    return _decide(transaction, reply.results, verdict)


def _decide(transaction: Transaction, results: tuple[PrecheckResult, ...], verdict: CheckMessageReply) -> Reply | None:
    """All refuse: 550. A list refuses and others do not: 550 too, naming it, since nobody could be told later."""
    for result in results:
        if result.verdict is Verdict.DEFER:
            return make_reply(451, "4.7.1", result.reason or replies.CONTENT_DEFERRED.text)
    refusals = {result.forward_path: result for result in results if result.verdict is Verdict.REJECT}
    by_filter = {part.forward_path for part in verdict.recipients if part.verdict is Verdict.REJECT}
    paths = {recipient.command.address for recipient in transaction.recipients}
    if refusals and paths <= by_filter | set(refusals):
        return _refuse(next((each for each in refusals.values() if each.reason), next(iter(refusals.values()))))
    for recipient in transaction.recipients:
        refusal = refusals.get(recipient.command.address)
        if refusal is not None and recipient.resolution.members_only:
            reason = refusal.reason or replies.CONTENT_REJECTED.text
            return make_reply(550, "5.7.1", f"{refusal.forward_path}: {reason}; send to the others separately")
    return None


def _may_refuse(resolution: Resolution) -> bool:
    return resolution.members_only or any(target.script_hash for target in resolution.targets)


def _refuse(result: PrecheckResult) -> Reply:
    return make_reply(550, "5.7.1", result.reason) if result.reason else replies.CONTENT_REJECTED


def _login_of(conversation: Conversation) -> str:
    return conversation.login.address if conversation.login is not None else ""
