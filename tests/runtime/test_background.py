"""Background loops begin again with back-off and tell what is wrong."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.background import LONGEST_PAUSE_SECONDS, Background, pause_seconds
from postbus.runtime.log import current_service


class Pauses:
    """Records pauses instead of sleeping; ends the test after `limit` of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.seconds: list[float] = []
        self.enough = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == self.limit:
            self.enough.set()
            await asyncio.Event().wait()


async def run(error: Callable[[], Exception | None], limit: int) -> tuple[Background, CollectorRegistry, Pauses]:
    registry, pauses = CollectorRegistry(), Pauses(limit)
    background = Background("smtp-edge", registry, SystemClock(), pauses.sleep)

    async def work() -> None:
        assert current_service() == "smtp-edge"
        found = error()
        if found is not None:
            raise found

    background.spawn("relay", work)
    async with asyncio.timeout(5):
        await pauses.enough.wait()
    return background, registry, pauses


def test_pauses_double_up_to_a_bound() -> None:
    assert [pause_seconds(n) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert pause_seconds(1000) == LONGEST_PAUSE_SECONDS


async def test_an_unexpected_exception_gets_an_incident_and_another_run(caplog: pytest.LogCaptureFixture) -> None:
    background, registry, pauses = await run(lambda: ValueError("bug"), 3)
    assert pauses.seconds == [0.1, 0.2, 0.4]
    assert background.faults()["relay"].startswith("incident ")
    assert registry.get_sample_value("postbus_smtp_edge_loop_failures_total", {"loop": "relay"}) == 3
    assert all(record.getMessage() == "loop.failed" and record.exc_info for record in caplog.records)
    await background.cancel()


async def test_an_absent_dependency_is_a_warning_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    background, _, _ = await run(lambda: MailError(ErrorKind.UNAVAILABLE, "database"), 1)
    assert background.faults() == {"relay": "unavailable: database"}
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("WARNING", None)]
    await background.cancel()


async def test_a_loop_that_returns_is_started_again() -> None:
    background, _, _ = await run(lambda: None, 2)
    assert background.faults() == {"relay": "ended"}
    await background.cancel()


async def test_a_loop_that_ends_while_draining_has_done_its_duty(caplog: pytest.LogCaptureFixture) -> None:
    background = Background("filter", CollectorRegistry(), SystemClock())
    told = asyncio.Event()
    background.spawn("worker", lambda: _until(told))
    background.draining = True
    told.set()
    await asyncio.sleep(0)
    await background.cancel()
    assert background.faults() == {}
    assert caplog.records == []


async def _until(event: asyncio.Event) -> None:
    await event.wait()
