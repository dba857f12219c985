"""Builders of what travels on the bus."""

from postbus.contracts.directory import MailboxTarget, Outcome, Resolution
from postbus.contracts.events import Client, Envelope, ForwardPath, MailAccepted, Origin
from postbus.contracts.filter import CheckMessageReply, Verdict
from postbus.core.ids import BlobId, MailboxId, QueueId
from postbus.mime.codec import encode_scan
from postbus.mime.scanner import scan_message

PLAIN = (
    b"From: Ann <ann@elsewhere.example>\r\nTo: alice@demo.example\r\nSubject: A plain one\r\n"
    b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <plain@elsewhere.example>\r\n\r\nHello there.\r\n"
)
BLOB_ID = BlobId("20261122-" + "0" * 64)


def forward_path(address: str, *mailboxes: MailboxId) -> ForwardPath:
    """A RCPT that leads to the given mailboxes, each with the address itself."""
    targets = tuple(MailboxTarget(mailbox_id=mailbox, address=address) for mailbox in mailboxes)
    return ForwardPath(
        address=address, resolution=Resolution(forward_path=address, outcome=Outcome.MAILBOX, targets=targets)
    )


def accepted_mail(
    queue_id: str,
    *paths: ForwardPath,
    verdict: CheckMessageReply | None = None,
    content: bytes = PLAIN,
    blob_id: BlobId = BLOB_ID,
    accepted_ms: int = 1_795_000_000_000,
) -> MailAccepted:
    """A message that smtp-edge has accepted."""
    return MailAccepted(
        queue_id=QueueId(queue_id),
        origin=Origin.SMTP,
        accepted_ms=accepted_ms,
        envelope=Envelope(reverse_path="ann@elsewhere.example", forward_paths=paths),
        client=Client(address="192.0.2.1"),
        blob_id=blob_id,
        blob_octets=len(content),
        verdict=verdict or CheckMessageReply(verdict=Verdict.ACCEPT, score=0.0, required=5.0),
        prefix=b"Received: by mail.demo.example\r\n",
        scan=encode_scan(scan_message(content)),
    )
