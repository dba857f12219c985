"""Promise 4: a broken dependency is a delay, never a refusal.

Every part of an installation in which each service is a process of its own is stopped in turn (SIGSTOP: it hangs, the
worst way to be away) and goes on later; then its disk fills. Clients must get a temporary answer within the deadline,
sessions must live on, everything must heal by itself, and what was accepted must be there exactly once.
"""

import contextlib
import imaplib
import json
import os
import signal
import smtplib
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postbus.testing.books import assert_books_agree
from postbus.testing.installation import DISK_OCTETS, DISK_RESERVE_OCTETS, Platform, resize_disk
from postbus.testing.probes import (
    CLIENT_SECONDS,
    assert_exactly_once,
    logged_in,
    status,
    submit,
    wait_ready,
)
from postbus.testing.traffic import Road, Traffic, assert_stored_once

MEBIBYTE = 1 << 20
FULL_SECONDS = 3.0
PATIENCE_SECONDS = 6.0
"""What a client may wait: two deadlines behind each other, on a busy machine."""
SEEN_SECONDS = 15.0
HELD_SECONDS = 1.0


def processes_of(platform: Platform, part: str) -> list[int]:
    """The part's process and its children: Postgres has one for each connection."""
    first = next(int(each["pid"]) for each in status(platform)["parts"] if each["name"] == part)
    found = [first]
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and f"\nPPid:\t{first}\n" in (entry / "status").read_text():
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def away(platform: Platform, part: str) -> Iterator[None]:
    """While the block runs the part hangs: it takes connections and answers nothing."""
    stopped = processes_of(platform, part)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Dialogue:
    """One SMTP transaction as far as it goes; `answer` is the last reply, `verb` what it answers."""

    def __init__(self, platform: Platform, message_id: str, size_octets: int = 0) -> None:
        # A detail that nobody has used: no cache knows the address.
        local_part, _, domain = platform.mailboxes[0][0].partition("@")
        self._steps = {
            "MAIL": "MAIL FROM:<ann@example.net>",
            "RCPT": f"RCPT TO:<{local_part}+{uuid.uuid4().hex}@{domain}>",
            "DATA": "DATA",
        }
        lines = f"Message-ID: <{message_id}>\r\nSubject: {message_id}\r\n\r\nHello.\r\n".encode()
        self._content = lines + (b"x" * 76 + b"\r\n") * (size_octets // 78)
        self.verb, self.answer, self.seconds = "", "", 0.0
        started = time.monotonic()
        with smtplib.SMTP(
            platform.host, platform.port("smtp"), "client.example.net", timeout=CLIENT_SECONDS
        ) as session:
            session.ehlo()
            self._run(session)
        self.seconds = time.monotonic() - started

    def _run(self, session: smtplib.SMTP) -> None:
        for verb, line in self._steps.items():
            self.verb = verb
            code, text = session.docmd(line)
            self.answer = f"{code} {text.decode()}"
            if code >= 400:
                return
        self.verb = "end of DATA"
        session.send(self._content + b".\r\n")
        code, text = session.getreply()
        self.answer = f"{code} {text.decode()}"


def say(session: imaplib.IMAP4, *command: str) -> tuple[str, str]:
    """Status and text of the tagged reply, without imaplib's exceptions; within the client's patience."""
    started = time.monotonic()
    kind, data = session._simple_command(*command)
    assert time.monotonic() - started < PATIENCE_SECONDS, command
    return str(kind), bytes(data[0]).decode()


def log_in(platform: Platform, password: str | None = None) -> tuple[str, str]:
    """A new session's answer to LOGIN."""
    session = imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=30)
    try:
        address, right = platform.mailboxes[0]
        return say(session, "LOGIN", address, right if password is None else password)
    finally:
        session.shutdown()


def ask_api(platform: Platform, path: str) -> tuple[int, str, dict[str, Any]]:
    """Status, content type and body."""
    request = urllib.request.Request(
        f"{platform.admin_url}/api/v1/{path}", headers={"Authorization": f"Bearer {platform.admin_token}"}
    )
    context = ssl.create_default_context(cafile=platform.ca_file)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], json.load(error)


def failing_checks(platform: Platform, service: str) -> set[str]:
    """What /readyz of a service complains about."""
    try:
        with urllib.request.urlopen(platform.metrics[service].replace("/metrics", "/readyz"), timeout=30) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    return {name for name, text in found["checks"].items() if text != "ok"}


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SEEN_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def unready_parts(platform: Platform) -> set[str]:
    return {part["name"] for part in status(platform)["parts"] if part["health"] != "ready"}


@contextlib.contextmanager
def surviving_session(platform: Platform) -> Iterator[imaplib.IMAP4_SSL]:
    """A session with an open folder; it must do everything again after the block."""
    wait_ready(platform)
    with logged_in(platform) as session:
        assert session.select("INBOX")[0] == "OK"
        yield session
        wait_ready(platform)
        for command in (("NOOP",), ("FETCH", "1:*", "(FLAGS)"), ("SEARCH", "TEXT", "hello"), ("SELECT", "INBOX")):
            assert say(session, *command)[0] == "OK", command


UNAVAILABLE = ("NO", "[UNAVAILABLE] Not available now, try again later")


@pytest.fixture(scope="module", autouse=True)
def some_mail(separate: Platform) -> Iterator[None]:
    """So that there is something to fetch; the ledger must agree in the end, whatever was away."""
    message_id = f"{uuid.uuid4()}@before"
    submit(separate, message_id, separate.mailboxes[0][0])
    assert_exactly_once(separate, {message_id})
    yield
    assert_books_agree(separate)


def test_directory_away(separate: Platform) -> None:
    message_id = f"{uuid.uuid4()}@directory"
    with surviving_session(separate) as session:
        with away(separate, "directory"):
            dialogue = Dialogue(separate, message_id)
            assert (dialogue.verb, dialogue.answer[:9]) == ("RCPT", "451 4.3.0")
            assert dialogue.seconds < PATIENCE_SECONDS
            assert log_in(separate) == UNAVAILABLE
            assert log_in(separate, "wrong-password") == UNAVAILABLE
            assert say(session, "FETCH", "1:*", "(FLAGS)")[0] == "OK"
            code, kind, body = ask_api(separate, "domains")
            assert (code, kind, body["status"]) == (503, "application/problem+json", 503)
            until(lambda: unready_parts(separate) == {"directory"}, "status does not tell it")
        wait_ready(separate)
        assert Dialogue(separate, message_id).answer.startswith("250")
        assert log_in(separate)[0] == "OK"
    assert_exactly_once(separate, {message_id})


def test_filter_away(separate: Platform) -> None:
    message_id = f"{uuid.uuid4()}@filter"
    with surviving_session(separate) as session:
        with away(separate, "filter"):
            dialogue = Dialogue(separate, message_id)
            assert (dialogue.verb, dialogue.answer[:9]) == ("end of DATA", "451 4.3.0")
            assert dialogue.seconds < PATIENCE_SECONDS
            assert say(session, "SELECT", "INBOX")[0] == "OK"
        wait_ready(separate)
        assert Dialogue(separate, message_id).answer.startswith("250")
    assert_exactly_once(separate, {message_id})


def test_what_nobody_waits_for_may_be_away(separate: Platform) -> None:
    message_id = f"{uuid.uuid4()}@delivery"
    with surviving_session(separate) as session:
        with away(separate, "delivery"), away(separate, "dns-provisioner"):
            assert Dialogue(separate, message_id).answer.startswith("250")
            assert log_in(separate)[0] == "OK"
            assert say(session, "SEARCH", "TEXT", "hello")[0] == "OK"
        wait_ready(separate)
    assert_exactly_once(separate, {message_id})


def test_indexer_away(separate: Platform) -> None:
    message_id = f"{uuid.uuid4()}@indexer"
    with surviving_session(separate) as session:
        with away(separate, "indexer"):
            assert Dialogue(separate, message_id).answer.startswith("250")
            assert_exactly_once(separate, {message_id})
            kind, text = say(session, "SEARCH", "TEXT", "hello")
            assert (kind, text[:13]) == ("NO", "[UNAVAILABLE]")
            assert say(session, "SEARCH", "UNSEEN")[0] == "OK"
        wait_ready(separate)


def test_bus_away(separate: Platform) -> None:
    """end of DATA waits for the bus, for a minute at most; here it comes back before."""
    message_id = f"{uuid.uuid4()}@bus"
    answers: list[str] = []
    with surviving_session(separate) as session:
        with away(separate, "nats"):
            sender = threading.Thread(target=lambda: answers.append(Dialogue(separate, message_id).answer))
            sender.start()
            assert log_in(separate)[0] == "OK"
            for command in (("NOOP",), ("FETCH", "1:*", "(BODY.PEEK[])"), ("STORE", "1", "+FLAGS", r"(\Flagged)")):
                assert say(session, *command)[0] == "OK"
            sender.join(HELD_SECONDS)
            assert sender.is_alive(), "answered without the bus"
            until(lambda: "nats" in unready_parts(separate), "status does not tell it")
        sender.join()
        assert answers[0].startswith("250")
    assert_exactly_once(separate, {message_id})


def test_database_away(separate: Platform) -> None:
    message_id = f"{uuid.uuid4()}@database"
    with surviving_session(separate) as session:
        with away(separate, "postgres"):
            dialogue = Dialogue(separate, message_id)
            assert (dialogue.verb, dialogue.answer[:9]) == ("RCPT", "451 4.3.0")
            assert dialogue.seconds < PATIENCE_SECONDS
            assert log_in(separate, f"wrong-{uuid.uuid4()}") == UNAVAILABLE
            assert say(session, "SELECT", "INBOX") == UNAVAILABLE
            assert ask_api(separate, "domains")[0] == 503
            until(lambda: "database" in failing_checks(separate, "directory"), "readyz does not tell it")
            until(lambda: {"postgres", "directory"} <= unready_parts(separate), "status does not tell it")
        wait_ready(separate)
        assert Dialogue(separate, message_id).answer.startswith("250")
        assert say(session, "SELECT", "INBOX")[0] == "OK"
    assert_exactly_once(separate, {message_id})


# The disk


@pytest.fixture
def small_disk(separate: Platform) -> Iterator[Platform]:
    if not os.path.ismount(separate.data_dir):
        pytest.skip("only root can mount a small disk")
    wait_ready(separate)
    try:
        yield separate
    finally:
        resize_disk(separate.data_dir, DISK_OCTETS)
        wait_ready(separate)


def append(session: imaplib.IMAP4, message_id: str) -> tuple[str, str]:
    kind, data = session.append(
        "INBOX", "", imaplib.Time2Internaldate(0), f"Message-ID: <{message_id}>\r\n\r\nx".encode()
    )
    return str(kind), bytes(data[0]).decode()


@pytest.mark.parametrize("free_octets", [DISK_RESERVE_OCTETS // 2, 0])
def test_a_disk_without_room(small_disk: Platform, free_octets: int) -> None:
    """Below the reserve, and really full."""
    message_id = f"{uuid.uuid4()}@{free_octets}"
    with surviving_session(small_disk) as session:
        resize_disk(small_disk.data_dir, free_octets)
        dialogue = Dialogue(small_disk, message_id)
        assert (dialogue.verb, dialogue.answer[:9]) == ("MAIL", "452 4.3.1")
        assert append(session, message_id)[0] == "NO"
        assert say(session, "FETCH", "1:*", "(BODY.PEEK[])")[0] == "OK"
        assert failing_checks(small_disk, "smtp-edge") == {"blobs"}
        until(lambda: "smtp-edge" in unready_parts(small_disk), "status does not tell it")
        resize_disk(small_disk.data_dir, DISK_OCTETS)
        assert Dialogue(small_disk, message_id).answer.startswith("250")
        assert append(session, f"{message_id}.appended")[0] == "OK"
    assert_exactly_once(small_disk, {message_id, f"{message_id}.appended"})


def test_a_disk_that_fills_while_a_message_comes(small_disk: Platform) -> None:
    message_id = f"{uuid.uuid4()}@filling"
    resize_disk(small_disk.data_dir, DISK_RESERVE_OCTETS + 2 * MEBIBYTE)
    dialogue = Dialogue(small_disk, message_id, size_octets=12 * MEBIBYTE)
    assert (dialogue.verb, dialogue.answer[:9]) == ("end of DATA", "452 4.3.1")
    unfinished = [*(small_disk.data_dir / "smtp-edge").glob("*.spool"), *small_disk.data_dir.glob("blobs/incoming/*")]
    assert unfinished == []
    resize_disk(small_disk.data_dir, DISK_OCTETS)
    assert Dialogue(small_disk, message_id, size_octets=12 * MEBIBYTE).answer.startswith("250")
    assert_exactly_once(small_disk, {message_id})


def test_a_disk_that_is_full_under_load(small_disk: Platform) -> None:
    """Blobs, bus and database have no room any more, each in the middle of what it does."""
    first, second = (address for address, _ in small_disk.mailboxes[:2])
    traffic = Traffic(small_disk, [Road(recipient=first), Road(recipient=first), Road(recipient=second, owner=0)])
    with traffic.flowing():
        traffic.wait_more()
        resize_disk(small_disk.data_dir, 0)
        time.sleep(FULL_SECONDS)
        resize_disk(small_disk.data_dir, DISK_OCTETS)
        traffic.wait_more()
    traffic.assert_only_delayed()
    for owner, recipient in enumerate((first, second)):
        assert_stored_once(small_disk, traffic.owned(recipient), owner)
    assert_books_agree(small_disk)
