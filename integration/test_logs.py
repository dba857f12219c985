"""Logs (house-style §7): JSON lines with a constant event, the trace and the session; a line a decision; no secrets."""

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from postbus.runtime.roster import SERVICES
from postbus.testing.observed import DEFERRED, REMOTE, SECRETS, Observed
from postbus.testing.probes import HEAL_SECONDS, NOT_OURS

EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")
TRACE = re.compile(r"[0-9a-f]{32}\Z")
LEVELS = {"debug", "info", "warning", "error"}
SPEAKERS = {*SERVICES, "runtime", "supervisor"}


@pytest.fixture(scope="module")
def messages(observed: Observed) -> dict[str, str]:
    """Traffic with secrets of every kind; queue ids by what the messages were."""
    first = observed.platform.mailboxes[0][0]
    found = {
        "inbound": observed.receive(first),
        "outbound": observed.submit(f"somebody@{REMOTE}"),
        "deferred": observed.submit(f"{DEFERRED}-logs@{REMOTE}"),
    }
    observed.misuse()
    observed.read()
    with pytest.raises(AssertionError, match=r"no such mailbox"):
        observed.receive("nobody@demo.example")
    for wanted, queue_id in (("indexer.index", found["inbound"]), ("delivery.attempt", found["outbound"])):
        trace_id = observed.collector.wait(
            lambda each, queue_id=queue_id: each.attributes.get("queue_id") == queue_id,  # type: ignore[misc]
            HEAL_SECONDS,
        ).trace_id
        observed.collector.wait(
            lambda each, name=wanted, trace_id=trace_id: (each.name, each.trace_id) == (name, trace_id),  # type: ignore[misc]
            HEAL_SECONDS,
        )
    observed.collector.wait(
        lambda each: each.attributes.get("queue_id") == found["deferred"] and each.attributes.get("attempt") == 2,
        HEAL_SECONDS,
    )
    wait_line(observed, "delivery.queue.sent", found["deferred"])
    return found


def files(observed: Observed) -> list[Path]:
    return sorted((observed.platform.data_dir / "logs").glob("*.log*"))


def lines(observed: Observed) -> list[dict[str, Any]]:
    """Of everything that is ours."""
    texts = [path.read_text() for path in files(observed) if path.name.partition(".")[0] not in NOT_OURS]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def wait_line(observed: Observed, event: str, queue_id: str) -> None:
    deadline = time.monotonic() + HEAL_SECONDS
    while not any((each["event"], each.get("queue_id")) == (event, queue_id) for each in lines(observed)):
        assert time.monotonic() < deadline, f"no {event}"
        time.sleep(0.1)


@pytest.mark.usefixtures("messages")
def test_every_line_says_when_who_and_what(observed: Observed) -> None:
    for line in lines(observed):
        assert {"ts", "level", "event", "service"} <= set(line), line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["ts"])
        assert line["level"] in LEVELS
        assert EVENT.match(line["event"]), line
        assert line["service"] in SPEAKERS, line


@pytest.mark.usefixtures("messages")
def test_a_line_about_a_message_or_a_session_says_which(observed: Observed) -> None:
    for line in lines(observed):
        if "queue_id" in line:
            assert TRACE.match(line.get("trace_id", "")), line
            assert len(line["queue_id"]) == 26, line
        if "client_address" in line and line["service"] in ("smtp-edge", "imap-gateway"):
            assert line.get("session_id"), line


def about(observed: Observed, queue_id: str) -> list[tuple[str, str]]:
    found = [each for each in lines(observed) if each.get("queue_id") == queue_id]
    return [(each["event"], each["level"]) for each in sorted(found, key=lambda each: str(each["ts"]))]


def test_each_decision_about_a_message_is_one_line(observed: Observed, messages: dict[str, str]) -> None:
    taken = Counter(
        {
            ("filter.message.judged", "info"): 1,
            ("smtp.message.accepted", "info"): 1,
            ("delivery.message.accounted", "info"): 1,
        }
    )
    sent, put_off = ("delivery.queue.sent", "info"), ("delivery.queue.deferred", "info")
    assert Counter(about(observed, messages["inbound"])) == taken
    assert Counter(about(observed, messages["outbound"])) == taken + Counter([sent])
    assert Counter(about(observed, messages["deferred"])) == taken + Counter([put_off, sent])


def test_the_lines_of_a_message_share_its_trace(observed: Observed, messages: dict[str, str]) -> None:
    for kind in ("inbound", "outbound"):
        ids = {each["trace_id"] for each in lines(observed) if each.get("queue_id") == messages[kind]}
        assert len(ids) == 1, kind
        assert observed.run("trace", messages[kind])["traceparent"].split("-")[1] in ids
    retry = [each["trace_id"] for each in lines(observed) if each["event"] == "delivery.queue.sent"]
    assert len(set(retry)) == len(retry)


def secrets_of(observed: Observed) -> dict[str, str]:
    """Everything that nobody may read anywhere."""
    found = {f"sent {name}": text for name, text in SECRETS.items()}
    found |= {f"password of {address}": password for address, password in observed.platform.mailboxes}
    found["admin token"] = observed.platform.admin_token
    for path in (observed.platform.data_dir / "secrets").iterdir():
        with_text = path.read_bytes().strip()
        if path.is_file() and with_text.isascii() and b"\n" not in with_text and len(with_text) > 8:
            found[path.name] = with_text.decode()
    return found


@pytest.mark.usefixtures("messages")
def test_nothing_secret_is_told(observed: Observed) -> None:
    """Not in logs (of Postgres and NATS too), traces, events or metrics."""
    told = {path.name: path.read_text(errors="replace") for path in files(observed)}
    told["traces"] = repr(observed.collector.spans())
    told["events"] = observed.show("events", "--json", "--limit", "500")
    secrets = secrets_of(observed)
    assert len(secrets) > 10
    for place, text in told.items():
        assert text or place != "traces"
        for name, secret in secrets.items():
            assert secret not in text, f"{name} in {place}"
