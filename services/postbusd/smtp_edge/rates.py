"""How much a mailbox may submit, counted on the bus for the whole installation (architecture §2).

Counts are of what was begun: each MAIL of a login is a message, each accepted RCPT a recipient, whatever becomes of
them. An absent bus refuses nothing here: without it no message can be owned either, and end of DATA says 451.
"""

import logging
import time
from collections.abc import Callable

import msgspec

from postbus.bus.ports import Counting
from postbus.contracts.events import EventType
from postbus.contracts.policy import Policy
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.event_log import EventLog
from postbus.smtp.replies import Reply, make_reply
from postbusd.smtp_edge.counters import EdgeCounters
from postbusd.smtp_edge.refusals import REFUSALS
from postbusd.smtp_edge.values import Login

log = logging.getLogger(__name__)

AWAY_SECONDS = 5.0
"""After a count that failed, none is tried for so long."""
MAX_TOLD = 10_000
"""Mailboxes whose refusal was told in an event: once a window is enough."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """So many of something in a fixed window."""

    name: str
    """A label of the metric, and part of the counter's key."""
    limit: int
    """0: none."""
    window_seconds: int
    window: str
    """For people."""


class SubmissionRates:
    """The limits of logged-in mailboxes."""

    def __init__(self, counting: Counting, clock: Clock, policy: Callable[[], Policy], counters: EdgeCounters) -> None:
        """`policy` tells the limits of now; one of 0 is none, and is not counted."""
        self._counting = counting
        self._clock = clock
        self._counters = counters
        self._policy = policy
        self._told: dict[tuple[str, str], int] = {}
        self._silent_until = 0.0
        self._is_away = False
        """An outage is told once, not at every count."""

    async def add_message(self, login: Login, events: EventLog) -> Reply | None:
        """Counts a MAIL; the refusal when it is one too many."""
        limit = self._policy().messages_per_hour
        rate = Rate(name="messages", limit=limit, window_seconds=3600, window="an hour")
        return await self._add(rate, login, events)

    async def add_recipient(self, login: Login, events: EventLog) -> Reply | None:
        """Counts a RCPT; the refusal when it is one too many."""
        limit = self._policy().recipients_per_day
        rate = Rate(name="recipients", limit=limit, window_seconds=86_400, window="a day")
        return await self._add(rate, login, events)

    async def _add(self, rate: Rate, login: Login, events: EventLog) -> Reply | None:
        if not rate.limit or await self._count(rate, login) <= rate.limit:
            return None
        window = self._clock.now_ms() // 1000 // rate.window_seconds
        ends = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime((window + 1) * rate.window_seconds))
        text = f"{rate.limit} {rate.name} {rate.window} are allowed from this mailbox, try again after {ends}"
        code, enhanced, _ = REFUSALS[ErrorKind.RATE_LIMITED]
        self._counters.rate_limited(rate.name)
        self._tell(rate, login, window, events, text)
        return make_reply(code, enhanced, text)

    async def _count(self, rate: Rate, login: Login) -> int:
        """The mailbox's total in the current window; 0 when it can't be told."""
        if self._clock.monotonic() < self._silent_until:
            return 0
        try:
            total = await self._counting.count(f"submission.{rate.name}.{login.mailbox_id}", 1, rate.window_seconds)
        except MailError as error:
            level = logging.DEBUG if self._is_away else logging.WARNING
            self._is_away = True
            self._silent_until = self._clock.monotonic() + AWAY_SECONDS
            log.log(level, "smtp.rate.uncounted", extra={"reason": str(error)})
            return 0
        self._is_away = False
        return total

    def _tell(self, rate: Rate, login: Login, window: int, events: EventLog, text: str) -> None:
        """One event a window: who runs into a limit often does so thousands of times."""
        key = (login.mailbox_id, rate.name)
        if self._told.pop(key, None) != window:
            log.info("smtp.rate.limited", extra={"mailbox_id": login.mailbox_id, "limit": rate.name})
            events.note(EventType.DENIED, "too much mail", mailbox=login.address, detail=text)
        self._told[key] = window
        while len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
