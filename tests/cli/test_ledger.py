"""`postbus ledger` and what other commands say of it: the books at a glance, dead letters, settling."""

import argparse
import io
import json

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.contracts.delivery import (
    Accounted,
    ChangeHeldReply,
    ChangeHeldRequest,
    HeldAction,
    LedgerClash,
    MissingMessage,
)
from postbus.core.ids import QueueId
from postbus.runtime.layout import StartError
from postbus.runtime.supervisor_connection import Admin, Connection, Tls
from postbus.testing.admin_ledger import CREATED_MS, MemoryBooks, make_counters, make_letter
from postbus.testing.admin_rest import TOKEN, FakeInstallation, RestClient
from postbus.testing.admin_services import make_message
from postbusd.cli import ledger as ledger_command
from postbusd.cli import objects
from postbusd.cli.api import ApiClient
from postbusd.cli.ledger_view import summarize
from postbusd.cli.main import main
from postbusd.cli.objects import Session
from postbusd.cli.status import read_ledger
from postbusd.cli.times import format_time

ONE = QueueId("01JQZ8Y6KX4M2N3P5R7S9T0VWX")


@pytest.fixture
def installation(http: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch) -> FakeInstallation:
    """Eight messages in folders, two queued; the commands speak to it; nobody sits at a terminal."""
    installation = FakeInstallation()
    installation.books.ended.update(folder=8, queued=2)
    connection = Connection(
        host="", ports={}, metrics={}, tls=Tls(ca_file=""), admin=Admin(url="", token=TOKEN), mailboxes=()
    )
    session = Session(api=ApiClient(RestClient(installation, http), TOKEN), connection=connection)
    monkeypatch.setattr(objects, "open_session", lambda args, seconds=0: session)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return installation


@pytest.fixture
def books(installation: FakeInstallation) -> MemoryBooks:
    return installation.books


def sit_down(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """A person at a terminal who types this."""
    stdin = io.StringIO(typed)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)


def test_books_that_balance_are_a_sum(
    installation: FakeInstallation, books: MemoryBooks, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.edge.counters = make_counters(accepted=3, refused=1, first_stream_sequence=8, last_stream_sequence=10)
    assert main(["ledger"]) == 0
    verdict, total, witness = capsys.readouterr().out.strip().split("\n\n")
    assert verdict.startswith("The books balance (")
    assert [line.split(None, 2)[:2] for line in total.splitlines()[1:]] == [
        ["=", "8"],
        *[["+", number] for number in ("2", "0", "0", "0", "0", "0")],
    ]
    assert total.splitlines()[0].split() == ["10", "accepted"]
    assert witness == f"smtp-edge: 3 accepted since {format_time(CREATED_MS + 500)}, 1 refused, 0 put off"


def test_what_is_wrong_stands_first(
    installation: FakeInstallation, books: MemoryBooks, capsys: pytest.CaptureFixture[str]
) -> None:
    books.missing = [MissingMessage(stream_sequence=11, queue_id=ONE, accepted_ms=CREATED_MS)]
    books.missing.append(MissingMessage(stream_sequence=12))
    books.clashes = [LedgerClash(stream_sequence=3, queue_id="LATER", first_queue_id="FIRST", seen_ms=CREATED_MS)]
    books.letters = [make_letter(13)]
    installation.edge.counters = None
    assert main(["ledger"]) == 1
    text = capsys.readouterr().out
    verdict, alarm, missing, clash, total, witness, letters, advice = text.strip().split("\n\n")
    assert verdict.startswith("THE BOOKS DO NOT BALANCE")
    assert verdict.endswith("2 accepted messages missing, 1 alarm")
    assert alarm == "ALARM: a stream sequence came with another queue id"
    assert missing.splitlines()[1].split()[:2] == ["11", ONE]
    assert "the stream holds it no more" in missing.splitlines()[2]
    assert clash.splitlines()[1].split()[:3] == ["3", "FIRST", "LATER"]
    assert "+  2  MISSING" in total
    assert "not checked against smtp-edge" in witness
    assert "postbus ledger held" in letters
    assert "runbook" in advice


def test_more_is_missing_than_is_listed(books: MemoryBooks, capsys: pytest.CaptureFixture[str]) -> None:
    books.missing = [MissingMessage(stream_sequence=number) for number in range(11, 141)]
    assert main(["ledger"]) == 1
    assert "and 30 more" in capsys.readouterr().out


def test_programs_get_the_answer_and_the_exit_code(books: MemoryBooks, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["balanced"] is True
    books.missing = [MissingMessage(stream_sequence=11)]
    assert main(["ledger", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["missing"] == [{"stream_sequence": 11, "queue_id": "", "accepted_ms": 0}]
    books.away = True
    assert main(["ledger"]) == 1
    assert capsys.readouterr().err == "postbus ledger: delivery is away (which part is ill: postbus status)\n"


@pytest.mark.parametrize("words", [["held"], ["held", "list"]])
def test_dead_letters_are_listed_with_the_reason(
    books: MemoryBooks, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["ledger", *words]) == 0
    assert capsys.readouterr().out == "no dead letters\n"
    paths = tuple(f"{name}@demo.example" for name in "abcd")
    books.letters = [
        make_letter(4, forward_paths=paths, reason="mailbox \x1b]0;owned\x07 is gone"),
        make_letter(15, queue_id="", reverse_path="", forward_paths=(), size_octets=0),
    ]
    assert main(["ledger", *words]) == 0
    head, first, second, what_next = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "SEQ"
    assert first.split()[:2] == ["4", books.letters[0].queue_id]
    assert "a@demo.example, b@demo.example, c@demo.example …" in first
    assert first.endswith("mailbox \ufffd]0;owned\ufffd is gone")
    assert second.split()[:2] == ["15", "unreadable"]
    assert "<>" in second
    assert "held retry SEQ" in what_next
    assert main(["ledger", "--json", *words]) == 0
    assert [each["stream_sequence"] for each in json.loads(capsys.readouterr().out)] == [4, 15]
    assert main(["ledger", *words, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_a_dead_letter_is_retried(books: MemoryBooks, capsys: pytest.CaptureFixture[str]) -> None:
    books.letters = [make_letter(number) for number in (4, 6, 7)]
    assert main(["ledger", "held", "retry", "4", "--dry-run"]) == 0
    assert capsys.readouterr().out == "1 dead letter would be retried\n"
    assert main(["ledger", "held", "retry", "4"]) == 0
    assert capsys.readouterr().out == "1 dead letter was delivered\n"
    books.stubborn[6] = "no recipient\n is left"
    assert main(["ledger", "held", "retry", "--all"]) == 1
    assert capsys.readouterr().out == "1 dead letter was delivered\n  6 stays: no recipient\ufffd is left\n"
    assert main(["ledger", "held", "retry", "6", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["changed"] == 0
    assert main(["ledger", "held", "retry", "5"]) == 1
    assert "there is no dead letter 5" in capsys.readouterr().err


def test_discarding_asks_on_a_terminal_and_keeps_the_reason(
    books: MemoryBooks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    books.letters = [make_letter(number) for number in (4, 6, 7)]
    sit_down(monkeypatch, "n\n")
    assert main(["ledger", "held", "discard", "--all", "--reason", "spam"]) == 1
    assert "Discard 3 dead letters? [y/N]" in capsys.readouterr().err
    assert len(books.letters) == 3
    sit_down(monkeypatch, "")
    assert main(["ledger", "held", "discard", "4", "--reason", "spam", "--yes"]) == 0
    assert main(["ledger", "held", "discard", "--all", "--reason", "spam", "--dry-run"]) == 0
    sit_down(monkeypatch, "y\n")
    assert main(["ledger", "held", "discard", "--all", "--reason", "spam"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 dead letter was discarded",
        "2 dead letters would be discarded",
        "2 dead letters were discarded",
    ]
    last = books.calls[-1]
    assert isinstance(last, ChangeHeldRequest)
    assert (last.action, last.reason, last.stream_sequence) == (HeldAction.DISCARD, "spam", 7)


def test_all_are_changed_one_after_the_other(
    books: MemoryBooks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer comes in time, however many there are; what somebody else has changed meanwhile is no fault."""
    books.letters = [make_letter(number) for number in range(1, 1_203)]
    change, seen = books.change_held, list[int]()

    async def change_one(request: ChangeHeldRequest) -> ChangeHeldReply:
        seen.append(request.stream_sequence)
        if request.stream_sequence == 7:
            books.letters = [letter for letter in books.letters if letter.stream_sequence != 7]
        return await change(request)

    monkeypatch.setattr(books, "change_held", change_one)
    assert main(["ledger", "held", "retry", "--all"]) == 0
    assert capsys.readouterr().out == "1201 dead letters were delivered\n"
    assert seen == list(range(1, 1_203))


def test_settling_asks_on_a_terminal(
    books: MemoryBooks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    books.missing = [MissingMessage(stream_sequence=11)]
    assert main(["ledger", "settle", "--reason", "lost disk", "--dry-run"]) == 0
    assert capsys.readouterr().out == "1 missing message would be written off, 0 clashes would be closed\n"
    sit_down(monkeypatch, "n\n")
    assert main(["ledger", "settle", "--reason", "lost disk"]) == 1
    assert books.missing
    sit_down(monkeypatch, "y\n")
    assert main(["ledger", "settle", "--reason", "lost disk"]) == 0
    assert capsys.readouterr().out.endswith("1 missing message written off, 0 clashes closed\n")
    assert main(["ledger"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["settle"],
        ["held", "retry"],
        ["held", "retry", "4", "--all"],
        ["held", "retry", "four"],
        ["held", "discard", "4"],
        ["held", "discard", "--reason", "x"],
        ["held", "eat"],
        ["eat"],
    ],
)
def test_wrong_command_lines(books: MemoryBooks, words: list[str]) -> None:
    try:
        code = main(["ledger", *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert books.calls == []


def test_every_command_explains_itself_and_its_options() -> None:
    parser = argparse.ArgumentParser()
    ledger_command.add_parser(parser.add_subparsers())
    todo, seen = [parser], 0
    while todo:
        for action in todo.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                todo += action.choices.values()
                seen += len(action.choices)
                assert all(each.description for each in action.choices.values())
            else:
                assert action.help, action.dest
    assert seen == 6


def test_a_trace_says_how_to_retry_a_dead_letter(
    installation: FakeInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    held = msgspec.structs.replace(
        make_message(ONE), accounted=Accounted.HELD, stream_sequence=17, detail="the mailbox is gone"
    )
    installation.queue.messages[ONE] = held
    assert main(["trace", ONE]) == 0
    text = capsys.readouterr().out
    assert "held: a dead letter" in text
    assert "note the mailbox is gone" in text
    assert "postbus ledger held retry 17" in text
    installation.queue.messages[ONE] = msgspec.structs.replace(held, accounted=Accounted.WRITTEN_OFF)
    assert main(["trace", ONE]) == 0
    text = capsys.readouterr().out
    assert "written off" in text
    assert "retry" not in text


def test_status_has_the_books_or_why_not(
    installation: FakeInstallation, books: MemoryBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = argparse.Namespace(data_dir=None)
    assert summarize(read_ledger(args)) == "ledger: balanced, 10 accepted"
    books.letters = [make_letter(11), make_letter(12)]
    assert summarize(read_ledger(args)) == "ledger: balanced, 12 accepted, 2 dead letters held (postbus ledger held)"
    books.missing = [MissingMessage(stream_sequence=13)]
    assert (
        summarize(read_ledger(args)) == "ledger: NOT BALANCED: 1 accepted message missing (postbus ledger), "
        "2 dead letters held (postbus ledger held)"
    )
    books.away = True
    assert "delivery is away" in read_ledger(args)

    def refuse(args: argparse.Namespace, seconds: float) -> Session:
        raise StartError("can't be reached")

    monkeypatch.setattr(objects, "open_session", refuse)
    assert read_ledger(args) == "can't be reached"
