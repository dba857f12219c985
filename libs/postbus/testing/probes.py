"""What tests of a running installation ask again and again: its state, its processes, which messages have arrived."""

import contextlib
import imaplib
import json
import smtplib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from postbus.runtime.layout import layout_of
from postbus.runtime.supervisor_state import read_state
from postbus.testing.installation import Platform

HEAL_SECONDS = 60.0
CLIENT_SECONDS = 70.0
"""smtp-edge tries for a minute to own a message."""
MAX_SAME_A_SECOND = 5
"""Warnings with the same words that are not about one message: more is a flood."""
NOT_OURS = frozenset({"nats", "postgres", "migrate"})


def status(platform: Platform) -> dict[str, Any]:
    """What `postbus status --json` says, without a process for it and without memory figures."""
    state = read_state(layout_of(platform.data_dir, {}))
    if state is None:
        return {"ready": False, "parts": []}
    found: dict[str, Any] = msgspec.to_builtins(state)
    return found


def process_ids(platform: Platform) -> dict[str, int]:
    """Operating system process by part: services of one group share one."""
    return {part["name"]: part["pid"] for part in status(platform)["parts"] if part["pid"]}


def wait_ready(platform: Platform) -> None:
    """Until everything is ready again."""
    deadline = time.monotonic() + HEAL_SECONDS
    while not status(platform)["ready"]:
        assert time.monotonic() < deadline, "not ready again"
        time.sleep(0.1)


def submit(platform: Platform, message_id: str, *recipients: str) -> None:
    """Raises smtplib.SMTPException or OSError unless the platform said 250."""
    with smtplib.SMTP(platform.host, platform.port("smtp"), "client.example.net", timeout=CLIENT_SECONDS) as session:
        body = f"From: ann@example.net\r\nMessage-ID: <{message_id}>\r\nSubject: {message_id}\r\n\r\nHello.\r\n"
        session.sendmail("ann@example.net", recipients, body)


@contextlib.contextmanager
def logged_in(platform: Platform, owner: int = 0) -> Iterator[imaplib.IMAP4_SSL]:
    """An IMAP session that is dropped without LOGOUT."""
    session = imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=30)
    try:
        session.login(*platform.mailboxes[owner])
        yield session
    finally:
        session.shutdown()


def arrived(platform: Platform, owner: int = 0) -> Counter[str]:
    """Message-IDs in all folders of a mailbox."""
    found: Counter[str] = Counter()
    with logged_in(platform, owner) as session:
        for folder in ("INBOX", "Spam"):
            assert session.select(folder, readonly=True)[0] == "OK"
            kind, data = session.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
            assert kind == "OK"
            texts = [item[1] for item in data if isinstance(item, tuple)]
            found.update(text.decode().partition("<")[2].partition(">")[0] for text in texts)
    return found


def wait_arrived(platform: Platform, wanted: set[str], owner: int = 0) -> Counter[str]:
    """The same, once all that is wanted is there."""
    deadline = time.monotonic() + HEAL_SECONDS
    while True:
        found = arrived(platform, owner)
        if wanted <= set(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def assert_exactly_once(platform: Platform, wanted: set[str], owner: int = 0) -> None:
    """None of the wanted is missing, none of all is there twice."""
    found = wait_arrived(platform, wanted, owner)
    assert wanted - set(found) == set(), "lost"
    assert {name: count for name, count in found.items() if count > 1} == {}, "doubled"


def assert_quiet_logs(platform: Platform) -> None:
    """Whatever was done to an installation: no exception that nobody expected, no flood of one warning."""
    for path in sorted((platform.data_dir / "logs").glob("*.log")):
        if path.stem in NOT_OURS:
            continue
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
        faults = [line for line in lines if "exception" in line]
        assert not faults, (path.stem, faults[:3])
        warnings = Counter(
            (line["ts"][:19], line["event"], line.get("reason"), line.get("child"))
            for line in lines
            if line["level"] in ("warning", "error") and "queue_id" not in line
        )
        floods = {key: count for key, count in warnings.items() if count > MAX_SAME_A_SECOND}
        assert not floods, (path.stem, floods)
