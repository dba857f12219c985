"""The end of logs and sessions: what is older than the settings say is deleted, in batches: nobody waits for long."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter

from postbus.core.clock import Clock
from postbusd.admin_api.audit_ports import AuditStore
from postbusd.admin_api.ports import EventStore
from postbusd.admin_api.repeats import Repeats
from postbusd.admin_api.sessions import Sessions
from postbusd.admin_api.settings import AdminApiSettings

BATCH_ROWS = 1000
MAX_BATCHES = 1000
"""Of one log in one round: a million rows."""
ROUND_SECONDS = 3600.0
PAUSE_SECONDS = 0.05
"""Between two batches."""
DAY_MS = 86_400_000

log = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


class Logs(EventStore, AuditStore, Protocol):
    """Both logs."""


class Retention:
    """Deletes what is old; any number of processes may."""

    def __init__(
        self,
        store: Logs,
        memories: tuple[Sessions, Repeats],
        clock: Clock,
        registry: CollectorRegistry,
        settings: AdminApiSettings,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._sessions, self._repeats = memories
        self._clock = clock
        self._settings = settings
        self._sleep = sleep
        self._trimmed = Counter(
            "postbus_admin_api_trimmed_rows",
            "Rows that ended with their retention.",
            ["log"],  # events, audit, sessions, repeats
            registry=registry,
        )
        for name in ("events", "audit", "sessions", "repeats"):
            self._trimmed.labels(log=name)

    async def run(self) -> None:
        """Every hour. Raises MailError: the database is away."""
        while True:
            await self.trim()
            await self._sleep(ROUND_SECONDS)

    async def trim(self) -> None:
        """One round. Raises MailError."""
        before_ms = self._clock.now_ms() - self._settings.event_days * DAY_MS
        await self._trim_log("events", lambda: self._store.trim_events(before_ms, BATCH_ROWS))
        await self._trim_log("audit", lambda: self._store.trim_audit(self._settings.audit_days, BATCH_ROWS))
        await self._trim_log("sessions", lambda: self._sessions.trim(BATCH_ROWS))
        await self._trim_log("repeats", lambda: self._repeats.trim(BATCH_ROWS))

    async def _trim_log(self, name: str, trim: Callable[[], Awaitable[int]]) -> None:
        total = 0
        try:
            for _ in range(MAX_BATCHES):
                gone = await trim()
                if not gone:
                    break
                total += gone
                self._trimmed.labels(log=name).inc(gone)
                await self._sleep(PAUSE_SECONDS)
        finally:
            if total:
                log.info("admin_api.log.trimmed", extra={"log": name, "rows": total})
