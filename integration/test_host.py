"""`postbus run` as a process: readiness, the roads between processes, a late dependency, draining."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from postbus.contracts.directory import ResolveRequest
from postbus.contracts.dns_provisioner import ListCertificatesRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.rpc.client import GrpcClient

if TYPE_CHECKING:
    from postbus.testing.installation import Database, Nats

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 30.0


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A running `postbus run`."""

    popen: "subprocess.Popen[bytes]"
    run_dir: Path
    log: Path

    async def ready(self, service: str) -> dict[str, Any]:
        """The service's process file, once every check passes."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                assert self.popen.poll() is None, self.log.read_text()
                with contextlib.suppress(OSError):
                    found: dict[str, Any] = json.loads((self.run_dir / f"{service}.json").read_bytes())
                    if await asyncio.to_thread(status, f"{found['observe']}/readyz") == 200:
                        return found
                await asyncio.sleep(0.05)

    def events(self) -> list[dict[str, Any]]:
        """Every log line is one JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    async def logged(self, event: str) -> None:
        """Returns when such a line is there."""
        async with asyncio.timeout(READY_SECONDS):
            for _ in range(1000):
                if any(found["event"] == event for found in self.events()):
                    return
                await asyncio.sleep(0.05)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@contextlib.contextmanager
def run(environment: dict[str, str], folder: Path, *services: str) -> Iterator[Process]:
    log = folder / f"{services[0]}.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", "postbusd.cli.main", "run", *services],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Process(popen=popen, run_dir=Path(environment["POSTBUS_RUNTIME_RUN_DIR"]), log=log)
    finally:
        popen.kill()
        popen.wait()


@pytest.fixture
def environment(database: "Database", nats: "Nats", tmp_path: Path) -> dict[str, str]:
    run_dir = database.layout.root.parent / "host"
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join((str(ROOT / "libs"), str(ROOT / "services"))),
        "POSTBUS_RUNTIME_DATA_DIR": str(tmp_path / "data"),
        "POSTBUS_RUNTIME_RUN_DIR": str(run_dir),
        "POSTBUS_RUNTIME_SECRETS_DIR": str(database.layout.secrets),
        "POSTBUS_RUNTIME_POSTGRES_DSN": database.dsn,
        "POSTBUS_RUNTIME_NATS_URL": nats.url,
    }


async def test_a_group_gets_ready_answers_by_grpc_and_drains(
    environment: dict[str, str], database: "Database", tmp_path: Path
) -> None:
    await database.execute("TRUNCATE dns.authority, dns.certificate")  # sealed by another test's master key
    with run(environment, tmp_path, "dns-provisioner", "directory") as process:
        found = [await process.ready(service) for service in ("dns-provisioner", "directory")]
        assert found[0]["pid"] == found[1]["pid"] == process.popen.pid
        certificates = GrpcClient("dns-provisioner", found[0]["rpc"], 5.0)
        reply = await certificates.list_certificates(ListCertificatesRequest())  # type: ignore[attr-defined]
        assert reply.certificates[0].names[1:] == ("localhost", "127.0.0.1", "::1")
        directory = GrpcClient("directory", found[1]["rpc"], 5.0)
        reply = await directory.resolve(ResolveRequest(forward_paths=("a@b.example",)))  # type: ignore[attr-defined]
        assert len(reply.resolutions) == 1
        process.popen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.popen.wait, 20) == 0
        with pytest.raises(MailError) as raised:
            await directory.resolve(ResolveRequest(forward_paths=()))  # type: ignore[attr-defined]
        assert raised.value.kind is ErrorKind.UNAVAILABLE
        await certificates.close()
        await directory.close()
        assert {event["service"] for event in process.events()} == {"runtime", "dns-provisioner", "directory"}
        assert not [event for event in process.events() if event["level"] == "error"]
        assert not list(process.run_dir.glob("*.json"))


async def test_a_service_waits_for_a_database_that_is_away(
    environment: dict[str, str], database: "Database", tmp_path: Path
) -> None:
    late = tmp_path.parent / "late"
    late.unlink(missing_ok=True)
    environment["POSTBUS_RUNTIME_POSTGRES_DSN"] = f"postgresql:///postbus?host={late}"
    with run(environment, tmp_path, "dns-provisioner") as process:
        await process.logged("service.start.waits")
        late.symlink_to(database.host)
        await process.ready("dns-provisioner")
        assert not [event for event in process.events() if "exception" in event]


async def test_wrong_settings_are_told_all_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    environment |= {
        "POSTBUS_RUNTIME_RPC_SECONDS": "soon",
        "POSTBUS_DNS_PROVISIONER_CERTIFICATE_DAYS": "0",
        "POSTBUS_DNS_PROVISIONER_NAMES": "x",
    }
    with run(environment, tmp_path, "dns-provisioner") as process:
        assert await asyncio.to_thread(process.popen.wait, 20) == 78
        assert process.log.read_text().splitlines() == [
            "POSTBUS_RUNTIME_RPC_SECONDS: must be: number",
            "POSTBUS_DNS_PROVISIONER_NAMES: no such setting",
            "POSTBUS_DNS_PROVISIONER_CERTIFICATE_DAYS: must be from 1 to 825",
        ]
