"""The mark by which a list knows a message that it has distributed."""

import pytest

from postbus.core.lists import has_seen, list_of_bounce_path, make_mark

BOUNCES = "team-bounces@demo.example"


@pytest.mark.parametrize(
    ("bounce_path", "mailing_list"),
    [
        (BOUNCES, "team@demo.example"),
        ("a-bounces-bounces@demo.example", "a-bounces@demo.example"),
        ("kim@demo.example", ""),
        ("-bounces@demo.example", ""),
        ("bounces@demo.example", ""),
        ("", ""),
    ],
)
def test_a_bounce_path_names_its_list(bounce_path: str, mailing_list: str) -> None:
    assert list_of_bounce_path(bounce_path) == mailing_list


def test_a_mark_is_one_field_and_only_a_list_makes_it() -> None:
    assert make_mark(BOUNCES) == b"Delivered-To: team@demo.example\r\n"
    assert make_mark("kim@demo.example") == make_mark("") == b""


@pytest.mark.parametrize(
    ("mark", "seen"),
    [
        (b"team@demo.example", True),
        (b" Team@Demo.Example ", True),
        (b"<team@demo.example>", True),
        (b"team@demo.example.net", False),
        (b"other@demo.example, team@demo.example", False),
        (b"team-bounces@demo.example", False),
        (b"", False),
        (b"\xff\x00", False),
    ],
)
def test_a_list_knows_its_own_mark(mark: bytes, seen: bool) -> None:
    assert has_seen(BOUNCES, [b"kim@demo.example", mark]) is seen
    assert not has_seen("kim@demo.example", [mark])
    assert not has_seen("", [b"", mark])
