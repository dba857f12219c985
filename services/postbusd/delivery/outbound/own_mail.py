"""Messages of our own (DSNs, notices): stored, then told to the bus by the outbox of reports as any accepted mail."""

from postbus.blobs.ports import BlobStore
from postbus.contracts.directory import Outcome, Resolution
from postbus.contracts.events import Client, Envelope, ForwardPath, MailAccepted, Origin
from postbus.contracts.filter import CheckMessageReply, Verdict
from postbus.core.clock import Clock
from postbus.core.ids import QueueId
from postbus.mime.codec import encode_scan
from postbus.mime.scanner import scan_message


class OwnMail:
    """Makes `mail.accepted` of what we write ourselves."""

    def __init__(self, blobs: BlobStore, clock: Clock, mail_host: str) -> None:
        self._blobs = blobs
        self._clock = clock
        self.mail_host = mail_host

    async def accept(self, queue_id: QueueId, to: str, content: bytes, traceparent: str) -> MailAccepted:
        """Stores the message; its reverse_path is null. Raises MailError: UNAVAILABLE."""
        return MailAccepted(
            queue_id=queue_id,
            origin=Origin.DSN,
            accepted_ms=self._clock.now_ms(),
            envelope=Envelope(
                reverse_path="",
                forward_paths=(ForwardPath(address=to, resolution=Resolution(forward_path=to, outcome=Outcome.LATER)),),
                body="7BIT" if content.isascii() else "8BITMIME",
                smtputf8=not to.isascii(),
            ),
            client=Client(address="", name=self.mail_host),
            blob_id=await self._blobs.put(content),
            blob_octets=len(content),
            verdict=CheckMessageReply(verdict=Verdict.ACCEPT, score=0.0, required=0.0),
            prefix=b"",
            scan=encode_scan(scan_message(content)),
            traceparent=traceparent,
        )
