"""Children: started, read, restarted with back-off, ended in order."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from postbus.runtime import supervisor as supervisor_module
from postbus.runtime.embedded.program import Program, dies_with_parent, end_orphans
from postbus.runtime.supervisor import Child, Supervisor
from postbus.runtime.supervisor_logs import LogRouter


@pytest.fixture
def logs(tmp_path: Path) -> LogRouter:
    return LogRouter(tmp_path)


@pytest.fixture
async def supervisor(logs: LogRouter) -> AsyncIterator[Supervisor]:
    async with Supervisor(logs) as made:
        yield made
    logs.close()


def _shell(script: str, folder: Path, **changes: object) -> Program:
    return Program(
        name="child",
        command=("/bin/sh", "-c", script),
        environment={"PATH": "/usr/bin:/bin"},
        folder=folder,
        **changes,  # type: ignore[arg-type]
    )


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_program_that_ends_is_started_again(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "RESTART_FIRST_SECONDS", 0.001)
    child = supervisor.start(_shell("echo why; exit 7", tmp_path))
    await _until(lambda: child.exits >= 2)
    assert child.last_exit == 7
    assert child.last_line == "why"


async def test_back_off_grows(supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "RESTART_FIRST_SECONDS", 0.01)
    child = supervisor.start(_shell("exit 1", tmp_path))
    started = asyncio.get_running_loop().time()
    await _until(lambda: child.exits >= 4)
    assert asyncio.get_running_loop().time() - started > 0.01 + 0.02 + 0.04


async def test_stop_lets_a_program_finish(supervisor: Supervisor, tmp_path: Path) -> None:
    script = "sleep 600 & trap 'kill $!; echo drained; exit 0' TERM; echo up; wait"
    child = supervisor.start(_shell(script, tmp_path))
    await _until(lambda: child.last_line == "up")
    await supervisor.stop(("child",))
    assert child.last_line == "drained"
    assert child.exits == 0


async def test_a_program_that_does_not_end_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    script = "trap '' TERM; echo up; while :; do :; done"
    child = supervisor.start(_shell(script, tmp_path, stop_seconds=0.05))
    await _until(lambda: child.last_line == "up")
    await supervisor.stop(("child",))
    assert child.last_exit == -signal.SIGKILL


async def test_a_program_that_is_not_there_is_told(logs: LogRouter, tmp_path: Path) -> None:
    program = Program(name="child", command=("/nowhere/program",), environment={}, folder=tmp_path)
    child = Child(program, logs)
    await child.run_once()
    assert "/nowhere/program" in child.reason
    assert child.last_exit == 127


async def test_a_grandchild_that_keeps_the_pipe_does_not_hold_us(logs: LogRouter, tmp_path: Path) -> None:
    child = Child(_shell("sleep 600 & echo $!", tmp_path), logs)
    async with asyncio.timeout(5):
        await child.run_once()
    assert child.last_exit == 0
    end_orphans(tmp_path, signal.SIGKILL, 5)


def test_the_death_signal_comes_after_the_change_of_user() -> None:
    command = dies_with_parent(("/bin/true",), "KILL", ("--reuid=nobody",))
    assert command == ("/bin/true",) or command[1:] == ("--pdeathsig=KILL", "--reuid=nobody", "--", "/bin/true")
