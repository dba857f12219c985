"""Where everything of one installation lies: the names inside the data folder, and nothing else.

Invariants: names never change once released (old folders start new code, promise 9); the run folder is the only part
that may lie elsewhere, because a Unix socket's path must stay short (`sun_path` has 108 octets).
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

MAX_SOCKET_PATH_OCTETS = 100  # sockaddr_un.sun_path is 108 with its NUL; Postgres refuses above 107
LONGEST_SOCKET_NAME = "dns-provisioner.sock.lock"
"""What must still fit behind the run folder; Postgres's `pg/.s.PGSQL.5432` is shorter."""


class StartError(Exception):
    """What keeps an installation from starting and a person must put right; the text is one clear line."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The paths of one installation."""

    root: Path
    """The data folder, absolute."""
    run: Path
    """Sockets, pid and state of the running platform; made anew at each start."""

    @property
    def settings_file(self) -> Path:
        """Settings, made with comments at first start, read at every start."""
        return self.root / "postbus.env"

    @property
    def secrets(self) -> Path:
        """One file a secret, mode 600: postgres-<service>, nats-<service>, admin-token, master.key …."""
        return self.root / "secrets"

    @property
    def postgres(self) -> Path:
        """The private Postgres, unless its user can't get here (`postbus.runtime.embedded.postgres`)."""
        return self.root / "postgres"

    @property
    def nats(self) -> Path:
        """The private nats-server: configuration and JetStream's files."""
        return self.root / "nats"

    @property
    def blobs(self) -> Path:
        """Message bytes."""
        return self.root / "blobs"

    @property
    def spool(self) -> Path:
        """Large messages while they are being received."""
        return self.root / "spool"

    @property
    def search(self) -> Path:
        """The search index: derived data."""
        return self.root / "search"

    @property
    def logs(self) -> Path:
        """One log file a service, rotated."""
        return self.root / "logs"

    @property
    def tls(self) -> Path:
        """The private CA's certificate for clients."""
        return self.root / "tls"

    @property
    def ca_file(self) -> Path:
        """PEM certificate of the private CA."""
        return self.tls / "ca.pem"

    @property
    def connection_file(self) -> Path:
        """Addresses, tokens and passwords for scripts and outside tests; mode 600, written when all is ready."""
        return self.root / "connection.json"

    @property
    def lock_file(self) -> Path:
        """Held (flock) by the supervisor; its text is the supervisor's process id."""
        return self.root / "lock"

    @property
    def state_file(self) -> Path:
        """What `postbus status` shows; written by the supervisor."""
        return self.run / "state.json"


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """/var/lib/postbus as root, else the XDG data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/postbus")
    home = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".local/share")
    return Path(home) / "postbus"


def layout_of(data_dir: Path, environment: Mapping[str, str]) -> Layout:
    """The layout of a data folder, existing or not. Reads nothing but the current folder and makes nothing."""
    root = Path(os.path.realpath(data_dir))
    inside = root / "run"
    if _fits(inside):
        return Layout(root=root, run=inside)
    name = f"postbus-{os.getuid()}-{path_hash(root)}"
    runtime_dir = environment.get("XDG_RUNTIME_DIR", "")
    if runtime_dir.startswith("/") and Path(runtime_dir).is_dir() and _fits(Path(runtime_dir) / name):
        return Layout(root=root, run=Path(runtime_dir) / name)
    return Layout(root=root, run=Path("/tmp") / name)  # noqa: S108 (made by make_folders with its owner checked)


def path_hash(path: Path) -> str:
    """Twelve hexadecimal digits that tell data folders apart."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def make_folders(layout: Layout) -> None:
    """Makes the folders of an installation, mode 700. Raises StartError."""
    folders = (layout.root, layout.run, layout.secrets, layout.logs, layout.blobs, layout.spool, layout.search)
    try:
        for folder in folders:
            make_private(folder)
    except OSError as error:
        raise StartError(f"can't make {error.filename}: {error.strerror}") from error


def make_private(folder: Path) -> None:
    """Makes a folder of mode 700, or checks that an existing one is a folder of ours. Raises OSError, StartError."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass
    found = folder.lstat() if folder.is_relative_to("/tmp") else folder.stat()  # noqa: S108
    if not folder.is_dir():
        raise StartError(f"{folder} is in the way: it is not a folder")
    if found.st_uid != os.getuid():
        raise StartError(f"{folder} belongs to another user (uid {found.st_uid}, we are {os.getuid()})")


def write_private(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replaces a file in one step, so that a reader sees the old or the new content, never a part; fsynced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _fits(run: Path) -> bool:
    return len(os.fsencode(run / LONGEST_SOCKET_NAME)) < MAX_SOCKET_PATH_OCTETS
