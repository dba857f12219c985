"""Log files: routed by service, rotated by size and age, never a reason to stop."""

import datetime
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.runtime import supervisor_logs
from postbus.runtime.supervisor_logs import MAX_LINE_OCTETS, LineSplitter, LogFile, LogRouter

DAY = 86400.0
SERVICES = frozenset({"filter", "smtp-edge"})


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b'{"service":"filter","event":"x"}', "filter"),
        (b'{"event":"x","service":"smtp-edge"}', "smtp-edge"),
        (b'{"service":"../../etc/passwd"}', "services-1"),
        (b'{"service":7}', "services-1"),
        (b'{"service":"filter"', "services-1"),
        (b"Traceback (most recent call last):", "services-1"),
    ],
)
def test_lines_go_to_the_service_that_they_name(tmp_path: Path, line: bytes, name: str) -> None:
    router = LogRouter(tmp_path)
    assert router.route("services-1", SERVICES, line) == name
    router.close()
    assert (tmp_path / f"{name}.log").read_bytes() == line + b"\n"


def test_a_full_file_becomes_the_one_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_logs, "MAX_FILE_OCTETS", 100)
    file = LogFile(tmp_path / "a.log")
    for number in range(30):
        file.write(b"%09d\n" % number)
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1"]
    kept = (tmp_path / "a.log.1").read_bytes() + (tmp_path / "a.log").read_bytes()
    assert kept.split() == [b"%09d" % number for number in range(10, 30)]


def test_no_line_stays_longer_than_fourteen_days(tmp_path: Path) -> None:
    start = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC).timestamp()
    router = LogRouter(tmp_path)
    router.file("a").write(b'{"ts":"2026-03-01T10:00:00.000+00:00"}\n')
    router.expire(start + 6 * DAY)
    assert not (tmp_path / "a.log.1").exists()
    router.expire(start + 8 * DAY)
    assert (tmp_path / "a.log.1").exists()
    os.utime(tmp_path / "a.log.1", (start, start))
    router.expire(start + 14 * DAY)
    assert not (tmp_path / "a.log.1").exists()
    router.close()


def test_a_disk_that_takes_nothing_loses_lines_only(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "missing" / "a.log")
    file.write(b"line\n")
    assert file.lost == 1


def test_half_a_line_of_a_disk_that_fills_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    file = LogFile(tmp_path / "a.log")
    file.write(b"first\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
        file.write(b"second\n")
    file.write(b"third\n")
    file.close()
    assert (tmp_path / "a.log").read_bytes() == b"first\nthird\n"
    assert file.lost == 1


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"\n", b"bc\n", b"\n\n", b""])))
def test_any_chunking_gives_the_same_lines(chunks: list[bytes]) -> None:
    splitter = LineSplitter()
    found = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.flush()
    assert found == [line for line in b"".join(chunks).split(b"\n") if line]


def test_an_endless_line_is_cut() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"x" * (MAX_LINE_OCTETS + 1)) == [b"x" * MAX_LINE_OCTETS]
    assert splitter.flush() == []
