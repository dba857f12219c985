"""Background loops of a service: started again with back-off, counted, shown in health (`Context.spawn`)."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.log import new_incident, service_context

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
CANCEL_SECONDS = 0.5
CANCEL_ATTEMPTS = 6
STEADY_SECONDS = 60.0
"""A loop that ran this long begins with the shortest pause again."""

Work = Callable[[], Coroutine[Any, Any, None]]
Sleep = Callable[[float], Coroutine[Any, Any, None]]


def pause_seconds(failures: int) -> float:
    """How long to wait after that many failures in a row."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))


class Background:
    """The loops of one service."""

    def __init__(self, service: str, registry: CollectorRegistry, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._service = service
        self._clock = clock
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        """Set when the service is told to finish: a loop that ends from now on has done so on purpose."""
        self._faults: dict[str, str] = {}
        self._failures = Counter(
            f"postbus_{service.replace('-', '_')}_loop_failures",
            "Unexpected ends of background loops.",
            ["loop"],  # the names that the service spawns
            registry=registry,
        )

    def spawn(self, name: str, work: Work) -> None:
        """See `Context.spawn`."""
        self._failures.labels(name)  # from zero on: an alert sees the first one too
        task = asyncio.create_task(self._supervise(name, work), name=name, context=service_context(self._service))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def faults(self) -> dict[str, str]:
        """The loops that failed and have not run well since, with the reason."""
        return dict(self._faults)

    async def cancel(self) -> None:
        """Ends all loops and waits for them, within a bound."""
        late = set(self._tasks)
        for _ in range(CANCEL_ATTEMPTS):
            if not late:
                return
            for task in late:
                task.cancel()
            # More than once: asyncio.wait_for of Python 3.11 loses a cancellation that comes with its result.
            _, late = await asyncio.wait(late, timeout=CANCEL_SECONDS)
        if late:
            log.warning("loop.cancel.late", extra={"loops": sorted(task.get_name() for task in late)})

    async def _supervise(self, name: str, work: Work) -> None:
        failures = 0
        while True:
            started = self._clock.monotonic()
            steady = asyncio.get_running_loop().call_later(LONGEST_PAUSE_SECONDS, self._faults.pop, name, None)
            try:
                await work()
                if self.draining:
                    return
                self._faults[name] = "ended"
                log.error("loop.ended", extra={"loop": name})
            except MailError as error:
                self._note_error(name, error)
            except Exception:
                incident = new_incident()
                self._faults[name] = f"incident {incident}"
                log.exception("loop.failed", extra={"loop": name, "incident": incident})
            finally:
                steady.cancel()
            self._failures.labels(name).inc()
            failures = 1 if self._clock.monotonic() - started > STEADY_SECONDS else failures + 1
            await self._sleep(pause_seconds(failures))

    def _note_error(self, name: str, error: MailError) -> None:
        self._faults[name] = str(error)
        level = logging.WARNING if error.kind is ErrorKind.UNAVAILABLE else logging.ERROR
        log.log(level, "loop.failed", extra={"loop": name, "reason": str(error)})
