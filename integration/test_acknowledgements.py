"""Promises 1 and 2 with kill -9: what was answered with 250 or OK is there afterwards, exactly once.

One platform of its own, because its processes are killed, each in turn right after an acknowledgement. Kills under load
and of everything at once: test_kills_under_load.
"""

import imaplib
import os
import signal
import time
import uuid
from collections.abc import Iterator

import pytest

from postbus.testing.installation import Platform, short_folder, start_platform
from postbus.testing.probes import (
    HEAL_SECONDS,
    assert_exactly_once,
    logged_in,
    process_ids,
    submit,
    wait_new_processes,
    wait_ready,
)


@pytest.fixture(scope="module")
def victim() -> Iterator[Platform]:
    with short_folder() as folder:
        yield start_platform(folder)


def kill(platform: Platform, *parts: str) -> set[int]:
    """SIGKILL; the processes that are gone now."""
    found = process_ids(platform)
    killed = {found[part] for part in parts}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    return killed


@pytest.mark.parametrize("part", ["smtp-edge", "delivery", "imap-gateway", "nats", "postgres"])
def test_a_250_survives_the_kill_that_follows_it(victim: Platform, part: str) -> None:
    wait_ready(victim)
    message_id = f"{uuid.uuid4()}@{part}"
    submit(victim, message_id, *(address for address, _ in victim.mailboxes))
    wait_new_processes(victim, *kill(victim, part))
    assert_exactly_once(victim, {message_id})
    assert_exactly_once(victim, {message_id}, owner=1)


def test_an_append_answered_with_ok_survives_the_kill_of_everything_that_holds_it(victim: Platform) -> None:
    wait_ready(victim)
    message_id = f"{uuid.uuid4()}@append"
    content = f"Message-ID: <{message_id}>\r\n\r\nx".encode()
    with logged_in(victim) as session:
        assert session.append("INBOX", "", imaplib.Time2Internaldate(0), content)[0] == "OK"
        killed = kill(victim, "imap-gateway", "postgres")
    wait_new_processes(victim, *killed)
    assert_exactly_once(victim, {message_id})


def test_a_store_answered_with_ok_survives(victim: Platform) -> None:
    wait_ready(victim)
    submit(victim, f"{uuid.uuid4()}@store", victim.mailboxes[1][0])
    with logged_in(victim, 1) as session:
        deadline = time.monotonic() + HEAL_SECONDS
        while int(session.select("INBOX")[1][0] or b"0") == 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert session.store("1", "+FLAGS", r"(\Flagged)")[0] == "OK"
        killed = kill(victim, "imap-gateway", "postgres")
    wait_new_processes(victim, *killed)
    with logged_in(victim, 1) as session:
        session.select("INBOX", readonly=True)
        assert rb"\Flagged" in session.fetch("1", "(FLAGS)")[1][0]  # type: ignore[operator]
