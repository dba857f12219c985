"""Promise 9: services restart in any order. SIGTERM drains: 421, BYE, and nothing that was accepted is lost.

One installation with a process for each service, one as `up` makes it; both under mail while their processes end.
"""

import imaplib
import os
import random
import signal
import smtplib
import time
import uuid
from collections.abc import Iterator

import pytest

from postbus.runtime.roster import SERVICES
from postbus.testing.installation import Platform, postbus, read_connection, short_folder, start_platform
from postbus.testing.probes import (
    CLIENT_SECONDS,
    Load,
    assert_exactly_once,
    assert_quiet_logs,
    logged_in,
    process_ids,
    wait_new_processes,
    wait_ready,
)

ORDERS = (SERVICES[::-1], tuple(random.Random(9).sample(SERVICES, len(SERVICES))))
STAGGER_SECONDS = 0.3
LARGE_OCTETS = 10 * 1024 * 1024
DRAIN_SECONDS = 20.0
SOME_MESSAGES = 10


@pytest.fixture(scope="module")
def grouped() -> Iterator[Platform]:
    with short_folder() as folder:
        platform = start_platform(folder)
        yield platform
        assert_quiet_logs(platform)


@pytest.mark.parametrize("number", range(len(ORDERS)))
def test_every_service_ends_and_comes_back_in_any_order(separate: Platform, number: int) -> None:
    wait_ready(separate)
    before = process_ids(separate)
    with Load(separate, f"order.{number}") as load:
        for service in ORDERS[number]:
            os.kill(before[service], signal.SIGTERM)
            time.sleep(STAGGER_SECONDS)
        wait_new_processes(separate, *(before[service] for service in SERVICES))
        _wait_accepted(load, len(load.accepted) + SOME_MESSAGES)
    assert [text for text in load.refused if not text.startswith("4")] == []
    assert_exactly_once(separate, load.accepted)
    with logged_in(separate) as session:
        session.select("INBOX", readonly=True)
        assert session.search(None, "TEXT", "hello")[0] == "OK"


def _wait_byte(session: imaplib.IMAP4_SSL) -> bytes:
    """The next line of the server."""
    line: bytes = session.readline()
    return line


def test_sessions_are_told_of_the_end(grouped: Platform) -> None:
    """421 to who waits in SMTP, BYE within IDLE; a message that is under way is taken."""
    wait_ready(grouped)
    message_id = f"{uuid.uuid4()}@drain"
    found = process_ids(grouped)
    with (
        logged_in(grouped) as idling,
        smtplib.SMTP(grouped.host, grouped.port("smtp"), "idle.example.net", timeout=CLIENT_SECONDS) as waiting,
        smtplib.SMTP(grouped.host, grouped.port("smtp"), "busy.example.net", timeout=CLIENT_SECONDS) as sending,
    ):
        waiting.ehlo()
        idling.select("INBOX")
        idling.send(b"a1 IDLE\r\n")
        assert _wait_byte(idling).startswith(b"+")
        _begin_data(sending, grouped.mailboxes[0][0])
        content = f"Message-ID: <{message_id}>\r\n\r\n".encode() + (b"x" * 76 + b"\r\n") * (LARGE_OCTETS // 78)
        half = len(content) // 2
        sending.send(content[:half])
        started = time.monotonic()
        for pid in {found["smtp-edge"], found["imap-gateway"]}:
            os.kill(pid, signal.SIGTERM)
        assert _wait_byte(idling).startswith(b"* BYE")
        assert waiting.getreply()[0] == 421
        sending.send(content[half:] + b".\r\n")
        assert sending.getreply()[0] == 250
        assert sending.getreply()[0] == 421
        assert time.monotonic() - started < DRAIN_SECONDS
    wait_new_processes(grouped, found["smtp-edge"], found["imap-gateway"])
    assert_exactly_once(grouped, {message_id})


def _wait_accepted(load: Load, count: int) -> None:
    deadline = time.monotonic() + CLIENT_SECONDS
    while len(load.accepted) < count:
        assert time.monotonic() < deadline, load.refused[-3:]
        time.sleep(0.05)


def _begin_data(session: smtplib.SMTP, recipient: str) -> None:
    session.ehlo()
    assert session.docmd("MAIL FROM:<ann@example.net>")[0] == 250
    assert session.docmd(f"RCPT TO:<{recipient}>")[0] == 250
    assert session.docmd("DATA")[0] == 354


def test_down_under_load_loses_nothing(grouped: Platform) -> None:
    wait_ready(grouped)
    with Load(grouped, "down.1") as first, Load(grouped, "down.2") as second:
        _wait_accepted(first, SOME_MESSAGES)
        _wait_accepted(second, SOME_MESSAGES)
        postbus("down", "--data-dir", str(grouped.data_dir))
    accepted = first.accepted | second.accepted
    assert len(accepted) >= 2 * SOME_MESSAGES
    assert [text for text in first.refused + second.refused if not text.startswith("4")] == []
    start_platform(grouped.data_dir, "--port-base", str(grouped.port("smtp") - 25))
    assert_exactly_once(read_connection(grouped.data_dir), accepted)
