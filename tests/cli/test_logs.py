"""`postbus logs`: lines of several files in order of time, and files that are rotated under us."""

from pathlib import Path

import msgspec
import pytest

from postbusd.cli.logs import Tail, format_line
from postbusd.cli.main import main


def test_lines_of_all_files_come_in_order_of_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "filter.log").write_text('{"ts":"2026-03-01T10:00:02.000+00:00","event":"b.c","service":"filter"}\n')
    (logs / "nats.log").write_text("[1] 2026/03/01 10:00:01.5 [INF] one\n[1] 2026/03/01 10:00:03.5 [INF] three\n")
    assert main(["logs", "--data-dir", str(tmp_path), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["one" in lines[0], "b.c" in lines[1], "three" in lines[2], len(lines)] == [True, True, True, 3]


def test_a_service_that_writes_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "filter.log").write_text("")
    assert main(["logs", "dance", "--data-dir", str(tmp_path)]) == 1
    assert "there is filter" in capsys.readouterr().err


def test_a_rotated_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\n")
    tail = Tail(path)
    assert tail.last(10) == ["one"]
    with path.open("ab") as file:
        file.write(b"two\n")
    path.rename(tmp_path / "a.log.1")
    path.write_bytes(b"three\npart")
    assert list(tail.new()) == ["two", "three"]
    with path.open("ab") as file:
        file.write(b"ial\n")
    assert list(tail.new()) == ["partial"]
    tail.close()


def test_a_short_file_is_filled_up_from_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.log.1").write_bytes(b"1\n2\n3\n")
    (tmp_path / "a.log").write_bytes(b"4\n")
    tail = Tail(tmp_path / "a.log")
    assert tail.last(3) == ["2", "3", "4"]
    tail.close()


def test_json_lines_are_told_for_people() -> None:
    line = (
        '{"ts":"2026-03-01T10:00:02.000+00:00","level":"info","event":"smtp.rcpt.rejected","service":"smtp-edge",'
        '"queue_id":"X","reason":"no such mailbox","count":3}'
    )
    assert format_line("services-1", line) == (
        '2026-03-01 10:00:02.000 smtp-edge       info    smtp.rcpt.rejected queue_id=X reason="no such mailbox" count=3'
    )
    assert format_line("postgres", "LOG: x") == "postgres: LOG: x"


HOSTILE = "a\x1b[2J\x9b31m\u202e\x07"


def test_what_strangers_wrote_does_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A HELO name without a space once reached the terminal as it came."""
    facts = {"event": "smtp.helo", "helo": HOSTILE, "reply": f"550 {HOSTILE}", HOSTILE: 1, "exception": f"x\n{HOSTILE}"}
    logs = tmp_path / "logs"
    logs.mkdir()
    line = msgspec.json.encode(facts).decode()
    (logs / "smtp-edge.log").write_text(f"{line}\nLOG: {HOSTILE}\tend\n", encoding="utf-8")
    for option in ([], ["--json"]):
        assert main(["logs", "--data-dir", str(tmp_path), *option]) == 0
        shown = capsys.readouterr().out
        assert all(each.isprintable() for each in shown.split("\n")), shown
    assert msgspec.json.decode(shown.split("\n")[0]) == facts
