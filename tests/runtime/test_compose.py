"""What `postbus init` makes: secrets once, readable in containers and nowhere else, nats.conf by the permissions."""

import json
import socket
from pathlib import Path

import pytest

from postbus.runtime import compose
from postbus.runtime.layout import StartError
from postbus.runtime.roster import SERVICES


@pytest.fixture
def folder(tmp_path: Path) -> compose.ComposeFolder:
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    return compose.find_folder(tmp_path)


def contents(folder: compose.ComposeFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.secrets.iterdir()}


def test_a_folder_without_compose_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no compose\.yaml"):
        compose.find_folder(tmp_path)


def test_all_is_made_once(folder: compose.ComposeFolder) -> None:
    steps = compose.prepare(folder, b"A=1\n")
    assert {step.what for step in steps} == {"made"}
    assert {step.file.name for step in steps} == {*contents(folder), "postbus.env"}
    before = contents(folder)
    assert compose.prepare(folder, b"A=2\n") == []
    assert contents(folder) == before
    assert folder.settings.read_bytes() == b"A=1\n"


def test_the_folder_is_closed_and_its_files_are_readable_by_any_user_of_a_container(
    folder: compose.ComposeFolder,
) -> None:
    folder.secrets.mkdir(mode=0o755)
    compose.prepare(folder, b"")
    assert folder.secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.secrets.iterdir()} == {0o444}


def test_modes_of_a_restored_copy_are_put_right(folder: compose.ComposeFolder) -> None:
    compose.prepare(folder, b"")
    folder.secrets.chmod(0o755)
    (folder.secrets / "master.key").chmod(0o600)
    assert compose.prepare(folder, b"") == []
    assert folder.secrets.stat().st_mode & 0o777 == 0o700
    assert (folder.secrets / "master.key").stat().st_mode & 0o777 == 0o444


def test_a_dry_run_touches_nothing_and_tells_the_same(folder: compose.ComposeFolder) -> None:
    told = compose.prepare(folder, b"", dry_run=True)
    assert [path.name for path in folder.root.iterdir()] == ["compose.yaml"]
    assert [str(step.file) for step in compose.prepare(folder, b"")] == [str(step.file) for step in told]
    assert compose.prepare(folder, b"", dry_run=True) == []


def test_nats_configuration_follows_the_secrets_and_is_durable(folder: compose.ComposeFolder) -> None:
    compose.prepare(folder, b"")
    path = folder.secrets / "nats.conf"
    configuration = json.loads(path.read_bytes())
    assert configuration["jetstream"]["sync_interval"] == "always"
    assert configuration["http"].startswith("127.0.0.1:")
    users = {user["user"]: user for user in configuration["authorization"]["users"]}
    assert set(users) == {"admin", *SERVICES}
    assert users["filter"]["password"] == (folder.secrets / "nats-filter").read_text().strip()
    assert all("permissions" in users[service] for service in SERVICES)
    path.chmod(0o600)
    path.write_bytes(b"{}")
    assert [(step.file.name, step.what) for step in compose.prepare(folder, b"")] == [("nats.conf", "changed")]
    assert json.loads(path.read_bytes()) == configuration


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Mail.Example.org", "mail.example.org"),
        ("box", None),
        ("localhost.localdomain", None),
        ("1.0.0.127.in-addr.arpa", None),
        ("192.0.2.1", None),
    ],
)
def test_only_a_full_name_is_taken_for_the_mail_host(
    name: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: name)
    assert compose.guess_mail_host() == found


def test_the_mail_host_replaces_its_commented_line() -> None:
    template = "# Host name.\n#POSTBUS_RUNTIME_MAIL_HOST=mail.demo.example\n#POSTBUS_RUNTIME_RESOLVER=\n"
    assert compose.set_mail_host(template, "mx.example.org").splitlines() == [
        "# Host name.",
        "POSTBUS_RUNTIME_MAIL_HOST=mx.example.org",
        "#POSTBUS_RUNTIME_RESOLVER=",
    ]
