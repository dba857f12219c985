"""DSNs about copies that failed (RFC 3461 §6, RFC 3464): who is told, what is told, and as which message.

Never about a message with the null reverse_path (RFC 5321 §4.5.5), never where NOTIFY excludes FAILURE. A DSN is a
message of ours like any other: its blob is stored first, its `mail.accepted` is written in the transaction that ends
the copies, and its queue_id follows from what it reports, so that a repetition is the same message.
"""

import hashlib
import logging
from collections.abc import Sequence

import msgspec

from postbus.blobs.ports import BlobStore
from postbus.contracts.events import MailAccepted
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId, new_queue_id
from postbus.dsn.report import FailedRecipient, Report, build_report
from postbusd.delivery.outbound.own_mail import OwnMail
from postbusd.delivery.outbound.queue import Claimed, QueuedMessage
from postbusd.delivery.outbound.values import RecipientResult

log = logging.getLogger(__name__)

MAX_RETURNED_OCTETS = 256 * 1024
"""A larger message is returned as its header only, whatever RET says."""
MAX_RETURNED_HEADER_OCTETS = 64 * 1024
_FAILURE = "FAILURE"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that has ended, and why."""

    claimed: Claimed
    result: RecipientResult
    reason: str = ""
    """For people, where the reply alone does not tell."""


class Reporter:
    """Makes DSNs."""

    def __init__(self, blobs: BlobStore, clock: Clock, own_mail: OwnMail) -> None:
        """DSNs are from postmaster at the mail host."""
        self._blobs = blobs
        self._clock = clock
        self._own_mail = own_mail

    async def report(self, failures: Sequence[Failure]) -> MailAccepted | None:
        """The DSN about copies of one message with the same reverse_path; None: nobody is to be told.

        Raises MailError: UNAVAILABLE.
        """
        told = [failure for failure in failures if wants_report(failure.claimed)]
        if not told:
            return None
        message = told[0].claimed.message
        to = told[0].claimed.copy.reverse_path
        now_ms = self._clock.now_ms()
        queue_id = _report_id(told, now_ms)
        original = await self._original(message)
        whole = message.ret == "FULL" and len(original) - len(message.prefix) == message.blob_octets
        content = build_report(
            Report(
                to=to,
                from_address=f"postmaster@{self._own_mail.mail_host}",
                reporting_mta=self._own_mail.mail_host,
                envelope_id=message.envid,
                arrival_ms=message.accepted_ms,
                now_ms=now_ms,
                message_id=f"{queue_id}@{self._own_mail.mail_host}",
                queue_id=message.queue_id,
                recipients=tuple(_failed_recipient(failure, now_ms) for failure in told),
                original_header=_header_of(original),
                original=original if whole else None,
                smtputf8=message.smtputf8,
            )
        )
        return await self._own_mail.accept(queue_id, to, content, message.traceparent)

    async def _original(self, message: QueuedMessage) -> bytes:
        """As much of it as may be returned; of one whose blob is lost the prefix: its sender is told all the same."""
        try:
            return message.prefix + await self._blobs.get(message.blob_id, 0, MAX_RETURNED_OCTETS)
        except MailError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            log.error("delivery.report.blob_lost", extra={"queue_id": message.queue_id, "blob_id": message.blob_id})
            return message.prefix


def wants_report(claimed: Claimed) -> bool:
    """Whether its sender is told of its failure. RFC 3461 §4.1: without NOTIFY a failure is told."""
    notify = claimed.copy.notify
    return bool(claimed.copy.reverse_path) and (not notify or _FAILURE in notify)


def _failed_recipient(failure: Failure, now_ms: int) -> FailedRecipient:
    result = failure.result
    return FailedRecipient(
        final_recipient=failure.claimed.copy.recipient,
        original_recipient=failure.claimed.copy.orcpt,
        action="failed",
        status=result.status,
        diagnostic=result.reply if result.is_reply else "",
        remote_mta=result.remote_host,
        last_attempt_ms=now_ms,
        reason=failure.reason or result.reply,
    )


def _header_of(original: bytes) -> bytes:
    end = original.find(b"\r\n\r\n")
    header = original[: end + 2] if end >= 0 else original
    return header[: header.rfind(b"\r\n", 0, MAX_RETURNED_HEADER_OCTETS) + 2]


def _report_id(told: Sequence[Failure], now_ms: int) -> QueueId:
    """The same for the same attempt of the same copies."""
    text = "\n".join(
        f"{each.claimed.message.queue_id} {each.claimed.copy.recipient} {each.claimed.lease_token}" for each in told
    )
    first_ms = told[0].claimed.message.accepted_ms
    return new_queue_id(min(now_ms, first_ms), hashlib.sha256(text.encode()).digest()[:10])
