"""delivery's port for messages that the platform itself writes to one person."""

from typing import Protocol

import msgspec

from postbus.core.ids import QueueId

MAX_NOTICE_CHARACTERS = 20_000


class SendNoticeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Plain text to one recipient, of ours or elsewhere."""

    recipient: str
    subject: str
    text: str
    """Lines end in LF."""


class SendNoticeReply(msgspec.Struct, frozen=True, kw_only=True):
    """It is ours to deliver from now on."""

    queue_id: QueueId


class NoticeSender(Protocol):
    """The port of admin-api."""

    async def send_notice(self, request: SendNoticeRequest) -> SendNoticeReply:
        """From the postmaster of the mail host, with the null reverse_path: nobody is told when it can't be delivered.

        Raises MailError: INVALID (recipient, subject, text), UNAVAILABLE.
        """
        ...
