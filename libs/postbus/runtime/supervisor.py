"""Keeps programs running: starts them, reads what they print, restarts them with back-off, ends them in order.

It knows nothing of mail. It stays small, because it runs as long as the installation: no threads, no gRPC, no database
client. A program that is to die with us says so in its own command line (`embedded.program.dies_with_parent`): a signal
at the parent's death is the only thing that works when we are killed with SIGKILL.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from types import TracebackType

from postbus.runtime.embedded.program import Program
from postbus.runtime.supervisor_logs import LineSplitter, LogRouter

log = logging.getLogger(__name__)

RESTART_FIRST_SECONDS = 0.25
RESTART_MAX_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A program that ran this long starts its back-off anew."""
READ_OCTETS = 65536


class Child:
    """One supervised program: at most one process at a time."""

    def __init__(
        self,
        program: Program,
        logs: LogRouter,
        services: frozenset[str] = frozenset(),
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """`services` are those that its log lines may name; `on_change` is called at each start and end."""
        self.program = program
        self.services = services
        self.pid: int | None = None
        self.started_at = 0.0
        """Monotonic seconds of the last start."""
        self.exits = 0
        """How often it ended although nobody asked it to."""
        self.last_exit: int | None = None
        self.last_line = ""
        """What it printed last: the reason, when it ended."""
        self._logs = logs
        self._on_change = on_change
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping.is_set()

    @property
    def reason(self) -> str:
        """Why it ended last, in a line."""
        text = self.last_line.strip() or "it printed nothing"
        return f"{text} (exit code {self.last_exit})"

    async def run(self) -> None:
        """Runs the program again and again until `stop`."""
        pause = RESTART_FIRST_SECONDS
        try:
            while not self._stopping.is_set():
                await self.run_once()
                if self._stopping.is_set():
                    break
                self.exits += 1
                steady = time.monotonic() - self.started_at > STEADY_SECONDS
                pause = RESTART_FIRST_SECONDS if steady else pause
                log.warning(
                    "supervisor.child.ended",
                    extra={"child": self.name, "status": self.last_exit, "restart_seconds": pause},
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
                pause = min(pause * 2, RESTART_MAX_SECONDS)
        finally:
            self._kill()
            self._ended.set()

    async def stop(self) -> None:
        """Asks it to end, waits, kills it after the program's stop_seconds."""
        self._stopping.set()
        self._signal(self.program.stop_signal)
        try:
            async with asyncio.timeout(self.program.stop_seconds):
                await self._ended.wait()
        except TimeoutError:
            log.error("supervisor.child.killed", extra={"child": self.name})
            self._signal(signal.SIGKILL)
            await self._ended.wait()

    async def run_once(self) -> None:
        """Runs the program to its end, once; `last_exit` and `last_line` tell the outcome."""
        self.started_at = time.monotonic()
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 (starts at once; its pipe and its end are awaited)
                self.program.command,
                env=self.program.environment,
                cwd=self.program.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.last_exit, self.last_line = 127, f"{self.program.command[0]}: {error.strerror}"
            return
        self._process, self.pid = process, process.pid
        log.info("supervisor.child.started", extra={"child": self.name, "child_pid": process.pid})
        self._tell_change()
        if self._stopping.is_set():
            self._signal(self.program.stop_signal)
        try:
            await self._read_output(process)
            await _wait_end(process)
        finally:
            self._kill()
            self.last_exit = process.returncode
            self._process = self.pid = None
            self._tell_change()

    async def _read_output(self, process: subprocess.Popen[bytes]) -> None:
        """Reads until the pipe closes or the process ends (a grandchild may keep the pipe open)."""
        assert process.stdout is not None
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
        splitter = LineSplitter()
        try:
            async with asyncio.TaskGroup() as tasks:
                ending = tasks.create_task(_end_output(process, transport))
                while data := await reader.read(READ_OCTETS):
                    self._take(splitter.feed(data))
                self._take(splitter.flush())
                ending.cancel()
        finally:
            transport.close()

    def _tell_change(self) -> None:
        if self._on_change is not None:
            self._on_change()

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            self._logs.route(self.name, self.services, line)
        if lines:
            self.last_line = lines[-1].decode("utf-8", "replace")

    def restart(self) -> None:
        """Asks it to end; `run` starts it again."""
        self._signal(self.program.stop_signal)

    def kill(self) -> None:
        """Ends the process at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Supervisor:
    """A set of children with one life: `async with Supervisor(logs) as supervisor`."""

    def __init__(self, logs: LogRouter, on_change: Callable[[], None] | None = None) -> None:
        """`on_change` is called whenever a child starts or ends."""
        self.logs = logs
        self._on_change = on_change
        self.children: dict[str, Child] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> "Supervisor":
        """Opens the task group."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends every child that still runs, then the task group; the block's own error goes on as it is."""
        await self.stop(tuple(self.children))
        await self._tasks.__aexit__(None, None, None)

    def start(self, program: Program, services: frozenset[str] = frozenset()) -> Child:
        """Starts a program and keeps it running; `services` are those that its log lines may name."""
        child = Child(program, self.logs, services, self._on_change)
        self.children[program.name] = child
        self._tasks.create_task(child.run(), name=f"child-{program.name}")
        return child

    async def stop(self, names: tuple[str, ...]) -> None:
        """Ends these children side by side and waits for all."""
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(self.children.pop(name).stop())


async def _wait_end(process: subprocess.Popen[bytes]) -> None:
    """Waits for the process's end without a thread."""
    if process.poll() is not None:
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(process.pid)

    def on_end() -> None:
        if not ended.done():
            ended.set_result(None)

    try:
        loop.add_reader(descriptor, on_end)
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    process.wait()


async def _end_output(process: subprocess.Popen[bytes], transport: asyncio.ReadTransport) -> None:
    """Ends the reading when the process has gone: a grandchild may keep the pipe open."""
    await _wait_end(process)
    await asyncio.sleep(0.05)  # what is still in the pipe
    transport.close()
