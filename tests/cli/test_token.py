"""`postbus token` against the real API over fakes; `postbus admin reset-token` on a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.core.api_token import PATTERN
from postbus.runtime.layout import layout_of, make_folders, write_private
from postbus.runtime.supervisor_connection import Admin, Connection, Tls, read_connection, write_connection
from postbus.testing.admin_rest import TOKEN, FakeInstallation, RestClient
from postbusd.cli import objects
from postbusd.cli.api import ApiClient
from postbusd.cli.main import main
from postbusd.cli.objects import Session

CONNECTION = Connection(
    host="127.0.0.1",
    ports={},
    metrics={},
    tls=Tls(ca_file="ca.pem"),
    admin=Admin(url="https://127.0.0.1:2080", token=TOKEN),
    mailboxes=(),
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(http: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, output, error."""
    session = Session(api=ApiClient(RestClient(FakeInstallation(), http), TOKEN), connection=CONNECTION)
    monkeypatch.setattr(objects, "open_session", lambda args, seconds: session)

    def run(*words: str) -> tuple[int, str, str]:
        return (main(words), *capsys.readouterr())

    return run


def as_json(run: Run, *words: str) -> Any:
    code, out, err = run(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_token_is_made_shown_rotated_and_deleted(run: Run) -> None:
    code, out, _ = run("token", "add", "backup", "--scope", "read", "--scope", "queue:write", "--expires", "90d")
    assert code == 0
    assert PATTERN.search(out)
    assert "not shown again" in out
    shown = as_json(run, "token", "show", "backup")
    assert shown["scopes"] == ["read", "queue:write"]
    assert 89 * 86_400_000 < shown["expires_ms"] - shown["created_ms"] <= 90 * 86_400_000
    assert "never" in run("token", "show", "backup")[1]
    assert as_json(run, "token", "rotate", "backup")["token"] not in out
    listed = run("token", "list")[1]
    assert "backup" in listed
    assert "read queue:write" in listed
    assert not PATTERN.search(listed)
    assert run("token", "delete", "backup", "--dry-run")[1] == "would delete: token backup of admin\n"
    assert run("token", "delete", "backup")[:2] == (0, "deleted: token backup of admin\n")
    code, _, err = run("token", "show", "backup")
    assert (code, "there is no such token" in err) == (1, True)


def test_an_end_that_is_no_time_is_a_usage_error(run: Run) -> None:
    assert run("token", "add", "x", "--scope", "read", "--expires", "soon")[0] == 2


def test_the_host_makes_a_new_administrator_s_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = layout_of(tmp_path / "data", {})
    make_folders(layout)
    path = layout.secrets / "admin-token"
    write_private(path, b"postbus_old\n")
    write_connection(layout, CONNECTION)
    assert main(["admin", "reset-token", "--data-dir", str(layout.root)]) == 0
    text = path.read_text().strip()
    assert PATTERN.fullmatch(text)
    assert text not in capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_connection(layout).admin == Admin(url=CONNECTION.admin.url, token=text)
    assert main(["admin", "reset-token", "--data-dir", str(layout.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "token": path.read_text().strip()}


def test_the_host_of_a_compose_installation_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["admin", "reset-token", "--dir", str(tmp_path)]) == 1
    (tmp_path / "compose.yaml").touch()
    (tmp_path / "secrets").mkdir()
    assert main(["admin", "reset-token", "--dir", str(tmp_path)]) == 1
    path = tmp_path / "secrets/admin-token"
    write_private(path, b"postbus_old\n", 0o444)
    assert main(["admin", "reset-token", "--dir", str(tmp_path)]) == 0
    assert PATTERN.fullmatch(path.read_text().strip())
    assert path.stat().st_mode & 0o777 == 0o444
    assert "restart admin-api" in capsys.readouterr().out


def test_a_folder_without_an_installation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["admin", "reset-token", "--data-dir", str(tmp_path)]) == 1
    assert "no installation" in capsys.readouterr().err
    assert main(["admin"]) == 2
