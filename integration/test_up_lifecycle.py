"""`./postbus up`, `status`, `logs`, `down`: what a person and what a script sees; data outlive everything."""

import json
import os
import signal
import stat
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postbus.testing.installation import (
    Platform,
    free_port_base,
    postbus,
    read_connection,
    short_folder,
    start_platform,
)

SERVICES = {
    "smtp-edge",
    "filter",
    "delivery",
    "imap-gateway",
    "directory",
    "dns-provisioner",
    "indexer",
    "admin-api",
}
LISTENERS = {
    "smtp",
    "submission",
    "submissions",
    "imaps",
    "imap",
    "pop3s",
    "pop3",
    "managesieve",
    "api",
    "http",
    "https",
}


@pytest.fixture(scope="module")
def installation() -> Iterator[Platform]:
    """One that may be stopped and killed."""
    with short_folder() as folder:
        yield start_platform(folder)


def _status(platform: Platform) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        postbus("status", "--json", "--data-dir", str(platform.data_dir), check=False).stdout
    )
    return found


def _pid(platform: Platform, name: str) -> int:
    return next(int(part["pid"]) for part in _status(platform)["parts"] if part["name"] == name)


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def _ensure_up(platform: Platform) -> Platform:
    """The installation, started again if the last test left it down."""
    if postbus("status", "--data-dir", str(platform.data_dir), check=False).returncode == 1:
        base = platform.port("smtp") - 25
        return start_platform(platform.data_dir, "--port-base", str(base))
    return read_connection(platform.data_dir)


def test_connection_file_has_the_promised_shape(installation: Platform) -> None:
    path = installation.data_dir / "connection.json"
    found = json.loads(path.read_text())
    assert set(found) == {"host", "ports", "metrics", "tls", "admin", "mailboxes"}
    assert set(found["ports"]) == LISTENERS
    assert set(found["metrics"]) == SERVICES
    assert set(found["tls"]) == {"ca_file"}
    assert set(found["admin"]) == {"url", "token"}
    assert [set(mailbox) for mailbox in found["mailboxes"]] == [{"address", "password"}] * 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_service_shows_metrics(installation: Platform) -> None:
    for service, url in _ensure_up(installation).metrics.items():
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"# HELP" in answer.read(), service


def test_status_tells_health_ports_and_memory(installation: Platform) -> None:
    _ensure_up(installation)
    done = postbus("status", "--data-dir", str(installation.data_dir))
    assert all(service in done.stdout for service in SERVICES)
    state = _status(installation)
    assert state["ready"] is True
    assert {part["health"] for part in state["parts"]} == {"ready"}
    assert 50_000_000 < state["pss_octets"] < 420_000_000


def test_logs_are_kept_by_service(installation: Platform) -> None:
    _ensure_up(installation)
    done = postbus("logs", "smtp-edge", "--data-dir", str(installation.data_dir))
    assert "service.ready" in done.stdout
    assert postbus("logs", "nobody", "--data-dir", str(installation.data_dir), check=False).returncode == 1


def test_secrets_are_readable_by_their_owner_only(installation: Platform) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (installation.data_dir / "secrets").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(installation.data_dir.stat().st_mode) & 0o066 == 0


def test_a_second_instance_on_the_folder_is_refused_in_one_line(installation: Platform) -> None:
    _ensure_up(installation)
    done = postbus(
        "up", "--detach", "--data-dir", str(installation.data_dir), "--port-base", str(free_port_base()), check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "already running" in done.stderr
    assert _status(installation)["ready"] is True


def test_a_busy_port_is_refused_in_one_line(installation: Platform) -> None:
    _ensure_up(installation)
    base = installation.port("smtp") - 25
    with short_folder() as other:
        done = postbus("up", "--detach", "--data-dir", str(other), "--port-base", str(base), check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {base + 25} (smtp)" in done.stderr


def test_domains_and_mailboxes_by_the_command_line(installation: Platform) -> None:
    _ensure_up(installation)
    place = ("--data-dir", str(installation.data_dir))
    assert json.loads(postbus("domain", "add", "second.example", "--json", *place).stdout)["name"] == "second.example"
    assert "second.example" in postbus("domain", "list", *place).stdout
    postbus("mailbox", "add", "ann@second.example", "--generate", *place)
    found = json.loads(postbus("mailbox", "list", "--domain", "second.example", "--json", *place).stdout)
    assert [mailbox["address"] for mailbox in found] == ["ann@second.example"]
    refused = postbus("mailbox", "add", "ann@nowhere.example", "--generate", *place, check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1


def test_a_second_start_keeps_all_data(installation: Platform) -> None:
    platform = _ensure_up(installation)
    platform.send(b"Subject: before the restart\r\n\r\nStill here?\r\n", platform.mailboxes[0][0])
    platform.wait_message("before the restart")
    secrets = {path.name: path.read_bytes() for path in (platform.data_dir / "secrets").iterdir()}
    postbus("down", "--data-dir", str(platform.data_dir))
    assert postbus("status", "--data-dir", str(platform.data_dir), check=False).returncode == 1
    again = _ensure_up(platform)
    assert again.mailboxes == platform.mailboxes
    assert again.admin_token == platform.admin_token
    assert {path.name: path.read_bytes() for path in (platform.data_dir / "secrets").iterdir()} == secrets
    assert b"Still here?" in again.wait_message("before the restart")


@pytest.mark.parametrize("victim", ["smtp-edge", "imap-gateway", "postgres", "nats"])
def test_what_dies_is_started_again(installation: Platform, victim: str) -> None:
    platform = _ensure_up(installation)
    killed = _pid(platform, victim)
    os.kill(killed, signal.SIGKILL)
    _until(lambda: _status(platform)["ready"] and _pid(platform, victim) != killed)
    platform.send(f"Subject: after {victim}\r\n\r\nx\r\n".encode(), platform.mailboxes[0][0])
    platform.wait_message(f"after {victim}")


def test_everything_dies_with_its_supervisor_and_starts_again(installation: Platform) -> None:
    platform = _ensure_up(installation)
    platform.send(b"Subject: before the crash\r\n\r\nx\r\n", platform.mailboxes[0][0])
    state = _status(platform)
    pids = [int(part["pid"]) for part in state["parts"]]
    os.kill(int(state["pid"]), signal.SIGKILL)
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    _ensure_up(platform).wait_message("before the crash")


def test_down_twice_is_no_error(installation: Platform) -> None:
    place = ("--data-dir", str(installation.data_dir))
    postbus("down", *place)
    assert "not up" in postbus("down", *place).stdout
