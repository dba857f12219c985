"""The host: one process, one or several services, none of them knowing (architecture §5).

Order: settings of all services (every problem told at once), one gRPC server and one observability listener for the
process, then each service is built and started; a dependency that is away then is waited for with back-off. SIGTERM and
SIGINT drain the services, those that face the outside first, all within `drain_seconds`, and the process ends with 0.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc.aio
import msgspec
import uvloop
from grpc_health.v1 import health_pb2_grpc

from postbus.blobs.local import LocalBlobStore
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_uuid7
from postbus.rpc.server import SERVER_OPTIONS, serve_port
from postbus.runtime.health import HealthService
from postbus.runtime.hosted import HostedPort, ProcessRpc
from postbus.runtime.log import service_context, set_up_logging
from postbus.runtime.observe import ObservabilityListener, Observed
from postbus.runtime.roster import DRAIN_STAGES, SERVICES
from postbus.runtime.seat import Seat
from postbus.runtime.service import ServiceSpec
from postbus.runtime.settings import RuntimeSettings, SettingProblem, SettingsError, load_settings, variable_prefix
from postbus.runtime.telemetry_export import set_up_telemetry, shut_down_telemetry

log = logging.getLogger(__name__)

MAX_SOCKET_PATH_OCTETS = 100  # sockaddr_un.sun_path is 108 with its NUL
EXECUTOR_THREADS = 8
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_SETTINGS = 78  # EX_CONFIG of sysexits.h
CLOSE_SECONDS = 5.0
LEAST_DRAIN_SECONDS = 1.0
"""For a service that those before it left no time."""


class ProcessFile(msgspec.Struct, frozen=True, kw_only=True):
    """`run_dir/<service>.json`, written once the service is ready."""

    service: str
    pid: int
    observe: str
    """Base URL of the service's pages; empty: off."""
    rpc: str
    instance_id: str
    ready_seconds: float
    """Since the process began."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings of the process."""

    specs: tuple[ServiceSpec, ...]
    runtime: RuntimeSettings
    settings: dict[str, msgspec.Struct]


def load_plan(specs: Sequence[ServiceSpec], environ: Mapping[str, str] | None = None) -> Plan:
    """All settings of these services. Raises SettingsError with the problems of all of them."""
    problems: list[SettingProblem] = []
    settings: dict[str, msgspec.Struct] = {}
    runtime = RuntimeSettings()
    try:
        runtime = load_settings(RuntimeSettings, "runtime", environ)
    except SettingsError as error:
        problems += error.problems
    for spec in specs:
        try:
            settings[spec.name] = load_settings(spec.settings, spec.name, environ)
        except SettingsError as error:
            problems += error.problems
        path = runtime.expand(runtime.rpc_listen, spec.name).removeprefix("unix:")
        if runtime.rpc_listen.startswith("unix:") and len(os.fsencode(path)) > MAX_SOCKET_PATH_OCTETS:
            name = f"{variable_prefix('runtime')}RUN_DIR"
            problems.append(SettingProblem(name, f"{path} is longer than {MAX_SOCKET_PATH_OCTETS} octets"))
    if problems:
        raise SettingsError(tuple(problems))
    ordered = sorted(specs, key=lambda spec: SERVICES.index(spec.name))
    return Plan(specs=tuple(ordered), runtime=runtime, settings=settings)


def run_services(specs: Sequence[ServiceSpec], environ: Mapping[str, str] | None = None) -> int:
    """Runs these services until SIGTERM or SIGINT; the process's exit code."""
    try:
        plan = load_plan(specs, environ)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 (before there is a log)
        return EXIT_SETTINGS
    set_up_logging(plan.runtime.log_level)
    if plan.runtime.die_with_parent:
        _die_with_parent()
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(plan))


async def _run(plan: Plan) -> int:
    return await Host(plan).run()


def raise_file_limit() -> None:
    """Takes all file descriptors that the system grants: each connection is one, and shells grant 1,024 at first."""
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted != most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _die_with_parent() -> None:
    """Asks Linux for a SIGTERM when the parent dies (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGTERM, 0, 0, 0)


class Host:
    """The running process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._instance_id = new_uuid7(SystemClock().now_ms())
        self._stop = asyncio.Event()
        runtime = plan.runtime
        self._ports = {spec.name: HostedPort(spec.name) for spec in plan.specs}
        self._rpc = ProcessRpc(
            self._ports, lambda service: runtime.expand(runtime.rpc_target, service), runtime.rpc_seconds
        )
        self._seats: dict[str, Seat] = {}
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._observe = ObservabilityListener({})

    async def run(self) -> int:
        """Until a signal; the exit code."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(EXECUTOR_THREADS, "worker"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        set_up_telemetry(self._plan.runtime.otlp_endpoint, self._instance_id)
        try:
            await self._open()
            failed = await self._host()
        except (OSError, MailError) as error:
            log.error("host.start.failed", extra={"reason": str(error)})
            failed = True
        finally:
            await self._close()
        return EXIT_FAILED if failed else EXIT_OK

    def _on_signal(self) -> None:
        if self._stop.is_set():
            log.warning("host.killed")
            os._exit(EXIT_FAILED)
        log.info("host.draining")
        self._stop.set()

    async def _open(self) -> None:
        """Listeners of the process. Raises OSError, MailError."""
        runtime = self._plan.runtime
        _make_run_dir(runtime)
        blobs = _open_blobs(runtime)
        for spec in self._plan.specs:
            self._seats[spec.name] = Seat(
                spec=spec,
                settings=self._plan.settings[spec.name],
                port=self._ports[spec.name],
                runtime=runtime,
                rpc=self._rpc,
                blobs=blobs,
                instance_id=self._instance_id,
            )
        for name, port in self._ports.items():
            serve_port(self._server, name, port)
            self._listen(name)
        health = HealthService({name: seat.health for name, seat in self._seats.items()})
        health_pb2_grpc.add_HealthServicer_to_server(health, self._server)
        await self._server.start()
        self._observe = ObservabilityListener(
            {name: Observed(registry=seat.registry, health=seat.health) for name, seat in self._seats.items()}
        )
        if runtime.observe_listen:
            await self._observe.start(runtime.observe_listen)
        log.info("host.listening", extra={"services": list(self._ports), "observe": self._observe.url})

    def _listen(self, service: str) -> None:
        address = self._plan.runtime.expand(self._plan.runtime.rpc_listen, service)
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise MailError(ErrorKind.UNAVAILABLE, f"{address}: can't be bound") from error
        if not bound:
            raise MailError(ErrorKind.UNAVAILABLE, f"{address}: can't be bound")

    async def _host(self) -> bool:
        """Starts all services, waits for the signal, drains them; whether one could not start."""
        stop: asyncio.Future[bool] = asyncio.ensure_future(self._stop.wait())
        starts = {
            name: asyncio.create_task(self._start(seat), name=f"start-{name}", context=service_context(name))
            for name, seat in self._seats.items()
        }
        waiting: set[asyncio.Future[bool]] = {*starts.values()}
        waiting.add(stop)
        failed = False
        while not stop.done() and not failed:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            failed = any(not task.result() for task in done if task is not stop)
        for task in (stop, *starts.values()):
            task.cancel()
        await asyncio.gather(stop, *starts.values(), return_exceptions=True)
        await self._drain()
        return failed

    async def _start(self, seat: Seat) -> bool:
        """Whether the service is ready; False when it never can be."""
        if not await seat.start():
            return False
        runtime = self._plan.runtime
        file = ProcessFile(
            service=seat.service,
            pid=os.getpid(),
            observe=f"{self._observe.url}/{seat.service}" if self._observe.url else "",
            rpc=runtime.expand(runtime.rpc_target, seat.service),
            instance_id=self._instance_id,
            ready_seconds=round(_process_age_seconds(), 3),
        )
        path = _process_file(runtime, seat.service)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(file))
        temporary.replace(path)
        log.info("service.ready", extra={"ready_seconds": file.ready_seconds})
        return True

    async def _drain(self) -> None:
        for service in self._seats:
            _process_file(self._plan.runtime, service).unlink(missing_ok=True)
        deadline = time.monotonic() + self._plan.runtime.drain_seconds
        for stage in DRAIN_STAGES:
            seconds = max(LEAST_DRAIN_SECONDS, deadline - time.monotonic())
            tasks = [
                asyncio.create_task(seat.drain(seconds), name=f"drain-{name}", context=service_context(name))
                for name, seat in self._seats.items()
                if name in stage
            ]
            await asyncio.gather(*tasks)

    async def _close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._observe.close()
                await self._server.stop(1.0)
                await self._rpc.close()
                await asyncio.to_thread(shut_down_telemetry)
        log.info("host.ended")


def _make_run_dir(runtime: RuntimeSettings) -> None:
    os.umask(0o077)
    Path(runtime.expand("{run_dir}")).mkdir(mode=0o700, parents=True, exist_ok=True)


def _process_file(runtime: RuntimeSettings, service: str) -> Path:
    return Path(runtime.expand("{run_dir}/{service}.json", service))


def _open_blobs(runtime: RuntimeSettings) -> LocalBlobStore:
    return LocalBlobStore(Path(runtime.expand(runtime.blobs_dir)), runtime.disk_reserve_octets)


def _process_age_seconds() -> float:
    """Since the kernel started this process (proc(5), field 22 of stat)."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
