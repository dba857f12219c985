"""Services of one process end in the order in which they need each other (promise 1: what is under way is finished)."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from postbus.runtime.host import LEAST_DRAIN_SECONDS, Host, Plan
from postbus.runtime.roster import DRAIN_STAGES, SERVICES
from postbus.runtime.settings import RuntimeSettings

DRAIN_SECONDS = 5.0


class FakeSeat:
    """Notes when it is drained, and how long it may take."""

    def __init__(self, name: str, drained: list[tuple[str, float]]) -> None:
        self._name = name
        self._drained = drained

    async def drain(self, seconds: float) -> None:
        """Takes a few turns of the loop, as real ones do."""
        for _ in range(3):
            await asyncio.sleep(0)
        self._drained.append((self._name, seconds))


def test_every_service_has_one_stage() -> None:
    assert Counter(name for stage in DRAIN_STAGES for name in stage) == Counter(SERVICES)


async def test_who_faces_the_outside_ends_before_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drained: list[tuple[str, float]] = []
    seats: dict[str, Any] = {name: FakeSeat(name, drained) for name in SERVICES}
    runtime = RuntimeSettings(data_dir=str(tmp_path), drain_seconds=DRAIN_SECONDS)
    host = Host(Plan(specs=(), runtime=runtime, settings={}))
    monkeypatch.setattr(host, "_seats", seats)
    await host._drain()
    names = [name for name, _ in drained]
    stages = [next(number for number, stage in enumerate(DRAIN_STAGES) if name in stage) for name in names]
    assert sorted(names) == sorted(SERVICES)
    assert stages == sorted(stages)
    assert all(LEAST_DRAIN_SECONDS <= seconds <= DRAIN_SECONDS for _, seconds in drained)
