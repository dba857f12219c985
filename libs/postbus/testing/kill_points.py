"""SIGKILL at every await of a piece of asynchronous work: what dies anywhere must lose and double nothing.

A zygote process imports what the work needs, once. For each trial it forks; the fork runs the work on an event loop of
its own and looks at its kill points: every suspension of a task that belongs to the work (the request is made, and may
still be in a buffer) and every resumption (the answer is here, nothing came of it yet). At the first one where no trial
has died before it ends itself by SIGKILL, as a machine that loses its power would: no `finally` runs, nothing is
flushed. So the trials go through all points, also where their order changes from one to the next.

Where one task does one thing after the other, resumptions alone are as good: what was in a buffer has not happened, as
after the resumption before.

A work is `async def work(argument: bytes, points: KillPoints) -> bytes`; its points are those of what it runs by
`points.watch`, with every task that this starts, or of all tasks that begin after `points.watch_all`. Tasks from before
(connections) have none, but die as well.
"""

import asyncio
import contextlib
import contextvars
import gc
import importlib
import os
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from types import CoroutineType
from typing import Any, Protocol

import msgspec
import uvloop

from postbus.runtime.settings import process_environment

SUSPENDED, RESUMED = "in", "after"
MOMENTS = (SUSPENDED, RESUMED)
TRIAL_SECONDS = 60
_OURS = ("/postbus/", "/postbusd/")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One trial."""

    work: str
    """`module:function`."""
    argument: bytes
    died_at: frozenset[str] | None = None
    """Points where others have died; None: this one is to live."""
    moments: tuple[str, ...] = MOMENTS


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a trial ended."""

    killed: bool
    place: str = ""
    """Where it died, innermost call last."""
    result: bytes = b""
    fault: str = ""
    """Why it neither died as told nor finished."""


class Work(Protocol):
    """What is tried."""

    def __call__(self, argument: bytes, points: "KillPoints") -> Coroutine[Any, Any, bytes]:
        """Its result; whatever it raises fails the test."""
        ...


class KillPoints:
    """Ends the process at the first point where nobody has died."""

    def __init__(self, order: Order, report: Callable[[Ending], None]) -> None:
        self._order = order
        self._report = report
        self._passed: Counter[str] = Counter()
        self._watches_all = False
        self._watching: contextvars.ContextVar[bool] = contextvars.ContextVar("watching", default=False)

    def make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """The loop's task factory."""
        if self._watches_all or self._watching.get():
            coroutine = _Watched(coroutine, self._pass)
        return asyncio.Task(coroutine, loop=loop, **options)

    def watch_all(self) -> None:
        """From now on every task that begins has kill points: those of connections that are yet to come."""
        self._watches_all = True

    async def watch(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a part of the work with its awaits, and those of all tasks that it starts, as kill points."""
        token = self._watching.set(True)
        try:
            task = asyncio.get_running_loop().create_task(work)
        finally:
            self._watching.reset(token)
        return await task

    def _pass(self, moment: str, coroutine: Any) -> None:
        if self._order.died_at is None or moment not in self._order.moments:
            return
        place = f"{moment} {_describe(coroutine)}"
        self._passed[place] += 1
        point = f"{place} #{self._passed[place]}"
        if point not in self._order.died_at:
            self._report(Ending(killed=True, place=point))
            os.kill(os.getpid(), signal.SIGKILL)


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine that tells of each time it is suspended and resumed."""

    def __init__(self, inner: Coroutine[Any, Any, Any], note: Callable[[str, Any], None]) -> None:
        self._inner = inner
        self._note = note
        self._is_begun = False

    def send(self, value: Any) -> Any:
        if self._is_begun:
            self._note(RESUMED, self._inner)
        self._is_begun = True
        waited_for = self._inner.send(value)
        self._note(SUSPENDED, self._inner)
        return waited_for

    def throw(self, *error: Any) -> Any:
        waited_for = self._inner.throw(*error)
        self._note(SUSPENDED, self._inner)
        return waited_for

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()


def _describe(coroutine: Any) -> str:
    """Our own functions that wait, the innermost last, as file:function:line."""
    found: list[str] = []
    while isinstance(coroutine, CoroutineType):
        frame = coroutine.cr_frame
        if frame is not None and any(part in frame.f_code.co_filename for part in _OURS):
            name = Path(frame.f_code.co_filename).name
            found.append(f"{name}:{frame.f_code.co_name}:{frame.f_lineno}")
        coroutine = coroutine.cr_await
    return " > ".join(found) or "elsewhere"


class Zygote:
    """The process that is forked for each trial."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(
        self, work: str, argument: bytes, died_at: Iterable[str] | None = None, moments: tuple[str, ...] = MOMENTS
    ) -> Ending:
        """One trial, killed where nobody died yet, or not at all. Raises AssertionError when the work failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        known = None if died_at is None else frozenset(died_at)
        order = Order(work=work, argument=argument, died_at=known, moments=moments)
        _write(self._process.stdin.fileno(), msgspec.msgpack.encode(order))
        ending = msgspec.msgpack.decode(_read(self._process.stdout.fileno()), type=Ending)
        assert not ending.fault, ending.fault
        return ending


@contextlib.contextmanager
def running_zygote(*modules: str) -> Iterator[Zygote]:
    """A zygote that has these modules loaded, while the block runs."""
    command = [sys.executable, "-m", __name__, *modules]
    environment = {**process_environment(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Zygote(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(TRIAL_SECONDS)
        process.stdout.close()


# Within the zygote


def serve() -> None:
    """Runs trials until nobody orders any more. The process has no thread and no event loop, or it could not fork."""
    orders, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what the work prints is no answer
    gc.collect()
    gc.freeze()  # a fork that collects would copy all of it
    while order := _read(orders):
        _write(answers, _try(msgspec.msgpack.decode(order, type=Order)))


def _try(order: Order) -> bytes:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work_and_exit(order, writing)
    os.close(writing)
    told = _read(reading)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    ended = os.waitstatus_to_exitcode(status)
    ending = msgspec.msgpack.decode(told, type=Ending) if told else Ending(killed=False)
    if not told or ended != (-signal.SIGKILL if ending.killed else 0):
        ending = msgspec.structs.replace(ending, fault=ending.fault or f"ended with {ended}")
    return msgspec.msgpack.encode(ending)


def _work_and_exit(order: Order, writing: int) -> None:
    """In the fork: never returns."""

    def report(ending: Ending) -> None:
        _write(writing, msgspec.msgpack.encode(ending))

    signal.alarm(TRIAL_SECONDS)
    code = 1
    try:
        work = _find(order.work)
        points = KillPoints(order, report)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.get_loop().set_task_factory(points.make_task)
            result = runner.run(_bounded(work(order.argument, points)))
        report(Ending(killed=False, result=result))
        code = 0
    except BaseException:
        report(Ending(killed=False, fault=traceback.format_exc()))
    finally:
        os._exit(code)


async def _bounded(work: Awaitable[bytes]) -> bytes:
    async with asyncio.timeout(TRIAL_SECONDS / 2):
        return await work


def _write(file: int, data: bytes) -> None:
    with open(file, "wb", closefd=False) as stream:
        stream.write(len(data).to_bytes(4, "big") + data)


def _read(file: int) -> bytes:
    """Empty at the end."""
    with open(file, "rb", buffering=0, closefd=False) as stream:
        size = int.from_bytes(_exactly(stream, 4), "big")
        return _exactly(stream, size)


def _exactly(stream: Any, size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := stream.read(size - len(found))):
        found += piece
    return found


def _find(name: str) -> Work:
    module, _, function = name.partition(":")
    work: Work = getattr(importlib.import_module(module), function)
    return work


if __name__ == "__main__":
    for name in sys.argv[1:]:
        importlib.import_module(name)
    serve()
