"""`postbus.runtime.service.Context` as the host gives it to one service: made anew for every attempt to start it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from postbus.blobs.ports import BlobStore
from postbus.bus.nats import NatsBus
from postbus.bus.ports import Bus
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.epoch import Epoch, EpochGuard
from postbus.runtime.background import Background
from postbus.runtime.health import Check, Health, run_checks
from postbus.runtime.roles import SCHEMA_USERS, read_password, role_of
from postbus.runtime.service import Rpc
from postbus.runtime.settings import RuntimeSettings
from postbus.runtime.telemetry_export import count_drops

log = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
CONNECT_SECONDS = 10.0
"""How long a new database connection may take."""
IDLE_CONNECTION_SECONDS = 60.0
"""An idle database connection costs the server several MB: it is closed after this long."""


class ServiceContext:
    """What one service gets; `close` takes back what it opened."""

    def __init__(
        self,
        service: str,
        instance_id: str,
        clock: Clock,
        runtime: RuntimeSettings,
        rpc: Rpc,
        blobs: BlobStore,
    ) -> None:
        """Opens nothing but the bus's connection, in the background. Raises MailError: INVALID for a missing secret."""
        self.service = service
        self.instance_id = instance_id
        self.clock = clock
        self.runtime = runtime
        self.data_dir = Path(runtime.data_dir) / service
        self.rpc: Rpc = rpc
        self.blobs = blobs
        self.registry = CollectorRegistry()
        # Of the whole process: services of one group show the same figures.
        ProcessCollector(registry=self.registry)
        dropped = Counter(
            f"postbus_{service.replace('-', '_')}_dropped_spans",
            "Spans lost because the collector was away or slow.",
            registry=self.registry,
        )
        count_drops(service, dropped.inc)
        self._ready = Gauge(
            f"postbus_{service.replace('-', '_')}_ready_state",
            "1 while every readiness check passes, else 0.",
            registry=self.registry,
        )
        self.background = Background(service, self.registry, clock)
        self.started = False
        """Set by the host when the service's `start` has returned."""
        self._checks: dict[str, Check] = {}
        self._pool: asyncpg.Pool | None = None
        self.epoch = EpochGuard(runtime.restore_id, clock)
        self._uses_mailstore = service in SCHEMA_USERS["mailstore"]
        if self._uses_mailstore:
            self._follow_epoch()
        self._nats = NatsBus(runtime.nats_url, service, _read_secret(Path(runtime.secrets_dir) / f"nats-{service}"))
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._nats.start()
        self.bus: Bus = self._nats
        self.add_check("bus", self._nats.check)

    async def postgres(self) -> asyncpg.Pool:
        """See `Context.postgres`."""
        if self._pool is None:
            secrets_dir = Path(self.runtime.secrets_dir)
            read_password(secrets_dir, self.service)
            if not self.runtime.postgres_dsn:
                raise MailError(ErrorKind.INVALID, "POSTBUS_RUNTIME_POSTGRES_DSN is not set")
            self._pool = asyncpg.create_pool(
                self.runtime.postgres_dsn,
                user=role_of(self.service),
                # Read again for every connection: a rotated password needs no restart.
                password=lambda: read_password(secrets_dir, self.service),
                min_size=0,
                max_size=self.runtime.postgres_pool_size,
                max_inactive_connection_lifetime=IDLE_CONNECTION_SECONDS,
                command_timeout=self.runtime.postgres_seconds,
                timeout=min(CONNECT_SECONDS, self.runtime.postgres_seconds),
                server_settings={"application_name": self.service, "jit": "off"},
                init=self.epoch.ensure if self._uses_mailstore else None,
                reset=_keep_session,
            )
            await self._pool
        return self._pool

    def _follow_epoch(self) -> None:
        """Shows the epoch; connections to the server of before it are not used any more."""
        name = f"postbus_{self.service.replace('-', '_')}_mailstore_epoch"
        gauge = Gauge(name, "Epoch of the mail store: one more after each failover or restore.", registry=self.registry)

        async def follow(epoch: Epoch, before: Epoch | None, _: asyncpg.Connection) -> None:
            gauge.set(epoch.number)
            if before is not None and self._pool is not None:
                await self._pool.expire_connections()

        self.epoch.listen(follow)

    def spawn(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """See `Context.spawn`."""
        self.background.spawn(name, work)

    def add_check(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        """See `Context.add_check`."""
        self._checks[name] = check

    async def health(self) -> Health:
        """Runs the checks."""
        found = await run_checks(self.service, self._checks, self.background.faults(), self.started)
        self._ready.set(found.ready)
        return found

    async def close(self) -> None:
        """Ends the loops, then the connections. Never raises."""
        await self.background.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            await _finish("postgres", pool.close())
        await _finish("bus", self._nats.close())


async def _finish(part: str, closing: Awaitable[None]) -> None:
    """A connection that can't be closed well is dropped all the same: the other parts must get their turn."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing
    except Exception as error:
        log.warning("service.close.failed", extra={"part": part, "reason": repr(error)})


def _read_secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MailError(ErrorKind.INVALID, f"{path}: {error.strerror}") from error


async def _keep_session(_connection: object) -> None:
    """In place of asyncpg's reset query at every release: nothing of ours leaves anything in a session."""
