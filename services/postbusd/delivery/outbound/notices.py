"""Notices: plain text that the platform writes to one person, as a code for a forgotten password."""

from email.message import EmailMessage
from email.policy import SMTP

from postbus.contracts.notices import MAX_NOTICE_CHARACTERS, SendNoticeReply, SendNoticeRequest
from postbus.core.address import parse_address
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_queue_id
from postbus.core.trace import current_trace
from postbus.dsn.fields import format_date
from postbusd.delivery.outbound.own_mail import OwnMail
from postbusd.delivery.outbound.queue import QueueUpkeep

MAX_SUBJECT_CHARACTERS = 200


class Notices:
    """The NoticeSender."""

    def __init__(self, own_mail: OwnMail, queue: QueueUpkeep, clock: Clock) -> None:
        self._own_mail = own_mail
        self._queue = queue
        self._clock = clock

    async def send_notice(self, request: SendNoticeRequest) -> SendNoticeReply:
        """Stores it and its `mail.accepted`."""
        to = _check(request)
        now_ms, trace = self._clock.now_ms(), current_trace()
        queue_id = new_queue_id(now_ms)
        content = make_notice(request, to, self._own_mail.mail_host, f"{queue_id}@{self._own_mail.mail_host}", now_ms)
        traceparent = trace.format() if trace is not None else ""
        await self._queue.add_report(await self._own_mail.accept(queue_id, to, content, traceparent))
        return SendNoticeReply(queue_id=queue_id)


def make_notice(request: SendNoticeRequest, to: str, mail_host: str, message_id: str, now_ms: int) -> bytes:
    """The message, CRLF line ends, 7-bit but for an address that is not (RFC 5322, RFC 3834 §5)."""
    message = EmailMessage(policy=SMTP.clone(utf8=not to.isascii()))
    message["Date"] = format_date(now_ms)
    message["From"] = f"Postbus <postmaster@{mail_host}>"
    message["To"] = to
    message["Subject"] = request.subject
    message["Message-ID"] = f"<{message_id}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(request.text, charset="utf-8", cte=None if request.text.isascii() else "quoted-printable")
    return message.as_bytes()


def _check(request: SendNoticeRequest) -> str:
    """The recipient. Raises MailError: INVALID."""
    try:
        address = parse_address(request.recipient)
    except MailError as error:
        raise MailError(ErrorKind.INVALID, f"recipient: {error.detail}") from error
    if not request.subject.isprintable() or not 0 < len(request.subject) <= MAX_SUBJECT_CHARACTERS:
        raise MailError(ErrorKind.INVALID, f"subject: one line of at most {MAX_SUBJECT_CHARACTERS} characters")
    if "\0" in request.text or not 0 < len(request.text) <= MAX_NOTICE_CHARACTERS:
        raise MailError(ErrorKind.INVALID, f"text: 1 to {MAX_NOTICE_CHARACTERS} characters without NUL")
    return str(address)
