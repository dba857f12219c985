"""`postbus queue`, `events` and `trace`: what waits and why, what happened, a message's story."""

import argparse
import io
import json
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.contracts.delivery import Placement, QueueState
from postbus.contracts.events import Event, EventType
from postbus.core.ids import MailboxId, QueueId
from postbus.runtime.layout import StartError
from postbus.runtime.supervisor_connection import Admin, Connection, Tls
from postbus.testing.admin_api import make_event
from postbus.testing.admin_rest import TOKEN, FakeInstallation, RestClient
from postbus.testing.admin_services import make_entry, make_message
from postbusd.cli import events, objects
from postbusd.cli.api import ApiClient, ApiError
from postbusd.cli.main import main
from postbusd.cli.objects import Session, UsageError
from postbusd.cli.queue_view import explain, format_queue
from postbusd.cli.times import format_time
from postbusd.cli.trace import format_message

ONE = QueueId("01JQZ8Y6KX4M2N3P5R7S9T0VWX")
TWO = QueueId("01JQZ8Y6KX4M2N3P5R7S9T0VWY")
NOW_MS = 1_790_000_300_000


@pytest.fixture
def session(http: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch) -> Session:
    """Two waiting copies, one held, one sent."""
    installation = FakeInstallation()
    installation.queue.messages[ONE] = make_message(ONE)
    installation.queue.entries = [
        make_entry(ONE, "a@far.example"),
        make_entry(ONE, "b@near.example", attempts=0, last_reply="", remote_host="", tls="", next_hop=""),
        make_entry(TWO, "c@far.example", state=QueueState.HELD),
        make_entry(TWO, "d@far.example", state=QueueState.SENT, last_reply="250 2.0.0 ok"),
    ]
    connection = Connection(
        host="", ports={}, metrics={}, tls=Tls(ca_file=""), admin=Admin(url="", token=TOKEN), mailboxes=()
    )
    session = Session(api=ApiClient(RestClient(installation, http), TOKEN), connection=connection)
    monkeypatch.setattr(objects, "open_session", lambda args, seconds: session)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return session


@pytest.fixture
def installation(session: Session) -> FakeInstallation:
    wire = session.api._wire
    assert isinstance(wire, RestClient)
    return wire.installation


def test_the_queue_says_why_each_copy_is_still_here(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "list"]) == 0
    text = capsys.readouterr().out
    head, first, second, third, totals = text.splitlines()
    assert head.endswith("WHY IT IS STILL HERE")
    assert first.split()[:3] == [ONE, "a@far.example", "waiting"]
    assert "mx.far.example said: 451 4.7.1 come back later" in first
    assert "held by an administrator; before: mx.far.example said" in third
    assert totals == "2 waiting, 1 held"
    assert "b@near.example" in second
    assert main(["queue", "list", "--finished", "--domain", "far.example", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["recipient"][0] for entry in found["entries"]] == ["a", "c", "d"]
    assert (found["waiting"], found["held"]) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "next try in 10 min: mx.far.example said: 451 4.7.1 come back later"),
        ({"remote_host": "", "last_reply": "no MX answers"}, "next try in 10 min: no MX answers"),
        ({"last_reply": ""}, "next try in 10 min"),
        ({"due_ms": NOW_MS}, "is tried now; before: mx.far.example said: 451 4.7.1 come back later"),
        ({"due_ms": 0, "attempts": 0, "last_reply": ""}, "just taken, is tried now"),
        ({"state": QueueState.HELD, "last_reply": ""}, "held by an administrator"),
        ({"state": QueueState.CANCELLED, "last_reply": ""}, "cancelled"),
    ],
)
def test_reasons(changes: dict[str, object], why: str) -> None:
    assert explain(msgspec.to_builtins(make_entry(ONE, "a@far.example", **changes)), NOW_MS) == why


def test_a_long_reason_is_cut_and_an_empty_queue_says_so() -> None:
    entry = msgspec.to_builtins(make_entry(ONE, "a@far.example", last_reply="4" * 500))
    table = format_queue({"entries": [entry], "waiting": 1, "held": 0}, NOW_MS)
    assert max(map(len, table.splitlines())) < 220
    assert format_queue({"entries": [], "waiting": 0, "held": 0}, NOW_MS) == "nothing to show; 0 waiting, 0 held"


def test_the_copies_of_a_message_are_shown_whole(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "show", TWO.lower()]) == 0
    held, sent = capsys.readouterr().out.split("\n\n")
    assert "when released" in held
    assert f"ended         {format_time(1_790_000_900_000)}" in sent
    assert "TLSv1.3 TLS_AES_256_GCM_SHA384" in sent
    assert main(["queue", "show", "0" * 26]) == 1
    assert "postbus trace" in capsys.readouterr().out


def test_actions_say_what_they_did(
    session: Session, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, text in (
        (["retry", "--all", "--dry-run"], "3 copies would be changed"),
        (["hold", ONE], "2 copies are held"),
        (["release", "--recipient", "a@far.example"], "1 copy is released and tried now"),
        (["retry", "--domain", "nowhere.example"], "nothing to change (held copies: postbus queue release)"),
        (["hold", "--domain", "nowhere.example"], "nothing to change"),
        (["cancel", "--recipient", "a@far.example"], "1 copy was cancelled"),
        (["bounce", "--domain", "near.example"], "1 copy was bounced"),
    ):
        assert main(["queue", *words]) == 0
        assert capsys.readouterr().out == f"{text}\n"
    assert main(["queue", "retry", ONE, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"changed": 0, "busy": 0, "dry_run": False}
    assert len({request.actor for request in installation.queue.requests}) == 1


def test_a_busy_copy_is_told(
    session: Session, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.queue.busy.add("a@far.example")
    assert main(["queue", "hold", "--recipient", "a@far.example"]) == 0
    assert capsys.readouterr().out == "nothing to change; 1 copy left alone: being sent right now\n"


@pytest.mark.parametrize("words", [["retry"], ["cancel"], ["hold", ONE, "--all"], ["eat", ONE]])
def test_an_action_needs_a_filter_or_all(
    session: Session, words: list[str], capsys: pytest.CaptureFixture[str], installation: FakeInstallation
) -> None:
    try:
        code = main(["queue", *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert capsys.readouterr().err
    assert installation.queue.requests == []


@pytest.mark.parametrize(("typed", "code", "state"), [("n\n", 1, QueueState.HELD), ("y\n", 0, QueueState.CANCELLED)])
def test_what_ends_copies_asks_on_a_terminal(
    session: Session,
    installation: FakeInstallation,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    code: int,
    state: QueueState,
) -> None:
    stdin = io.StringIO(typed)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["queue", "cancel", TWO]) == code
    assert installation.queue.entries[2].state is state


def make_story() -> list[Event]:
    """What the services tell of ONE."""
    received = msgspec.structs.replace(
        make_event(1), queue_id=ONE, at_ms=1_790_000_000_000, summary="received", reverse_path="kim@demo.example"
    )
    deferred = msgspec.structs.replace(
        make_event(2, EventType.DEFERRED),
        queue_id=ONE,
        at_ms=1_790_000_001_000,
        service="delivery",
        summary="put off for a@far.example",
        forward_path="a@far.example",
        detail="mx.far.example said: 451 \x1b[2J later",
        message_id="<one@demo.example>",
    )
    return [deferred, received]


async def test_a_trace_tells_the_story_by_time(
    session: Session,
    installation: FakeInstallation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placement = Placement(mailbox_id=MailboxId("m"), address="kim@demo.example", folder="INBOX", uid=7)
    installation.queue.messages[ONE] = msgspec.structs.replace(make_message(ONE), placements=(placement,))
    await installation.store.add_events(make_story())
    monkeypatch.setattr("time.time_ns", lambda: NOW_MS * 1_000_000)
    assert main(["trace", ONE]) == 0
    head, story, where = capsys.readouterr().out.split("\n\n")
    assert head.splitlines()[0] == f"{ONE}: outbound copies: 2 waiting"
    assert "message id <one@demo.example>" in head
    lines = story.splitlines()
    assert lines[0].startswith(format_time(1_790_000_000_000, milliseconds=True))
    assert "reverse path kim@demo.example" in lines[1]
    assert "deferred" in lines[2]
    assert "451 \ufffd[2J later" in lines[3]
    assert "forward path" not in lines[3]
    assert "INBOX of kim@demo.example (UID 7)" in where
    assert f"for a@far.example: waiting, tried once, next try {format_time(1_790_000_900_000)} (in " in where
    assert "  mx.far.example said: 451 4.7.1 come back later" in where
    assert "for b@near.example: waiting, not tried yet" in where


async def test_a_trace_of_what_delivery_has_not_seen(
    session: Session, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    other = QueueId("0" * 26)
    await installation.store.add_events([msgspec.structs.replace(make_event(1), queue_id=other)])
    assert main(["trace", other]) == 0
    assert "not taken it from the bus yet" in capsys.readouterr().out
    assert main(["trace", other, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accounted"] is None
    assert main(["trace", "1" * 26]) == 1
    assert capsys.readouterr().err == "postbus trace: queue_id: no such message\n"


def test_a_trace_says_of_each_copy_what_comes_next() -> None:
    copies = [
        make_entry(ONE, "a@x.example", state=QueueState.HELD, last_reply=""),
        make_entry(ONE, "b@x.example", state=QueueState.SENT, attempts=2),
        make_entry(ONE, "c@x.example", due_ms=NOW_MS, attempts=0),
    ]
    message = {
        "queue_id": ONE,
        "accounted": "queued",
        "detail": "a note",
        "accepted_ms": 0,
        "placements": [],
        "outgoing": msgspec.to_builtins(copies),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "story": [],
        "story_cut": True,
    }
    text = format_message(message, NOW_MS)
    assert "note a note" in text
    assert "trace 0af7651916cd43dd8448eb211c80319c" in text
    assert "longer than what is shown" in text
    assert "for a@x.example: held, tried once, until an administrator releases it [TLSv1.3" in text
    assert f"for b@x.example: sent, tried 2 times, ended {format_time(1_790_000_900_000)}" in text
    assert "for c@x.example: waiting, not tried yet, is tried now" in text


async def test_events_are_listed_and_narrowed(
    session: Session, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    await installation.store.add_events([*make_story(), make_event(9, EventType.LOGIN)])
    assert main(["events", "--queue-id", ONE, "--type", "deferred"]) == 0
    line = capsys.readouterr().out
    assert line.split()[2:4] == ["delivery", "deferred"]
    assert "\x1b" not in line
    assert line.count("a@far.example") == 1
    assert main(["events", "--json", "--limit", "2"]) == 0
    shown = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [each["type"] for each in shown] == ["received", "login"]
    assert main(["events", "--limit", "2"]) == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()] == ["login", "received"]
    assert main(["events", "--since", "2026-09-01"]) == 0
    assert capsys.readouterr().out.count("\n") == 2
    assert main(["events", "--type", "nonsense"]) == 1


@pytest.mark.parametrize("words", [["--limit", "0"], ["--limit", "1001"], ["--since", "soon"], ["-f", "--until", "1h"]])
def test_wrong_event_options(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    events.add_parser(parser.add_subparsers())
    with pytest.raises(UsageError):
        events.make_query(parser.parse_args(["events", *words]), NOW_MS)


class SeenEnoughError(Exception):
    """The test has seen enough."""


async def test_following_waits_for_an_api_that_is_away_and_misses_nothing(
    session: Session,
    installation: FakeInstallation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    get, sleeps = session.api.get, 0

    def sleep(seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == 6:
            raise SeenEnoughError

    def flaky(path: str, query: dict[str, str]) -> Any:
        if sleeps == 2:
            raise StartError("can't be reached")
        if sleeps == 3:
            raise ApiError(503, b"")
        return get(path, query)

    monkeypatch.setattr(session.api, "get", flaky)
    await installation.store.add_events([make_event(number) for number in range(3)])
    with pytest.raises(SeenEnoughError):
        events.follow(session, {"limit": "2", "after": "1"}, seen.append, sleep)
    assert [event["summary"] for event in seen] == ["event 1", "event 2"]
    assert capsys.readouterr().err.count("away") == 1


def test_following_ends_when_it_is_refused(session: Session) -> None:
    with pytest.raises(ApiError, match="type"):
        events.follow(session, {"type": "nonsense"}, print, lambda seconds: None)


async def test_json_on_a_terminal_steers_nothing_and_means_the_same(
    session: Session, installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "451 \x1b]0;x\x07 \x9b31m \u202e\U000e0041 é"
    installation.queue.messages[ONE] = make_message(ONE)
    installation.queue.entries = [make_entry(ONE, "a@far.example", last_reply=hostile, remote_host=hostile)]
    await installation.store.add_events([msgspec.structs.replace(make_event(1), queue_id=ONE, detail=hostile)])
    for words in (["queue", "list"], ["queue", "show", ONE], ["trace", ONE], ["events"]):
        for option in ([], ["--json"]):
            assert main([*words, *option]) == 0
            shown = capsys.readouterr().out
            assert all(line.isprintable() for line in shown.split("\n")), (words, option, shown)
            assert "é" in shown
    assert json.loads(shown)["detail"] == hostile


async def test_messages_are_found_by_address_or_message_id(
    installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    event = msgspec.structs.replace(make_event(1), queue_id=ONE, message_id="<one@x>", forward_path="kim@demo.example")
    await installation.store.add_events([event])
    assert main(["trace", "--address", "Kim@demo.example"]) == 0
    assert ONE in capsys.readouterr().out
    assert main(["trace", "--message-id", "<one@x>", "--since", "1970-01-01T00:00:00Z"]) == 0
    assert ONE in capsys.readouterr().out
    assert main(["trace", "--address", "kim@demo.example", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["forward_paths"] == ["kim@demo.example"]
    assert main(["trace", "--address", "lee@demo.example"]) == 0
    assert capsys.readouterr().out == "no message is found\n"
    assert main(["trace"]) == 2
    assert main(["trace", ONE, "--address", "kim@demo.example"]) == 2
