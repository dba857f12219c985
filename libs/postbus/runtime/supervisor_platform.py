"""The one-command installation: Postgres, NATS and the services, from first start to drain.

Order of a start: the embedded servers, the migrator, the services, the first domain and mailboxes, connection.json.
Order of an end: services that face the outside first, what they need later, Postgres and NATS last.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

import postbus
from postbus.runtime import supervisor_stamp
from postbus.runtime.embedded import EmbeddedNats, EmbeddedPostgres, Program
from postbus.runtime.embedded.program import dies_with_parent
from postbus.runtime.layout import Layout, StartError
from postbus.runtime.roster import DRAIN_STAGES
from postbus.runtime.supervisor import Child, Supervisor
from postbus.runtime.supervisor_connection import describe_connection, write_connection
from postbus.runtime.supervisor_logs import LogRouter
from postbus.runtime.supervisor_ports import Addresses
from postbus.runtime.supervisor_state import DOWN, FAILING, READY, STARTING, Part, State, is_healthy, write_state

log = logging.getLogger(__name__)

GROUPS = (
    ("smtp-edge", "filter", "delivery", "directory", "dns-provisioner"),
    ("imap-gateway", "indexer", "admin-api"),
)
"""Services that share a process: what one message passes stays in one."""

START_SECONDS = 90.0
POLL_SECONDS = 0.05
WATCH_SECONDS = 2.0
UNREADY_SECONDS = 0.25
REVIVE_SECONDS = 5.0
"""How long NATS has run at least before it is started again for a stream that it can't write."""
STOP_SECONDS = 25.0
"""How long a service process may drain: more than RuntimeSettings.drain_seconds."""
EXPIRE_SECONDS = 6 * 3600.0
MMAP_THRESHOLD_OCTETS = 4 * 1024 * 1024
"""Larger blocks (messages) go back to the system when they are freed; glibc's own limit grows with each of them."""
MAX_EXITS_AT_START = 3
EXIT_SETTINGS = frozenset({2, 78})
"""A service process that ends with one of these (sysexits' EX_CONFIG) has wrong settings: repeating won't help."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run."""

    layout: Layout
    addresses: Addresses
    groups: tuple[tuple[str, ...], ...]
    observe_ports: tuple[int, ...]
    """One a group, loopback: health and metrics."""
    environment: dict[str, str]
    """Of every service process: the caller's, with the settings of this installation."""
    postgres: EmbeddedPostgres
    nats: EmbeddedNats
    is_first: bool
    """Whether the first domain and mailboxes are still to be made."""
    started: float
    """Monotonic seconds when the command began."""

    def observe_port(self, service: str) -> int:
        """Where a service tells its health."""
        return next(port for group, port in zip(self.groups, self.observe_ports, strict=True) if service in group)

    def metrics(self) -> dict[str, str]:
        """The URLs of all services' metrics."""
        return {
            service: f"http://127.0.0.1:{self.observe_port(service)}/{service}/metrics"
            for group in self.groups
            for service in group
        }


class Platform:
    """A running installation."""

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        """`tell` is given a line about each step."""
        self._plan = plan
        self._tell = tell
        self._started_ms = time.time_ns() // 1_000_000
        self._health: dict[str, tuple[str, str]] = {}
        self._ready_seconds: dict[str, float] = {}
        self._all_ready: float | None = None
        self._changed = asyncio.Event()
        self._supervisor = Supervisor(LogRouter(plan.layout.logs), self._changed.set)

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None], on_watch: Callable[[State], None]) -> None:
        """Starts everything, calls `on_ready`, watches until `stop`, drains. Raises StartError.

        `on_watch` is given the state every few seconds.
        """
        async with self._supervisor:
            try:
                await _unless(stop, self._start())
                if not stop.is_set():
                    on_ready()
                    await _unless(stop, self._watch(on_watch))
            finally:
                self._tell("Finishing what is under way …" if stop.is_set() else "Stopping …")
                await self._stop()

    def kill(self) -> None:
        """Ends the services at once: somebody is tired of waiting. Accepted mail is on the disk already."""
        for child in self._supervisor.children.values():
            if child.services:
                child.kill()

    def state(self) -> State:
        """What there is now, without memory figures."""
        parts = [self._part(name, name) for name in ("postgres", "nats")]
        for number, group in enumerate(self._plan.groups):
            parts += [self._part(service, _process_name(group, number)) for service in group]
        return State(
            pid=os.getpid(),
            started_ms=self._started_ms,
            data_dir=str(self._plan.layout.root),
            host=self._plan.addresses.host,
            ready=self._all_ready is not None and all(part.health == READY for part in parts),
            ready_seconds=self._all_ready,
            parts=tuple(parts),
        )

    def _part(self, name: str, process: str) -> Part:
        child = self._supervisor.children.get(process)
        health, detail = self._health.get(name, (STARTING, ""))
        return Part(
            name=name,
            process=process,
            pid=child.pid if child else None,
            health=health,
            detail=detail,
            ports=self._plan.addresses.ports_of(name),
            ready_seconds=self._ready_seconds.get(name),
            restarts=child.exits if child else 0,
        )

    async def _start(self) -> None:
        plan = self._plan
        write_state(plan.layout, self.state())
        servers: tuple[tuple[Program, Callable[[], Awaitable[bool]]], ...] = (
            (plan.postgres.program(), plan.postgres.is_ready),
            (plan.nats.program(), plan.nats.is_ready),
        )
        is_migrated = supervisor_stamp.is_migrated(plan.layout, plan.postgres, plan.nats)
        self._tell("Starting Postgres and NATS …")
        for program, _ in servers:
            self._supervisor.start(program)
        if is_migrated:
            self._start_services()
        for program, is_ready in servers:
            await self._wait_server(program.name, is_ready)
        if not is_migrated:
            await self._run_step("migrate", "the database can't be brought up to date")
            supervisor_stamp.note_migrated(plan.layout, plan.postgres, plan.nats)
            self._start_services()
        await self._wait_services()
        if plan.is_first or not plan.layout.ca_file.exists():
            await self._run_step("first-start", "the first domain and mailboxes can't be made")
        write_connection(plan.layout, describe_connection(plan.layout, plan.addresses, plan.metrics()))
        self._all_ready = round(time.monotonic() - self._plan.started, 2)
        write_state(plan.layout, self.state())

    def _start_services(self) -> None:
        self._tell("Starting the services …")
        for number, group in enumerate(self._plan.groups):
            self._supervisor.start(self._service_program(group, number), frozenset(group))

    async def _wait_server(self, name: str, is_ready: Callable[[], Awaitable[bool]]) -> None:
        child = self._supervisor.children[name]
        while not await is_ready():
            if child.exits:
                raise StartError(f"{name} does not start: {child.last_line.strip()} (see {self._log_file(name)})")
            self._check_time(name)
            await asyncio.sleep(POLL_SECONDS / 2)
        self._note(name, child, READY)

    async def _wait_services(self) -> None:
        waiting = [service for group in self._plan.groups for service in group]
        while waiting:
            for service in tuple(waiting):
                await self._check_service(service)
                if self._health[service][0] == READY:
                    waiting.remove(service)
            for child in self._supervisor.children.values():
                if child.exits >= MAX_EXITS_AT_START or (child.exits and child.last_exit in EXIT_SETTINGS):
                    raise StartError(f"{_names(child)} can't start: {child.reason} (see {self._plan.layout.logs})")
            if waiting:
                self._check_time(waiting[0])
                await asyncio.sleep(POLL_SECONDS)

    def _check_time(self, name: str) -> None:
        if time.monotonic() - self._plan.started > START_SECONDS:
            reason = self._health.get(name, ("", ""))[1] or "no reason given"
            raise StartError(
                f"{name} is not ready after {START_SECONDS:.0f} s: {reason} (see {self._plan.layout.logs})"
            )

    async def _check_service(self, service: str) -> None:
        child = next(child for child in self._supervisor.children.values() if service in child.services)
        if child.pid is None:
            self._health[service] = (DOWN, child.reason)
            return
        healthy, reason = await is_healthy(self._plan.observe_port(service), service)
        if healthy:
            self._note(service, child, READY)
        else:
            was_ready = self._health.get(service, (STARTING, ""))[0] in {READY, FAILING}
            self._health[service] = (FAILING if was_ready else STARTING, reason)

    def _note(self, name: str, child: Child, health: str) -> None:
        if self._health.get(name, ("", ""))[0] != health:
            self._ready_seconds[name] = round(time.monotonic() - child.started_at, 2)
        self._health[name] = (health, "")

    async def _watch(self, on_watch: Callable[[State], None]) -> None:
        """Looks after everything until cancelled; the children themselves are restarted by the supervisor."""
        expire_at = 0.0
        await self._refresh_ca()
        while True:
            self._changed.clear()
            await self._check_all()
            state = self.state()
            write_state(self._plan.layout, state)
            on_watch(state)
            if time.monotonic() >= expire_at:
                self._supervisor.logs.expire(time.time())
                expire_at = time.monotonic() + EXPIRE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS if state.ready else UNREADY_SECONDS):
                    await self._changed.wait()

    async def _refresh_ca(self) -> None:
        """The CA's certificate may have changed since the last start; nobody waits for that."""
        if not self._plan.is_first:
            try:
                await self._run_step("first-start", "the CA's certificate can't be fetched")
            except StartError as error:
                log.warning("supervisor.ca.stale", extra={"reason": str(error)})

    async def _check_all(self) -> None:
        for name, is_ready in (("postgres", self._plan.postgres.is_ready), ("nats", self._plan.nats.is_ready)):
            child = self._supervisor.children[name]
            if child.pid is None:
                self._health[name] = (DOWN, child.reason)
            elif not await is_ready():
                self._health[name] = (FAILING, "does not answer")
            elif name == "nats" and (fault := await self._plan.nats.find_fault()):
                self._health[name] = (FAILING, fault)
                self._revive_bus(child, fault)
            else:
                self._note(name, child, READY)
        for group in self._plan.groups:
            for service in group:
                await self._check_service(service)

    def _revive_bus(self, child: Child, fault: str) -> None:
        """Starts NATS again once its disk has room: by itself it writes nothing more."""
        if time.monotonic() - child.started_at > REVIVE_SECONDS and self._plan.nats.has_room():
            log.error("supervisor.bus.revived", extra={"reason": fault})
            child.restart()

    async def _stop(self) -> None:
        """Drains in stages, a process in the last one of its services; idempotent."""
        for number, stage in enumerate(DRAIN_STAGES):
            later = frozenset().union(*DRAIN_STAGES[number + 1 :])
            names = tuple(
                name
                for name, child in self._supervisor.children.items()
                if child.services & stage and not child.services & later
            )
            await self._supervisor.stop(names)
        await self._supervisor.stop(tuple(self._supervisor.children))
        self._plan.layout.state_file.unlink(missing_ok=True)

    async def _run_step(self, command: str, complaint: str) -> None:
        """Runs one of our own commands to its end. Raises StartError with its last line."""
        module = "postbusd.cli.first_start" if command == "first-start" else "postbusd.cli.main"
        arguments = () if command == "first-start" else (command,)
        program = self._program(command, (sys.executable, "-P", "-m", module, *arguments), {})
        child = Child(program, self._supervisor.logs)
        await child.run_once()
        if child.last_exit != 0:
            raise StartError(f"{complaint}: {child.reason} (see {self._log_file(command)})")

    def _service_program(self, group: tuple[str, ...], number: int) -> Program:
        command = (sys.executable, "-P", "-m", "postbusd.cli.main", "run", *group)
        listen = f"127.0.0.1:{self._plan.observe_ports[number]}"
        return self._program(_process_name(group, number), command, {"POSTBUS_RUNTIME_OBSERVE_LISTEN": listen})

    def _program(self, name: str, command: tuple[str, ...], settings: dict[str, str]) -> Program:
        return Program(
            name=name,
            command=dies_with_parent(command, "KILL"),
            environment={**self._plan.environment, **_python_environment(), **settings},
            folder=self._plan.layout.root,
            stop_signal=signal.SIGTERM,
            stop_seconds=STOP_SECONDS,
        )

    def _log_file(self, name: str) -> Path:
        return self._plan.layout.logs / f"{name}.log"


def _python_environment() -> dict[str, str]:
    """So that the services find these very packages, wherever they lie."""
    libs = Path(postbus.__path__[0]).parent
    services = libs.parent / "services"
    places = [str(libs), str(services)] if services.is_dir() else [str(libs)]
    return {
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(MMAP_THRESHOLD_OCTETS),
    }


def _process_name(group: tuple[str, ...], number: int) -> str:
    return group[0] if len(group) == 1 else f"services-{number + 1}"


def _names(child: Child) -> str:
    return " ".join(sorted(child.services)) or child.name


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Awaits `work`, or cancels it when `stop` is set; its exception comes through as it is."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
