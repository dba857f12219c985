"""The command line by variables: which installation it speaks to, whom it trusts, what it shows."""

import argparse
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from postbus.runtime.layout import StartError
from postbusd.cli import objects, remote
from postbusd.cli.app import login_facts
from postbusd.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = argparse.Namespace(data_dir=None)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("postbus_abc\n")
    return path


def variables(token_file: Path, **more: str) -> dict[str, str]:
    return {"POSTBUS_API_URL": "https://mx.example.org:8443", "POSTBUS_API_TOKEN_FILE": str(token_file), **more}


def test_without_the_variable_the_data_folder_counts(token_file: Path) -> None:
    assert remote.find_remote(ARGUMENTS, {"POSTBUS_API_TOKEN_FILE": str(token_file)}) is None


def test_a_data_folder_on_the_command_line_wins(token_file: Path) -> None:
    given = argparse.Namespace(data_dir=Path("/var/lib/postbus"))
    assert remote.find_remote(given, variables(token_file)) is None


def test_the_variables_name_an_installation(token_file: Path) -> None:
    found = remote.find_remote(ARGUMENTS, variables(token_file, POSTBUS_API_CA_FILE="ca.pem"))
    assert found is not None
    assert (found.url, found.token, found.ca_file) == ("https://mx.example.org:8443", "postbus_abc", "ca.pem")
    facts = dict(login_facts({"address": "shop@example.org"}, remote.describe(found)))
    assert facts["SMTP host"] == "mx.example.org"
    assert facts["port"] == "465 (TLS) or 587 (STARTTLS)"


@pytest.mark.parametrize("url", ["http://mx.example.org", "mx.example.org:8443", "https://"])
def test_only_https_carries_a_token(url: str, token_file: Path) -> None:
    with pytest.raises(StartError, match="must be https"):
        remote.find_remote(ARGUMENTS, variables(token_file, POSTBUS_API_URL=url))


@pytest.mark.parametrize("content", [None, "\u00e4"])
def test_a_token_that_cannot_be_read_is_told(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "token"
    if content:
        path.write_text(content)
    with pytest.raises(StartError, match=str(path)):
        remote.find_remote(ARGUMENTS, variables(path))


@pytest.mark.parametrize(
    ("url", "more", "trusts"),
    [
        ("https://localhost:2080", {"POSTBUS_API_TRUST_LOOPBACK": "true"}, True),
        ("https://localhost:2080", {}, False),
        ("https://mx.example.org:2080", {"POSTBUS_API_TRUST_LOOPBACK": "true"}, False),
        ("https://localhost:2080", {"POSTBUS_API_TRUST_LOOPBACK": "true", "POSTBUS_API_CA_FILE": "ca.pem"}, False),
    ],
)
def test_only_the_loopback_address_may_say_itself_whom_to_trust(
    url: str, more: dict[str, str], *, trusts: bool, token_file: Path
) -> None:
    found = remote.find_remote(ARGUMENTS, variables(token_file, **{"POSTBUS_API_URL": url, **more}))
    assert found is not None
    assert found.trusts_itself is trusts


def test_nothing_is_fetched_for_others(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> bytes:
        raise AssertionError(url)

    monkeypatch.setattr(remote, "fetch_ca", refuse)
    found = remote.find_remote(ARGUMENTS, variables(token_file))
    assert found is not None
    wire = remote.open_wire(found, 1.0)
    assert wire._context.verify_mode is ssl.CERT_REQUIRED
    assert wire._context.check_hostname


def test_a_ca_that_is_fetched_is_verified_against(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str | None] = {}

    def make(*, cafile: str | None = None, cadata: str | None = None) -> ssl.SSLContext:
        given.update(cafile=cafile, cadata=cadata)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(remote, "fetch_ca", lambda url: b"-----BEGIN CERTIFICATE-----")
    monkeypatch.setattr(ssl, "create_default_context", make)
    names = variables(token_file, POSTBUS_API_URL="https://localhost:2080", POSTBUS_API_TRUST_LOOPBACK="true")
    found = remote.find_remote(ARGUMENTS, names)
    assert found is not None
    remote.open_wire(found, 1.0)
    assert given == {"cafile": None, "cadata": "-----BEGIN CERTIFICATE-----"}


class FakeWire:
    def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        assert headers["Authorization"] == "Bearer postbus_abc"
        answers = {
            "/api/v1/ca.pem": b"-----BEGIN CERTIFICATE-----\n",
            "/api/v1/status": b'{"ok":false,"version":"1","mail_host":"mx.example.org","parts":['
            b'{"name":"filter","ok":false,"reason":"away","milliseconds":3,"note":""}]}',
        }
        return (200, answers[path]) if path in answers else (503, b"{}")


@pytest.fixture
def _answered(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "open_wire", lambda found, seconds: FakeWire())
    for name, value in variables(token_file).items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_answered")
def test_the_ca_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ca"]) == 0
    assert capsys.readouterr().out == "-----BEGIN CERTIFICATE-----\n"


@pytest.mark.usefixtures("_answered")
def test_status_is_what_the_api_sees(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 3
    told = capsys.readouterr().out
    assert "filter   failing    3 ms  away" in told
    assert "ledger: not known" in told


class Page:
    """Answers one request like the observability listener."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.request = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self.request = connection.recv(4096)
            connection.sendall(self._answer)

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    page = Page(request.param)
    yield page
    page.close()


@pytest.mark.parametrize("page", [b'HTTP/1.1 200 OK\r\n\r\n{"ready":true}\n'], indirect=True)
def test_a_service_that_is_ready_is_healthy(page: Page) -> None:
    assert main(["probe", page.address]) == 0
    assert page.request.startswith(b"GET /readyz HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"ready":false,"checks":{"bus":"away"}}\n', '"bus":"away"'),
        (b"", "the answer is none"),
    ],
    indirect=["page"],
)
def test_a_service_that_is_not_ready_says_why(page: Page, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", page.address]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("address", ["", "9100", ":9100", "127.0.0.1:0", "127.0.0.1:70000"])
def test_a_probe_needs_an_address(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", address]) == 1
    assert "HOST:PORT" in capsys.readouterr().err


def test_a_service_that_does_not_listen_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["probe", f"127.0.0.1:{port}"]) == 1
    assert "refused" in capsys.readouterr().err


def test_a_probe_is_cheap() -> None:
    script = "import sys; from postbusd.cli import probe, main; print('msgspec' in sys.modules, probe.DEFAULT)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": "libs:services"},
    )
    assert done.stdout.split() == ["False", "127.0.0.1:9100"]
