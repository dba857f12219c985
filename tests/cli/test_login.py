"""Signing in and out on the command line; one's second factor and sessions."""

import argparse
import base64
import io
import json
import stat
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.cli.desk import CONNECTION

from postbus.runtime.layout import StartError
from postbus.runtime.settings import process_environment
from postbus.testing.admin_rest import TOKEN, FakeInstallation, RestClient
from postbus.testing.directory import ManualClock
from postbus.testing.identity_provider import CLIENT_ID, CLIENT_SECRET, ISSUER
from postbusd.cli import logout, objects
from postbusd.cli.api import ApiClient
from postbusd.cli.browser import sign_in_by_browser
from postbusd.cli.main import main
from postbusd.cli.objects import Session
from postbusd.cli.remote import find_remote
from postbusd.cli.signed_in import SignedIn, read_signed_in, write_signed_in
from postbusd.directory.totp import STEP_SECONDS, code_of, step_at

KIM, PASSWORD = "kim@demo.example", "a pass phrase"


class Person:
    """Types commands; `out` and `err` are what the last one printed."""

    def __init__(self, wire: RestClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.wire = wire
        self.token = TOKEN
        self.out = self.err = ""
        self._answering = False
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(objects, "open_session", lambda args, seconds: self.session())
        monkeypatch.setattr(logout, "HttpsWire", lambda url, ca_file: wire)

    def session(self) -> Session:
        return Session(api=ApiClient(self.wire, self.token), connection=CONNECTION)

    def clock(self) -> ManualClock:
        return self.wire.installation.directory.clock

    def run(self, *words: str, typed: str = "") -> int:
        stdin = io.StringIO(typed)
        self._monkeypatch.setattr(stdin, "isatty", lambda: self._answering)
        self._monkeypatch.setattr("sys.stdin", stdin)
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return code

    def answers(self, *secrets: str) -> None:
        """A terminal where these are typed unseen."""
        waiting = list(secrets)
        self._answering = True
        self._monkeypatch.setattr("getpass.getpass", lambda prompt: waiting.pop(0))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("POSTBUS_API_URL", raising=False)
    return tmp_path


@pytest.fixture
def person(
    http: TestClient[Litestar], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Person:
    wire = RestClient(FakeInstallation(), http)
    wire.ask("PUT", "/api/v1/domains/demo.example", json={"incoming": True})
    wire.ask("PUT", f"/api/v1/mailboxes/{KIM}", json={"password": PASSWORD})
    return Person(wire, capsys, monkeypatch)


def sign_in(person: Person, *words: str) -> None:
    assert person.run("login", KIM, "--password-stdin", *words, typed=f"{PASSWORD}\n") == 0, person.err
    found = read_signed_in(process_environment())
    assert found is not None
    person.token = found.token


def test_a_session_is_kept_for_its_user_and_used(person: Person, folder: Path) -> None:
    sign_in(person)
    path = folder / "postbus" / "session.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert f"signed in to {CONNECTION.admin.url} as {KIM}" in person.out
    assert person.token not in person.out
    arguments = argparse.Namespace(data_dir=None)
    found = find_remote(arguments, {"XDG_CONFIG_HOME": str(folder)})
    assert found is not None
    assert (found.url, found.token, found.ca_file) == (CONNECTION.admin.url, person.token, "ca.pem")
    assert find_remote(argparse.Namespace(data_dir=folder), {"XDG_CONFIG_HOME": str(folder)}) is None
    assert find_remote(arguments, {"HOME": str(folder / "none")}) is None
    assert person.run("me", "show") == 0
    assert KIM in person.out
    assert person.run("me", "sessions") == 0
    assert "this one" in person.out
    assert person.run("me", "logins") == 0
    assert "admin-api" in person.out
    assert person.run("logout") == 0
    assert not path.exists()
    assert person.run("me", "show") == 1
    assert "sign in again" in person.err
    assert person.run("logout") == 1
    assert "nobody is signed in" in person.err


def test_refusals_are_one_line(person: Person, folder: Path) -> None:
    assert person.run("login", KIM, "--password-stdin", typed="wrong\n") == 1
    assert person.err == "postbus login: wrong user name or password\n"
    assert person.run("login", KIM) == 1
    assert "--password-stdin" in person.err
    assert person.run("login", KIM, "--url", "http://mail.example.org", "--password-stdin") == 1
    assert "must be https" in person.err
    (folder / "postbus").mkdir()
    (folder / "postbus" / "session.json").write_text("{")
    with pytest.raises(StartError, match="is no session"):
        read_signed_in({"XDG_CONFIG_HOME": str(folder)})
    assert person.run("logout") == 1
    assert person.run("logout") == 1
    with pytest.raises(StartError, match="HOME"):
        write_signed_in({}, SignedIn(url="", ca_file="", username="", token=""))


def test_one_session_ends_another(person: Person) -> None:
    sign_in(person)
    first = person.token
    sign_in(person)
    assert person.run("me", "sessions", "--json") == 0
    other = next(each for each in json.loads(person.out) if not each["current"])
    assert person.run("me", "end-session", other["session_id"]) == 0
    assert person.run("me", "end-session", other["session_id"]) == 1
    person.token = first
    assert person.run("me", "show") == 1


def test_a_second_factor_by_commands_and_by_hand(person: Person) -> None:
    sign_in(person)
    assert person.run("me", "second-factor") == 0
    assert person.out == "off\n"
    assert person.run("me", "second-factor", "on", "--password-stdin", "--json", typed=f"{PASSWORD}\n") == 0
    secret = base64.b32decode(json.loads(person.out)["secret"])

    def code() -> str:
        return code_of(secret, step_at(person.clock().now_ms()))

    assert person.run("me", "second-factor", "on", "--code", code()) == 0
    recovery = person.out.splitlines()[1].strip()
    assert person.run("me", "second-factor") == 0
    assert "10 recovery codes left" in person.out
    assert person.run("login", KIM, "--password-stdin", typed=f"{PASSWORD}\n") == 1
    assert "code" in person.err
    sign_in(person, "--code", recovery)
    person.clock().advance(STEP_SECONDS)
    person.answers(PASSWORD, code())
    assert person.run("login", KIM) == 0
    person.answers(PASSWORD)
    assert person.run("me", "second-factor", "off") == 0
    assert person.out == "off\n"


def test_a_second_factor_at_a_terminal_and_its_end_by_an_administrator(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(person)
    monkeypatch.setattr("postbusd.directory.administration.second_factors.new_totp_secret", lambda: b"k" * 20)
    person.answers(PASSWORD, code_of(b"k" * 20, step_at(person.clock().now_ms())))
    assert person.run("me", "second-factor", "on") == 0
    assert "otpauth://totp/Postbus:" in person.out
    assert "Recovery codes" in person.out
    person.token = TOKEN
    assert person.run("user", "end-second-factor", KIM, "--dry-run") == 0
    assert person.out == f"would end: second factor of user {KIM}\n"
    assert person.run("user", "end-second-factor", KIM) == 0
    assert person.run("user", "end-second-factor", KIM) == 1


def test_a_forgotten_password(person: Person) -> None:
    person.wire.ask("PATCH", f"/api/v1/users/{KIM}", json={"recovery_address": "kim@else.example"})
    assert person.run("reset-password", KIM) == 0
    assert "a code is on its way" in person.out
    person.wire.installation.settle()
    (sent,) = person.wire.installation.notices.sent
    code = next(line.strip() for line in sent.text.splitlines() if line.startswith("    "))
    assert person.run("reset-password", "--code", "x", "--password-stdin", typed="another pass phrase\n") == 1
    assert person.run("reset-password", "--code", code, "--password-stdin", typed="another pass phrase\n") == 0
    assert person.out == f"{KIM} has a new password\n"
    assert person.run("reset-password") == 2
    assert person.run("reset-password", KIM, "--code", code) == 2


def test_a_forgotten_password_at_a_terminal(person: Person) -> None:
    person.wire.ask("PATCH", f"/api/v1/users/{KIM}", json={"recovery_address": "kim@else.example"})
    person.answers("")
    assert person.run("reset-password", KIM) == 1
    assert "no code" in person.err
    person.wire.installation.settle()
    code = person.wire.installation.notices.sent[0].text.split("--code ")[1].split()[0]
    person.answers(code, "another pass phrase", "another pass phrase")
    assert person.run("reset-password", KIM) == 0
    assert person.out.endswith(f"{KIM} has a new password\n")


def set_provider(person: Person, *words: str) -> int:
    return person.run("identity-provider", "set", *words)


def test_the_identity_provider_by_commands(person: Person) -> None:
    assert person.run("identity-provider", "show") == 1
    assert set_provider(person) == 2
    assert set_provider(person, "--issuer", ISSUER) == 2
    words = ("--issuer", ISSUER, "--client-id", CLIENT_ID, "--redirect-uri", "http://127.0.0.1/callback")
    assert person.run("identity-provider", "set", *words, "--client-secret-stdin", typed=f"{CLIENT_SECRET}\n") == 0
    assert set_provider(person, "--audience", "mail", "--audience", "other") == 0
    assert "secret     set" in person.out
    assert "audiences  mail other" in person.out
    assert CLIENT_SECRET not in person.out
    assert person.run("identity-provider", "delete", "--dry-run") == 0
    assert person.out == f"would remove: identity provider {ISSUER}\n"
    assert person.run("identity-provider", "delete") == 0
    assert person.run("identity-provider", "show", "--json") == 1


class Browser:
    """Signs in at the provider and goes where it is sent to."""

    def __init__(self, person: Person, **changes: str) -> None:
        self._person = person
        self._changes = changes
        self.pages: list[int] = []

    def open(self, url: str) -> None:
        provider = self._person.wire.installation.directory.provider
        code, state = provider.sign_in(url, preferred_username=KIM)
        redirect = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["redirect_uri"]
        back = urllib.parse.urlencode({"code": code, "state": state, **self._changes})
        self._thread = threading.Thread(target=self._go, args=(redirect, back))
        self._thread.start()

    def _go(self, redirect: str, query: str) -> None:
        for path in (redirect.replace("callback", "favicon.ico"), f"{redirect}?{query}"):
            try:
                with urllib.request.urlopen(path, timeout=10) as answer:
                    self.pages.append(answer.status)
            except urllib.error.HTTPError as error:
                self.pages.append(error.code)
                error.close()

    def end(self) -> None:
        self._thread.join()


def test_signing_in_by_a_browser(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--issuer", ISSUER, "--client-id", CLIENT_ID, "--redirect-uri", "http://127.0.0.1/callback")
    assert person.run("identity-provider", "set", *words, "--client-secret-stdin", typed=f"{CLIENT_SECRET}\n") == 0
    browser = Browser(person)
    monkeypatch.setattr("webbrowser.open", browser.open)
    assert person.run("login", "--browser") == 0
    browser.end()
    assert browser.pages == [404, 200]
    assert f"as {KIM}" in person.out
    assert "Open this in a browser" in person.err
    for changes, told in (({"state": "x"}, "another sign-in"), ({"code": "x"}, "invalid_grant")):
        browser = Browser(person, **changes)
        monkeypatch.setattr("webbrowser.open", browser.open)
        assert person.run("login", "--browser") == 1
        browser.end()
        assert told in person.err
    assert person.run("login", "--browser", KIM) == 2
    assert person.run("login") == 2


def test_nobody_comes_back_from_a_browser(person: Person) -> None:
    words = ("--issuer", ISSUER, "--client-id", CLIENT_ID, "--redirect-uri", "http://127.0.0.1/callback")
    assert person.run("identity-provider", "set", *words) == 0
    with pytest.raises(StartError, match="nobody came back"):
        sign_in_by_browser(person.session().api, lambda text: None, 0.05, opens=False)
