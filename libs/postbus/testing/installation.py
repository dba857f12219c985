"""Real installations for the integration tests: private servers, and the whole platform by `./postbus up`.

Everything listens on Unix sockets and loopback ports, lives in a short temporary folder and is ended by process id.
"""

import asyncio
import contextlib
import imaplib
import json
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

import postbus as package
from postbus.runtime.embedded import EmbeddedNats, EmbeddedPostgres, Program, read_secret
from postbus.runtime.embedded.program import PROGRAM_PATH
from postbus.runtime.layout import Layout
from postbus.runtime.settings import process_environment

ROOT = Path(package.__path__[0]).parent.parent
"""The checkout."""
READY_SECONDS = 30.0
UP_SECONDS = 120.0
CLIENT_SECONDS = 30.0
DISK_OCTETS = 700 * 1024 * 1024
RESIZES = 50
DISK_RESERVE_OCTETS = 4 * 1024 * 1024
SHORT_DEADLINES = {
    "POSTBUS_RUNTIME_RPC_SECONDS": "1.5",
    "POSTBUS_RUNTIME_POSTGRES_SECONDS": "1.5",
    "POSTBUS_RUNTIME_DISK_RESERVE_OCTETS": str(DISK_RESERVE_OCTETS),
}


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """A migrated private Postgres."""

    server: EmbeddedPostgres
    layout: Layout

    @property
    def dsn(self) -> str:
        """Without user and password."""
        return self.server.dsn

    @property
    def host(self) -> str:
        """The socket's folder."""
        return str(self.server.socket_dir)

    def password(self, name: str) -> str:
        """Of `superuser`, `owner` or a service."""
        return read_secret(self.layout.secrets, f"postgres-{name}")

    async def execute(self, statement: str) -> None:
        """Runs SQL as superuser: for tests that begin with empty tables."""
        import asyncpg

        session = await asyncpg.connect(self.dsn, user="postgres", password=self.password("superuser"))
        try:
            await session.execute(statement)
        finally:
            await session.close()


class Nats(msgspec.Struct, frozen=True, kw_only=True):
    """A private nats-server with the streams of the bus."""

    server: EmbeddedNats
    layout: Layout

    @property
    def url(self) -> str:
        """Without user and password."""
        return self.server.url

    def password(self, user: str) -> str:
        """Of `admin` or a service, which is also the user's name."""
        return read_secret(self.layout.secrets, f"nats-{user}")


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A running installation."""

    data_dir: Path
    host: str
    ports: dict[str, int | None]
    metrics: dict[str, str]
    ca_file: str
    admin_url: str
    admin_token: str
    mailboxes: tuple[tuple[str, str], ...]
    """Addresses and passwords."""

    def port(self, name: str) -> int:
        """The port of a listener that is on."""
        port = self.ports[name]
        assert port is not None, f"{name} is off"
        return port

    def tls(self) -> ssl.SSLContext:
        """A client context that trusts the installation's CA only."""
        return ssl.create_default_context(cafile=self.ca_file)

    def administer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUTs an object by the API, as `mailboxes/u@demo.example`; what the API says. Raises HTTPError."""
        request = urllib.request.Request(  # noqa: S310  # https, from connection.json
            f"{self.admin_url}/api/v1/{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.admin_token}", "Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=CLIENT_SECONDS, context=self.tls()) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        return found

    def send(self, message: bytes, *recipients: str, reverse_path: str = "friend@example.org") -> dict[str, Any]:
        """Sends by SMTP on port 25's stand-in; what smtplib says about refused recipients."""
        with smtplib.SMTP(self.host, self.port("smtp"), timeout=CLIENT_SECONDS) as client:
            return client.sendmail(reverse_path, recipients, message)

    @contextlib.contextmanager
    def reader(self, number: int = 0) -> Iterator[imaplib.IMAP4_SSL]:
        """An IMAP session of one of the first mailboxes, over TLS."""
        client = imaplib.IMAP4_SSL(self.host, self.port("imaps"), ssl_context=self.tls(), timeout=CLIENT_SECONDS)
        try:
            client.login(*self.mailboxes[number])
            yield client
        finally:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                client.logout()

    def wait_message(self, word: str, number: int = 0, folder: str = "INBOX") -> bytes:
        """The message with that word in its subject, as IMAP gives it, once it has been delivered."""
        deadline = time.monotonic() + CLIENT_SECONDS
        with self.reader(number) as client:
            while time.monotonic() < deadline:
                client.select(folder, readonly=True)
                found = client.uid("SEARCH", "SUBJECT", f'"{word}"')[1][0]
                if found:
                    answer: Any = client.uid("FETCH", found.split()[-1].decode(), "(BODY.PEEK[])")[1]
                    return bytes(answer[0][1])
                time.sleep(0.1)
        raise AssertionError(f"no message with {word} in {folder}")


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder with a short path that Postgres's own user can enter; what runs in it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="pb", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder / "d"
    finally:
        if (folder / "d" / "lock").exists():
            postbus("down", "--data-dir", str(folder / "d"), check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own (DISK_OCTETS, in memory) at the folder while the block runs, where we may mount one."""
    folder.mkdir(mode=0o700)
    command = ("mount", "-t", "tmpfs", "-o", f"size={DISK_OCTETS},mode=700", "tmpfs", str(folder))
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = mounted and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def resize_disk(folder: Path, free_octets: int) -> None:
    """Gives a `small_disk` as much free space as told; again when somebody wrote in between."""
    for _ in range(RESIZES):
        found = os.statvfs(folder)
        size = (found.f_blocks - found.f_bfree) * found.f_frsize + free_octets
        command = ("mount", "-o", f"remount,size={size}", str(folder))
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return
    raise AssertionError("the disk can't be resized")


@contextlib.contextmanager
def running(program: Program, is_ready: Callable[[], Awaitable[bool]]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program in the foreground while the block runs."""
    process = subprocess.Popen(
        program.command,
        env=program.environment,
        cwd=program.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        asyncio.run(_wait_ready(program.name, process, is_ready))
        yield process
    finally:
        process.send_signal(program.stop_signal)
        process.wait(program.stop_seconds)


async def _wait_ready(name: str, process: subprocess.Popen[bytes], is_ready: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while not await is_ready():
            assert process.poll() is None, f"{name} ended with {process.returncode}"
            await asyncio.sleep(0.02)


def run_migrator(layout: Layout, postgres: EmbeddedPostgres, nats: EmbeddedNats) -> None:
    """Brings a private database and its bus up to date."""
    environment = {
        "PATH": PROGRAM_PATH,
        "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT / 'services'}",
        "POSTBUS_RUNTIME_DATA_DIR": str(layout.root),
        "POSTBUS_RUNTIME_SECRETS_DIR": str(layout.secrets),
        "POSTBUS_RUNTIME_POSTGRES_DSN": postgres.dsn,
        "POSTBUS_RUNTIME_NATS_URL": nats.url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "postbusd.cli.main", "migrate"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def noop_until(client: imaplib.IMAP4_SSL, deadline: float) -> None:
    """Raises what the end of the session raises; `deadline` by the monotonic clock."""
    while time.monotonic() < deadline:
        client.noop()
        time.sleep(0.05)


def postbus(
    *arguments: str, check: bool = True, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs ./postbus to its end."""
    done = subprocess.run(
        [str(ROOT / "postbus"), *arguments],
        env={**process_environment(), **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=UP_SECONDS,
    )
    if check:
        assert done.returncode == 0, f"postbus {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def start_platform(data_dir: Path, *options: str, environment: dict[str, str] | None = None) -> Platform:
    """`./postbus up --detach` on free ports (or on those in `options`)."""
    if "--port-base" not in options:
        options = (*options, "--port-base", str(free_port_base()))
    postbus("up", "--detach", "--data-dir", str(data_dir), *options, environment=environment)
    return read_connection(data_dir)


def read_connection(data_dir: Path) -> Platform:
    """The platform that connection.json describes."""
    found: dict[str, Any] = json.loads((data_dir / "connection.json").read_text())
    return Platform(
        data_dir=data_dir,
        host=found["host"],
        ports=found["ports"],
        metrics=found["metrics"],
        ca_file=found["tls"]["ca_file"],
        admin_url=found["admin"]["url"],
        admin_token=found["admin"]["token"],
        mailboxes=tuple((mailbox["address"], mailbox["password"]) for mailbox in found["mailboxes"]),
    )


def free_port_base(*taken: int) -> int:
    """A --port-base all of whose ports are free now and that is not `taken`; another one for each process that asks.

    Processes that share a run (PYTEST_SHARE, `1/2`) never choose the same.
    """
    number, _, processes = process_environment().get("PYTEST_SHARE", "1/1").partition("/")
    bases = range(11000, 32000, 1000)[int(number) - 1 :: int(processes)]
    first = os.getpid() % len(bases)
    order: list[int] = [*bases[first:], *bases[:first]]
    for base in order:
        if base not in taken and all(_is_free(base + offset) for offset in (25, 80, 143, 465, 587, 993)):
            return base
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
