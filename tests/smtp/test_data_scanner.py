"""DATA: only CRLF.CRLF ends it, and cutting the octets differently changes nothing."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postbus.smtp import data, replies
from postbus.smtp.data import DataScanner
from postbus.smtp.replies import Reply

LIMIT = 60


def scan(chunks: list[bytes], limit: int = LIMIT) -> tuple[bytes, bytes | None, int, Reply | None]:
    scanner = DataScanner(limit)
    content = b""
    for number, chunk in enumerate(chunks):
        scanned = scanner.feed(chunk)
        content += scanned.content
        if scanned.rest is not None:
            return content, scanned.rest + b"".join(chunks[number + 1 :]), scanner.octets, scanner.refusal
    return content, None, scanner.octets, scanner.refusal


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"\r\n..\r\n\r\n.\r\n", b"\r\n.\r\n\r\n"),
    ],
)
def test_transparency_dots_are_removed(wire: bytes, content: bytes) -> None:
    assert scan([wire + b"QUIT\r\n"]) == (content, b"QUIT\r\n", len(content), None)


@pytest.mark.parametrize(
    "end",
    [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\r\n.\r\n"],
)
def test_nothing_else_ends_the_text(end: bytes) -> None:
    smuggled = b"a" + end + b"MAIL FROM:<evil@evil.example>\r\n"
    content, rest, _, refusal = scan([smuggled, b".\r\n"], limit=1000)
    if end == b"\r\r\n.\r\n":
        assert rest == b"MAIL FROM:<evil@evil.example>\r\n.\r\n"
    else:
        assert rest == b""
    assert refusal in {replies.BARE_LINE_BREAK_IN_TEXT, replies.NUL_IN_TEXT}
    assert b"evil" not in content


def test_size_is_refused_after_the_end_without_storing() -> None:
    content, rest, octets, refusal = scan([b"a" * 50 + b"\r\n"] * 3 + [b".\r\nNOOP\r\n"])
    assert (len(content), rest, octets, refusal) == (50, b"NOOP\r\n", 156, replies.MESSAGE_TOO_BIG)


def test_size_limit_is_inclusive() -> None:
    assert scan([b"a" * 58 + b"\r\n.\r\n"])[3] is None
    assert scan([b"a" * 59 + b"\r\n.\r\n"])[3] is replies.MESSAGE_TOO_BIG


def test_line_limit_is_inclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_TEXT_LINE_OCTETS", 10)
    for size, refusal in ((10, None), (11, replies.TEXT_LINE_TOO_LONG)):
        wire = b"x\r\n" + b"a" * size + b"\r\ny\r\n.\r\n"
        assert scan([wire])[3] is refusal
        assert scan([bytes([octet]) for octet in wire])[3] is refusal


WIRE = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b"\0", b"bc", b"\r\n.\r\n", b"..", b"QUIT\r\n"]), max_size=30
).map(b"".join)


@given(WIRE, st.lists(st.integers(0, 60), max_size=10))
@example(b"a\r\n.\r\nQUIT\r\n", list(range(13)))
@settings(max_examples=300, deadline=None)
def test_any_chunking_gives_the_same_result(wire: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted({min(cut, len(wire)) for cut in cuts}), len(wire)]
    chunks = [wire[start:end] for start, end in itertools.pairwise(edges)]
    whole = scan([wire])
    assert_same(scan(chunks), whole)
    assert_same(scan([bytes([octet]) for octet in wire]), whole)


def assert_same(
    got: tuple[bytes, bytes | None, int, Reply | None], want: tuple[bytes, bytes | None, int, Reply | None]
) -> None:
    assert got[1:] == want[1:]
    if want[3] is None:
        assert got[0] == want[0]


@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_stuffed_text_comes_back(text: bytes) -> None:
    lines = text.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"").split(b" ")
    content = b"\r\n".join(lines) + b"\r\n"
    wire = b"".join(b"." + line + b"\r\n" if line.startswith(b".") else line + b"\r\n" for line in lines) + b".\r\n"
    assert scan([wire], limit=1000) == (content, b"", len(content), None)
