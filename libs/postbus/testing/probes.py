"""What tests of a running installation ask again and again: its state, its processes, which messages have arrived."""

import contextlib
import imaplib
import json
import smtplib
import threading
import time
import urllib.request
import uuid
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


def wait_new_processes(platform: Platform, *old: int) -> None:
    """Until these processes are replaced and all is ready: the state may be a moment behind the end of a process."""
    deadline = time.monotonic() + HEAL_SECONDS
    while not set(process_ids(platform).values()).isdisjoint(old):
        assert time.monotonic() < deadline, "a process did not end"
        time.sleep(0.05)
    wait_ready(platform)


def submit(platform: Platform, message_id: str, *recipients: str) -> None:
    """Raises smtplib.SMTPException or OSError unless the platform said 250."""
    with smtplib.SMTP(platform.host, platform.port("smtp"), "client.example.net", timeout=CLIENT_SECONDS) as session:
        body = f"From: ann@example.net\r\nMessage-ID: <{message_id}>\r\nSubject: {message_id}\r\n\r\nHello.\r\n"
        session.sendmail("ann@example.net", recipients, body)


class Load(threading.Thread):
    """Sends small messages one after the other until told to stop; remembers what was answered with 250."""

    def __init__(self, platform: Platform, name: str) -> None:
        """`name` ends its Message-IDs."""
        super().__init__()
        self._platform = platform
        self._name = name
        self._ending = threading.Event()
        self.accepted: set[str] = set()
        self.refused: list[str] = []

    def run(self) -> None:
        """Until `end`."""
        while not self._ending.is_set():
            message_id = f"{uuid.uuid4()}@{self._name}"
            try:
                submit(self._platform, message_id, self._platform.mailboxes[0][0])
            except smtplib.SMTPRecipientsRefused as error:
                self.refused += [f"{code} {text.decode()}" for code, text in error.recipients.values()]
            except smtplib.SMTPResponseException as error:
                self.refused.append(f"{error.smtp_code} {error.smtp_error!r}")
            except (smtplib.SMTPException, OSError):
                self._ending.wait(0.05)  # nobody listens just now, or the answer got lost
            else:
                self.accepted.add(message_id)
            self._ending.wait(0.02)

    def __enter__(self) -> "Load":
        """Begins."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends after the message in hand."""
        self._ending.set()
        self.join()


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


def read_ledger(platform: Platform) -> dict[str, Any]:
    """What GET /api/v1/ledger says now. Raises OSError when the API or delivery can't be reached."""
    request = urllib.request.Request(  # noqa: S310  # https, from connection.json
        f"{platform.admin_url}/api/v1/ledger", headers={"Authorization": f"Bearer {platform.admin_token}"}
    )
    with urllib.request.urlopen(request, timeout=CLIENT_SECONDS, context=platform.tls()) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found


def assert_ledger_balanced(platform: Platform, seconds: float = HEAL_SECONDS) -> dict[str, Any]:
    """The books, once they balance with nothing left on the bus (promise 1); fails with the whole last answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            told: object = (ledger := read_ledger(platform))
            if ledger["balanced"] and not ledger["unconsumed"]:
                return ledger
        except OSError as error:
            told = str(error)
        assert time.monotonic() < deadline, f"the ledger does not balance: {json.dumps(told, indent=2)}"
        time.sleep(0.2)


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
