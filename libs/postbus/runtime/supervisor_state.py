"""What a running installation looks like: written by the supervisor into state.json, shown by `postbus status`."""

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

from postbus.runtime.layout import Layout, StartError

HEALTH_SECONDS = 2.0
MAX_ANSWER_OCTETS = 4096

STARTING, READY, FAILING, DOWN = "starting", "ready", "failing", "restarting"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A service, or one of the embedded servers."""

    name: str
    process: str
    """Name of the process that hosts it; services of one group share it."""
    pid: int | None
    health: str
    """starting | ready | failing | restarting."""
    detail: str = ""
    ports: dict[str, int] = {}
    ready_seconds: float | None = None
    """From the start of its process until it was ready."""
    restarts: int = 0
    pss_octets: int | None = None
    """Of the whole process; filled in by whoever shows it."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The installation."""

    pid: int
    started_ms: int
    data_dir: str
    host: str
    ready: bool
    ready_seconds: float | None = None
    parts: tuple[Part, ...] = ()
    supervisor_octets: int | None = None
    """The supervisor's own PSS; filled in by whoever shows it."""
    pss_octets: int | None = None
    """Of everything, the supervisor included; filled in by whoever shows it."""


class _Health(msgspec.Struct):
    checks: dict[str, str] = {}


def read_state(layout: Layout) -> State | None:
    """The last state written; None: there is none."""
    try:
        return msgspec.json.decode(layout.state_file.read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_state(layout: Layout, state: State) -> None:
    """Replaces state.json; without fsync, for it means nothing after a crash. A full disk is not an error here."""
    temporary = layout.state_file.with_suffix(".new")
    content = msgspec.json.encode(state)
    try:
        temporary.write_bytes(content)
        temporary.replace(layout.state_file)
    except OSError:
        # In its old place it needs no new block: just now somebody wants to know what is wrong.
        with contextlib.suppress(OSError), layout.state_file.open("r+b") as file:
            file.write(content)
            file.truncate()


class Lock:
    """The installation's lock: one supervisor at a time."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.lock_file
        self._descriptor = -1

    def take(self) -> None:
        """Raises StartError when another instance holds it."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            holder = lock_holder(self._path)
            raise StartError(
                f"Postbus is already running in {self._path.parent}"
                f"{f' (process {holder})' if holder else ''}: see `postbus status`, end it by `postbus down`"
            ) from error
        self.sign()

    def sign(self) -> None:
        """Writes our process id into it (again after a fork)."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Gives it up."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def lock_holder(path: Path) -> int | None:
    """The process id of the supervisor that holds the lock; None: nobody does. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() else 0
    else:
        return None
    finally:
        os.close(descriptor)


async def is_healthy(port: int, service: str) -> tuple[bool, str]:
    """Asks a service's readiness on its process's loopback port; (ready, reason)."""
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET /{service}/readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read(MAX_ANSWER_OCTETS)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        return False, "no answer" if isinstance(error, TimeoutError) else "does not listen yet"
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        return True, ""
    return False, _first_trouble(body)


def _first_trouble(body: bytes) -> str:
    try:
        checks = msgspec.json.decode(body, type=_Health).checks
    except msgspec.DecodeError:
        return "its answer is malformed"
    return next((f"{name}: {text}" for name, text in checks.items() if text != "ok"), "")
