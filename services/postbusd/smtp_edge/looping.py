"""Lists that have distributed a message before (`postbus.core.lists`, RFC 5321 §6.3).

Where every recipient is such a list the message is refused, so that its sender, another list, learns of the loop. With
other recipients it is taken for those: refusing it would cost them a message that the list's members have already.
"""

import logging

from postbus.contracts.directory import Outcome
from postbus.core.lists import MARK_FIELD, has_seen
from postbus.mime.headers import all_fields
from postbus.smtp import replies
from postbus.smtp.replies import Reply
from postbusd.smtp_edge.building import Examined
from postbusd.smtp_edge.conversation import Transaction

log = logging.getLogger(__name__)


def leave_out_loops(transaction: Transaction, examined: Examined) -> Reply | None:
    """Takes lists that have seen the message out of the transaction; the refusal when nobody else is left."""
    if not any(recipient.resolution.outcome is Outcome.LIST for recipient in transaction.recipients):
        return None
    marks = all_fields(examined.scan, examined.header, MARK_FIELD)
    looping = [
        recipient
        for recipient in transaction.recipients
        if recipient.resolution.outcome is Outcome.LIST and has_seen(recipient.resolution.bounce_path, marks)
    ]
    if not looping:
        return None
    if len(looping) == len(transaction.recipients):
        return replies.LIST_LOOP
    transaction.recipients = [recipient for recipient in transaction.recipients if recipient not in looping]
    lists = [recipient.command.address for recipient in looping]
    log.info("smtp.list.looped", extra={"queue_id": transaction.queue_id, "lists": lists})
    return None
