"""A service's seat in its process: build, start, wait for dependencies that are away, drain, tidy up."""

import asyncio
import logging

import msgspec
from prometheus_client import CollectorRegistry

from postbus.blobs.ports import BlobStore
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.background import pause_seconds
from postbus.runtime.context import ServiceContext
from postbus.runtime.health import Health
from postbus.runtime.hosted import HostedPort, ProcessRpc
from postbus.runtime.log import new_incident
from postbus.runtime.service import RunningService, ServiceSpec
from postbus.runtime.settings import RuntimeSettings

log = logging.getLogger(__name__)

CLOSE_SECONDS = 8.0


class Seat:
    """Keeps one service running. An attempt to start that meets an absent dependency is undone and repeated."""

    def __init__(  # noqa: PLR0913 (the parts of a process, named)
        self,
        *,
        spec: ServiceSpec,
        settings: msgspec.Struct,
        port: HostedPort,
        runtime: RuntimeSettings,
        rpc: ProcessRpc,
        blobs: BlobStore,
        instance_id: str,
    ) -> None:
        self.service = spec.name
        self._spec = spec
        self._settings = settings
        self._port = port
        self._runtime = runtime
        self._rpc = rpc
        self._blobs = blobs
        self._instance_id = instance_id
        self._context: ServiceContext | None = None
        self._running: RunningService | None = None

    def registry(self) -> CollectorRegistry:
        """The metrics of the present attempt."""
        return self._context.registry if self._context is not None else CollectorRegistry()

    async def health(self) -> Health:
        """The service's readiness."""
        if self._context is None:
            return Health(service=self.service, ready=False, checks={"start": "starting"})
        return await self._context.health()

    async def start(self) -> bool:
        """Builds and starts the service, as often as dependencies are away; False: it can't start."""
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._start_once()
            except MailError as error:
                await self._undo()
                if error.kind is not ErrorKind.UNAVAILABLE:
                    log.error("service.start.failed", extra={"reason": str(error)})
                    return False
                log.warning("service.start.waits", extra={"reason": str(error), "attempt": attempt})
                await asyncio.sleep(pause_seconds(attempt))
            except OSError as error:
                await self._undo()
                log.error("service.start.failed", extra={"reason": str(error)})
                return False
            except Exception:
                await self._undo()
                log.exception("service.start.failed", extra={"incident": new_incident()})
                return False
            else:
                return True

    async def _start_once(self) -> None:
        context = self._context = ServiceContext(
            self.service, self._instance_id, SystemClock(), self._runtime, self._rpc, self._blobs
        )
        running = self._running = await self._spec.build(context, self._settings)
        self._port.implementation = running.port
        await running.start()
        context.started = True

    async def drain(self, seconds: float) -> None:
        """Lets the service finish within `seconds`, then ends its loops and connections."""
        if self._context is not None:
            self._context.background.draining = True
        if self._running is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self._port.retire()
                    await self._running.drain()
            except TimeoutError:
                log.warning("service.drain.late", extra={"drain_seconds": seconds})
            except Exception:
                log.exception("service.drain.failed", extra={"incident": new_incident()})
        await self._undo_context()

    async def _undo(self) -> None:
        """After a failed start: nothing of the attempt stays."""
        self._port.implementation = None
        await self.drain(CLOSE_SECONDS)
        self._running = None

    async def _undo_context(self) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await context.close()
        except TimeoutError:
            log.warning("service.close.late")
