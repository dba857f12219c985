"""Forgotten passwords: a code goes to the user's recovery address; whoever asks learns nothing of who has one.

The mail is sent after the answer, so that no time tells of it. What is under way is bounded.
"""

import asyncio
import logging
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter

from postbus.contracts.events import Event, EventType
from postbus.contracts.notices import NoticeSender, SendNoticeRequest
from postbus.contracts.password_reset import (
    RESET_SECONDS,
    BeginResetReply,
    BeginResetRequest,
    FinishResetRequest,
    PasswordReset,
)
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError, after
from postbus.core.ids import new_uuid7
from postbus.core.trace import current_trace
from postbusd.admin_api.ports import EventStore
from postbusd.admin_api.sessions import From

MAX_UNDER_WAY = 20
BUSY_SECONDS = 10

log = logging.getLogger(__name__)


class PasswordResets:
    """Begins and finishes resets."""

    def __init__(
        self,
        resets: PasswordReset,
        notices: NoticeSender,
        events: EventStore,
        clock: Clock,
        mail_host: str,
        registry: CollectorRegistry,
    ) -> None:
        self._resets = resets
        self._notices = notices
        self._events = events
        self._clock = clock
        self._mail_host = mail_host
        self._under_way: set[asyncio.Task[None]] = set()
        self._asked = Counter(
            "postbus_admin_api_password_resets",
            "Codes for forgotten passwords that were asked for, by result.",
            ["result"],  # sent, nobody, failed
            registry=registry,
        )
        for result in ("sent", "nobody", "failed"):
            self._asked.labels(result)

    @property
    def under_way(self) -> int:
        """How many have been asked for and neither sent nor dropped."""
        return len(self._under_way)

    def begin(self, username: str, came: From) -> None:
        """Sends a code where it can be sent, after the answer. Raises MailError: RATE_LIMITED."""
        if len(self._under_way) >= MAX_UNDER_WAY:
            raise MailError(ErrorKind.RATE_LIMITED, "too many resets at once, try again later", after(BUSY_SECONDS))
        task = asyncio.create_task(self._send(username, came))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def finish(self, code: str, new_password: str) -> str:
        """Sets the password; whose. Raises MailError: UNAUTHENTICATED, INVALID, UNAVAILABLE."""
        return (await self._resets.finish_reset(FinishResetRequest(code=code, new_password=new_password))).username

    async def drain(self) -> None:
        """Waits for what is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=BUSY_SECONDS)

    async def _send(self, username: str, came: From) -> None:
        try:
            begun = await self._resets.begin_reset(BeginResetRequest(username=username))
            if not begun.code:
                self._asked.labels("nobody").inc()
                return
            text = write_reset(begun, came.address, self._mail_host)
            subject = f"A new password for {begun.username}"
            notice = SendNoticeRequest(recipient=begun.recovery_address, subject=subject, text=text)
            sent = await self._notices.send_notice(notice)
        except MailError as error:
            self._asked.labels("failed").inc()
            log.error("admin_api.password_reset.failed", extra={"reason": str(error)})
            return
        self._asked.labels("sent").inc()
        await self._tell(begun.username, sent.queue_id, came)

    async def _tell(self, username: str, queue_id: str, came: From) -> None:
        now_ms, trace = self._clock.now_ms(), current_trace()
        event = Event(
            event_id=new_uuid7(now_ms),
            type=EventType.CONFIGURATION,
            at_ms=now_ms,
            service="admin-api",
            summary=f"password reset of user {username} asked for",
            detail="a code went to the recovery address",
            queue_id=queue_id,
            domain=username.rpartition("@")[2] if "@" in username else "",
            mailbox=username if "@" in username else "",
            client_address=came.address,
            traceparent=trace.format() if trace is not None else "",
        )
        with suppress(MailError):  # the event log is away; the code is on its way
            await self._events.add_events([event])


def write_reset(begun: BeginResetReply, client_address: str, mail_host: str) -> str:
    """What the user reads."""
    return (
        f"Somebody at {client_address or 'an unknown address'} asked for a new password of the user\n"
        f"{begun.username} at {mail_host}.\n\n"
        f"The code is\n\n    {begun.code}\n\n"
        f"It holds for {RESET_SECONDS // 60} minutes and for one time:\n\n"
        f"    postbus reset-password --code {begun.code}\n\n"
        "If it was not you, do nothing: without the code nothing changes.\n"
    )
