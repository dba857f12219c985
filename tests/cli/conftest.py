"""What the tests of this folder share."""

import io
from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.cli.desk import CONNECTION, Desk, Say

from postbus.testing.admin_rest import TOKEN, FakeInstallation, RestClient, make_http
from postbusd.cli import objects
from postbusd.cli.api import ApiClient
from postbusd.cli.objects import Session


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient[Litestar]]:
    with make_http() as http:
        yield http


@pytest.fixture
def desk(http: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    installation = FakeInstallation()
    session = Session(api=ApiClient(RestClient(installation, http), TOKEN), connection=CONNECTION)
    monkeypatch.setattr(objects, "open_session", lambda args, seconds: session)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return Desk(installation, capsys)


@pytest.fixture
def demo(desk: Desk) -> Desk:
    """With the domain demo.example and the mailbox kim@demo.example."""
    desk.ok("domain", "add", "demo.example")
    desk.ok("mailbox", "add", "kim@demo.example", "--password", "secret")
    return desk


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Puts text on standard input, as a terminal when it ends in a question mark's answer."""

    def put(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return put


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Say:
    """A person on a terminal who types this."""

    def put(text: str) -> None:
        typed = io.StringIO(text)
        monkeypatch.setattr(typed, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", typed)

    return put
