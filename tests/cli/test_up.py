"""`postbus up`: addresses, refusals in one line, what it shows."""

import io
import shutil
import socket
import types
from pathlib import Path

import pytest

from postbus.runtime.embedded import make_secrets
from postbus.runtime.layout import StartError, layout_of, make_folders
from postbus.runtime.roster import DRAIN_STAGES
from postbus.runtime.supervisor_connection import (
    describe_connection,
    make_demo_mailboxes,
    read_connection,
    write_connection,
)
from postbus.runtime.supervisor_platform import GROUPS
from postbus.runtime.supervisor_ports import LISTENERS, allot_addresses, allot_loopback_ports, check_free, join
from postbus.runtime.supervisor_state import Lock, Part, State, lock_holder
from postbusd.cli.main import main
from postbusd.cli.up_report import LiveReport, format_welcome


def test_ports_follow_the_base() -> None:
    ports = allot_addresses("127.0.0.1", 2000, plain_imap=True).ports
    assert ports == {
        "smtp": 2025,
        "submission": 2587,
        "submissions": 2465,
        "imaps": 2993,
        "imap": 2143,
        "pop3s": 2995,
        "pop3": 2110,
        "managesieve": None,
        "api": 2080,
        "http": None,
        "https": None,
    }


def test_standard_ports() -> None:
    ports = allot_addresses("0.0.0.0", None, plain_imap=False).ports
    assert (ports["smtp"], ports["submission"], ports["imaps"], ports["api"]) == (25, 587, 993, 8443)
    assert (ports["imap"], ports["pop3"], ports["pop3s"]) == (None, None, 995)


def test_a_listener_that_is_off_is_told_to_its_service_as_empty() -> None:
    settings = allot_addresses("::1", 2000, plain_imap=False).settings()
    assert settings["POSTBUS_IMAP_GATEWAY_IMAP_LISTEN"] == ""
    assert settings["POSTBUS_SMTP_EDGE_SMTP_LISTEN"] == "[::1]:2025"
    assert set(settings) == {listener.setting for listener in LISTENERS if listener.setting}


@pytest.mark.parametrize("base", [-1, 65000])
def test_a_base_beyond_the_ports_is_refused(base: int) -> None:
    with pytest.raises(StartError, match="--port-base"):
        allot_addresses("127.0.0.1", base, plain_imap=False)


def test_a_busy_port_is_named() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        addresses = allot_addresses("127.0.0.1", port - 25, plain_imap=False) if port <= 64000 else None
        if addresses is None:
            return
        with pytest.raises(StartError, match=rf"port {port} \(smtp\) on 127\.0\.0\.1 is in use"):
            check_free(addresses)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartError, match="no such address"):
        check_free(allot_addresses("192.0.2.1", 2000, plain_imap=False))


def test_loopback_ports_differ() -> None:
    assert len(set(allot_loopback_ports(20))) == 20


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert join("::1", 25) == "[::1]:25"
    assert join("127.0.0.1", 25) == "127.0.0.1:25"


def test_every_service_is_in_one_group_and_one_stage() -> None:
    grouped = [service for group in GROUPS for service in group]
    assert sorted(grouped) == sorted(service for stage in DRAIN_STAGES for service in stage)
    assert len(grouped) == len(set(grouped)) == 8


def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    layout = layout_of(tmp_path / "d", {})
    make_folders(layout)
    assert lock_holder(layout.lock_file) is None
    first = Lock(layout)
    first.take()
    assert lock_holder(layout.lock_file)
    with pytest.raises(StartError, match="already running"):
        Lock(layout).take()
    first.release()
    assert lock_holder(layout.lock_file) is None


def test_standard_ports_and_a_base_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--standard-ports", "--port-base", "1", "--data-dir", str(tmp_path / "d")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("command", [["status"], ["domain", "list"], ["mailbox", "list"], ["logs"]])
def test_commands_say_that_nothing_runs(tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--data-dir", str(tmp_path / "d")]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert str(tmp_path / "d") in text


def test_connection_file_has_what_scripts_need(tmp_path: Path) -> None:
    layout = layout_of(tmp_path / "d", {})
    make_folders(layout)
    make_secrets(layout.secrets)
    connection = describe_connection(
        layout, allot_addresses("127.0.0.1", 2000, plain_imap=False), {"filter": "http://127.0.0.1:1/filter/metrics"}
    )
    write_connection(layout, connection)
    assert layout.connection_file.stat().st_mode & 0o777 == 0o600
    assert read_connection(layout) == connection
    assert connection.admin.url == "https://127.0.0.1:2080"
    assert [mailbox.address for mailbox in connection.mailboxes] == ["alice@demo.example", "bob@demo.example"]
    assert make_demo_mailboxes(layout) == connection.mailboxes


def test_a_damaged_connection_file_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "connection.json").write_text("{")
    assert main(["domain", "list", "--data-dir", str(tmp_path)]) == 1
    assert "damaged" in capsys.readouterr().err


def test_the_welcome_text_holds_commands_for_both_directions(tmp_path: Path) -> None:
    layout = layout_of(tmp_path / "d", {})
    make_folders(layout)
    make_secrets(layout.secrets)
    connection = describe_connection(layout, allot_addresses("127.0.0.1", 2000, plain_imap=False), {})
    part = Part(name="filter", process="services-1", pid=None, health="ready", ready_seconds=1.5)
    state = State(
        pid=0, started_ms=0, data_dir=str(layout.root), host="127.0.0.1", ready=True, ready_seconds=3.0, parts=(part,)
    )
    text = format_welcome(layout, connection, state)
    assert "swaks --server 127.0.0.1:2025" in text
    assert "imaps://127.0.0.1:2993/INBOX" in text
    assert all(mailbox.password in text for mailbox in connection.mailboxes)


def test_a_full_disk_is_told_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1_000_000))
    assert main(["up", "--data-dir", str(tmp_path / "d")]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "is full" in text
    assert not (tmp_path / "d" / "postgres").exists()


def test_a_terminal_that_has_gone_stops_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("gone")

    LiveReport(Gone()).tell("Finishing what is under way …")
