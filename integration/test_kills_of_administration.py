"""What the API has acknowledged holds when directory and admin-api are killed right after; what it has not is whole."""

import base64
import json
import os
import signal
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform
from postbus.testing.probes import HEAL_SECONDS, process_ids, wait_new_processes, wait_ready
from postbusd.directory.totp import code_of, step_at

KILLED = ("directory", "admin-api")
PASSWORD, NEW = "a long pass phrase", "another long pass phrase"
ROWS = 400


class Site:
    """The API of an installation whose processes die."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._tls = ssl.create_default_context(cafile=platform.ca_file)

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and answer; 0: none came."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"{self.platform.admin_url}/api/v1/{path}",
            data,
            {
                "Authorization": f"Bearer {token or self.platform.admin_token}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=CLIENT_SECONDS, context=self._tls) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def kill_after(self, act: Callable[[], tuple[int, Any]]) -> Any:
        """The acknowledged answer; nobody has been asked anything since."""
        before = process_ids(self.platform)
        status, answer = act()
        for service in KILLED:
            os.kill(before[service], signal.SIGKILL)
        assert status in (200, 201), answer
        wait_new_processes(self.platform, *(before[service] for service in KILLED))
        return answer


@pytest.fixture
def site(separate: Platform) -> Site:
    wait_ready(separate)
    return Site(separate)


@pytest.fixture
def address(site: Site) -> str:
    address = f"k-{os.urandom(4).hex()}@demo.example"
    assert site.ask("PUT", f"mailboxes/{address}", {"password": PASSWORD})[0] == 201
    return address


def table(label: str) -> bytes:
    """A CSV of mailboxes with an alias each."""
    lines = [f"{label}{number},demo.example,{label},user,{label}{number}.x,true" for number in range(ROWS)]
    return "\n".join(lines).encode()


def put_table(site: Site, label: str) -> tuple[int, Any]:
    return site.ask("POST", "mailboxes/import?atomic=true", table(label), headers={"Content-Type": "text/csv"})


def count(site: Site, label: str) -> int:
    found = site.ask("GET", f"mailboxes?text={label}&limit=1000")[1]["mailboxes"]
    aliases = site.ask("GET", f"aliases?text={label}&limit=1000")[1]["aliases"]
    assert len(found) == len(aliases)
    return len(found)


def test_an_import_that_was_acknowledged_is_there(site: Site) -> None:
    label = f"i{os.urandom(4).hex()}"
    site.ask("PUT", f"users/{label}", {})
    site.kill_after(lambda: put_table(site, label))
    assert count(site, label) == ROWS


def test_an_import_that_was_killed_is_whole_or_nothing_and_may_be_repeated(site: Site) -> None:
    for delay in (0.1, 0.4):
        label = f"j{os.urandom(4).hex()}"
        site.ask("PUT", f"users/{label}", {})
        before = process_ids(site.platform)["directory"]
        answers: list[tuple[int, Any]] = []

        def act(label: str = label, answers: list[tuple[int, Any]] = answers) -> None:
            answers.append(put_table(site, label))

        thread = threading.Thread(target=act)
        thread.start()
        time.sleep(delay)
        os.kill(before, signal.SIGKILL)
        thread.join()
        wait_new_processes(site.platform, before)
        there = count(site, label)
        assert there in (0, ROWS)
        assert there == ROWS or answers[0][0] != 200
        status, report = put_table(site, label)
        assert status == 200, report
        assert count(site, label) == ROWS


def test_a_purge_that_was_acknowledged_goes_on(site: Site, address: str) -> None:
    for number in range(5):
        site.platform.send(f"From: a@example.org\r\nSubject: {number}\r\n\r\nx\r\n".encode(), address)
    end = time.monotonic() + HEAL_SECONDS
    while site.ask("GET", f"mailboxes/{address}/usage")[1]["messages"] < 5:
        assert time.monotonic() < end, "no mail came"
        time.sleep(0.1)
    site.kill_after(lambda: site.ask("DELETE", f"mailboxes/{address}?content=purge"))
    assert site.ask("GET", f"mailboxes/{address}")[0] == 404
    while site.ask("GET", f"archived-mailboxes?address={address}")[1]["archived_mailboxes"]:
        assert time.monotonic() < end + HEAL_SECONDS, "the purge does not go on"
        time.sleep(0.2)


def test_secrets_that_were_acknowledged_are_those_that_hold(site: Site, address: str) -> None:
    def sign_in(password: str, code: str = "") -> tuple[int, Any]:
        return site.ask("POST", "session", {"username": address, "password": password, "code": code})

    token = sign_in(PASSWORD)[1]["token"]
    change = {"current_password": PASSWORD, "new_password": NEW}
    site.kill_after(lambda: site.ask("PUT", "me/password", change, token=token))
    assert (sign_in(PASSWORD)[0], site.ask("GET", "me", token=token)[0]) == (401, 401)
    token = sign_in(NEW)[1]["token"]
    begun = site.ask("POST", "me/second-factor", {"current_password": NEW}, token=token)[1]
    code = code_of(base64.b32decode(begun["secret"]), step_at(time.time_ns() // 1_000_000))
    told = site.kill_after(lambda: site.ask("PUT", "me/second-factor", {"code": code}, token=token))
    assert sign_in(NEW)[1]["field"] == "code"
    recovery = told["recovery_codes"][0]
    token = site.kill_after(lambda: sign_in(NEW, recovery))["token"]
    assert site.ask("GET", "me", token=token)[1]["actor"] == address
    assert sign_in(NEW, recovery)[0] == 401


def test_an_answer_that_was_lost_comes_again(site: Site) -> None:
    name = f"t-{os.urandom(4).hex()}"
    headers = {"Idempotency-Key": name}

    def add() -> tuple[int, Any]:
        return site.ask("POST", "tokens", {"name": name, "scopes": ["read"]}, headers=headers)

    made = site.kill_after(add)
    assert add() == (201, made)
    assert site.ask("GET", "me", token=made["token"])[1]["token_name"] == name
