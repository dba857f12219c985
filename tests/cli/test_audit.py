"""`postbus audit` against the real API over fakes."""

import json
from collections.abc import Callable

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.runtime.supervisor_connection import Admin, Connection, Tls
from postbus.testing.admin_rest import POWERLESS, TOKEN, FakeInstallation, RestClient
from postbusd.cli import audit, objects
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
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(http: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code and output of `postbus audit`, after a few writes."""
    client = RestClient(FakeInstallation(), http)
    session = Session(api=ApiClient(client, TOKEN), connection=CONNECTION)
    monkeypatch.setattr(objects, "open_session", lambda args, seconds: session)
    client.ask("PUT", "/api/v1/domains/a.example", json={})
    client.ask("PUT", "/api/v1/domains/a.example", json={"incoming": True})
    client.ask("PUT", "/api/v1/mailboxes/kim@a.example", json={"password": "secret"})
    client.ask("DELETE", "/api/v1/domains/a.example?dry_run=true", token=POWERLESS)

    def run(*words: str) -> tuple[int, str]:
        return main(["audit", *words]), capsys.readouterr().out

    return run


def test_the_latest_come_first_with_what_was_refused(run: Run) -> None:
    code, out = run()
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 5
    assert "refused 403  delete_domain domains/a.example?dry_run=true  kim (two, testclient)" in lines[0]
    assert lines[1] == "    this token lacks the scope domains:write"
    assert "done 201  put_domain domains/a.example  admin (one, testclient)" in lines[-1]


def test_changes_are_told_by_field_and_secrets_without_their_value(run: Run) -> None:
    out = run("--changes")[1]
    assert "    incoming: false → true\n" in out
    assert '    name: – → "a.example"\n' in out
    assert "    password: changed\n" in out
    assert "secret" not in out


def test_what_is_asked_for_is_told_also_over_several_pages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE", 1)
    told = json.loads(run("--object", "domains/a.example", "--result", "done", "--since", "2020-01-01", "--json")[1])
    assert [each["status"] for each in told] == [200, 201]
    assert len(json.loads(run("--limit", "2", "--json")[1])) == 2
    assert run("--actor", "nobody") == (0, "nothing was changed\n")
    assert run("--until", "2020-01-01", "--operation", "put_domain")[1] == "nothing was changed\n"
    assert run("--limit", "0")[0] == 2
