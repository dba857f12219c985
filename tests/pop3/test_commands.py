"""Command lines and messages of POP3."""

import poplib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.core.errors import RemoteProtocolError
from postbus.pop3.commands import Command, Verb, parse_command
from postbus.pop3.replies import Stuffing, format_error, format_lines, format_ok


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"stat", Command(verb=Verb.STAT)),
        (b"LIST", Command(verb=Verb.LIST)),
        (b"List 7", Command(verb=Verb.LIST, numbers=(7,))),
        (b"TOP 1 0", Command(verb=Verb.TOP, numbers=(1, 0))),
        (b"USER kim@demo.example", Command(verb=Verb.USER, text="kim@demo.example")),
        ("PASS a  b ü ".encode(), Command(verb=Verb.PASS, text="a  b ü ")),
        (b"AUTH PLAIN AGE=", Command(verb=Verb.AUTH, words=("PLAIN", "AGE="))),
        (b"AUTH", Command(verb=Verb.AUTH)),
        (b"NOOP ", Command(verb=Verb.NOOP)),
    ],
)
def test_what_is_understood(line: bytes, command: Command) -> None:
    assert parse_command(line) == command


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "unknown"),
        (b"XTND XMIT", "unknown"),
        (b"\xff", "unknown"),
        (b"STAT 1", "takes 0"),
        (b"RETR", "takes 1"),
        (b"LIST 1 2", "takes 0 or 1"),
        (b"TOP 1", "takes 2"),
        (b"RETR one", "is no number"),
        (b"RETR -1", "is no number"),
        ("RETR ١".encode(), "is no number"),
        (b"RETR 99999999999", "is no number"),
        (b"PASS \xff", "not UTF-8"),
        (b"PASS a\0b", "NUL"),
    ],
)
def test_what_is_not(line: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        parse_command(line)


@given(st.binary(max_size=60))
def test_any_line_is_answered(line: bytes) -> None:
    try:
        parse_command(line)
    except RemoteProtocolError:
        return


def test_replies() -> None:
    assert format_ok() == b"+OK\r\n"
    assert format_ok("2 320") == b"+OK 2 320\r\n"
    assert format_error("another session has it", "IN-USE") == b"-ERR [IN-USE] another session has it\r\n"
    assert format_lines("two", ["1 10", "2 20"]) == b"+OK two\r\n1 10\r\n2 20\r\n.\r\n"


def read_back(data: bytes) -> bytes:
    """As Python's own client does."""
    lines = data.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    return b"".join((line[1:] if line.startswith(b"..") else line) + b"\r\n" for line in lines[:-2])


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\n", b"..", b"\r\n.\r\n", b"x" * 20]), max_size=30), st.data())
def test_a_message_reads_back_in_whatever_pieces_it_came(words: list[bytes], data: st.DataObject) -> None:
    content = b"".join(words)
    stuffing, sent, at = Stuffing(), b"", 0
    while at < len(content):
        end = data.draw(st.integers(at + 1, len(content)))
        sent += stuffing.feed(content[at:end])
        at = end
    sent += stuffing.end()
    whole = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert read_back(sent) == (whole if not whole or whole.endswith(b"\r\n") else whole + b"\r\n")
    assert sent.count(b"\r\n.\r\n") + sent.startswith(b".\r\n") == 1
    assert poplib.CRLF == b"\r\n"
