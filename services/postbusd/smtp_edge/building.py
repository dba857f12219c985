"""Builders of what a complete message becomes: filter's request, envelope, prefix."""

import msgspec

from postbus.contracts.events import Envelope, ForwardPath, MailAccepted
from postbus.contracts.filter import CheckMessageRequest
from postbus.contracts.filter import Recipient as FilterRecipient
from postbus.mime.values import Scan
from postbus.smtp.received import Trace, format_date, format_received
from postbusd.smtp_edge.conversation import Conversation, Transaction

FILTER_UNAVAILABLE = "FILTER_UNAVAILABLE"
"""The test of a message that was taken without filter."""


STRAY_FIELD = b"X-Postbus-Stray-Line:\r\n"
"""Takes a continuation line that stands at the beginning of a message, where it continues nothing."""


class Examined(msgspec.Struct, frozen=True):
    """What the scan of a message gives to this service."""

    scan: Scan
    encoded: bytes
    """Its form in `mail.accepted`; empty when too large."""
    header: bytes


def filter_recipients(transaction: Transaction) -> tuple[FilterRecipient, ...]:
    """The recipients as filter and delivery see them; those at other hosts have no mailbox."""
    return tuple(
        FilterRecipient(
            forward_path=recipient.command.address,
            mailbox_ids=tuple(target.mailbox_id for target in recipient.resolution.targets),
        )
        for recipient in transaction.recipients
    )


def filter_request(
    conversation: Conversation, transaction: Transaction, examined: Examined, octets: int, client_name: str
) -> CheckMessageRequest:
    """The question to filter, without content or blob_id."""
    return CheckMessageRequest(
        queue_id=transaction.queue_id,
        client_address=conversation.client_address,
        client_name=client_name,
        helo=helo_of(conversation),
        reverse_path=transaction.reverse_path,
        recipients=filter_recipients(transaction),
        authenticated_as=conversation.login.address if conversation.login else "",
        tls=bool(conversation.tls),
        smtputf8=transaction.mail.smtputf8,
        size_octets=octets,
        scan=examined.encoded,
    )


def build_envelope(transaction: Transaction) -> Envelope:
    """reverse_path, forward_paths and parameters."""
    mail = transaction.mail
    paths = tuple(
        ForwardPath(
            address=recipient.command.address,
            resolution=recipient.resolution,
            notify=recipient.command.notify,
            orcpt=recipient.command.orcpt,
        )
        for recipient in transaction.recipients
    )
    return Envelope(
        reverse_path=transaction.reverse_path,
        forward_paths=paths,
        body=mail.body.value,
        smtputf8=mail.smtputf8,
        ret=mail.ret,
        envid=mail.envid,
    )


def build_prefix(conversation: Conversation, accepted: MailAccepted, examined: Examined) -> bytes:
    """Received first, then filter's fields below it, then what a submission lacks (README: order of the prefix)."""
    paths = accepted.envelope.forward_paths
    received = format_received(
        Trace(
            helo=accepted.client.helo,
            client_address=accepted.client.address,
            client_name=accepted.client.name,
            by=conversation.site.mail_host,
            queue_id=accepted.queue_id,
            accepted_ms=accepted.accepted_ms,
            extended=conversation.hello is not None and conversation.hello.extended,
            tls=accepted.client.tls,
            authenticated=conversation.login is not None,
            smtputf8=accepted.envelope.smtputf8,
            forward_path=paths[0].address if len(paths) == 1 else "",
        )
    )
    added = received + accepted.verdict.prefix + _missing_fields(conversation, accepted, examined.scan)
    # What begins with a blank would go on with the last of our own fields, and say there what it likes.
    return added + STRAY_FIELD if examined.header[:1] in (b" ", b"\t") else added


def _missing_fields(conversation: Conversation, accepted: MailAccepted, scan: Scan) -> bytes:
    """From, Date and Message-ID for submissions without them (RFC 6409 §8.1 to §8.3)."""
    if conversation.login is None:
        return b""
    names = {field.name for field in scan.fields}
    fields = b""
    if "from" not in names:
        fields += f"From: {conversation.login.address}\r\n".encode()
    if "date" not in names:
        fields += f"Date: {format_date(accepted.accepted_ms)}\r\n".encode()
    if "message-id" not in names:
        domain = conversation.login.address.rpartition("@")[2]
        fields += f"Message-ID: <{accepted.queue_id}@{domain}>\r\n".encode()
    return fields


def helo_of(conversation: Conversation) -> str:
    """What the client calls itself."""
    return conversation.hello.domain if conversation.hello else ""
