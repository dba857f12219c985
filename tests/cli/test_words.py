"""What people type and read: braces, amounts, spans of time, tables without control characters."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.runtime.layout import StartError
from postbusd.cli.api import path_of
from postbusd.cli.braces import MAX_NAMES, expand, expand_all
from postbusd.cli.common import clean, fail, format_amount, format_table, parse_amount
from postbusd.cli.domain_relay import split_relay
from postbusd.cli.objects import UsageError
from postbusd.cli.times import format_span, format_time, parse_moment


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("kim@demo.example", ["kim@demo.example"]),
        ("u{1..3}@d", ["u1@d", "u2@d", "u3@d"]),
        ("u{3..1}", ["u3", "u2", "u1"]),
        ("u{08..10}", ["u08", "u09", "u10"]),
        ("u{1..03}", ["u01", "u02", "u03"]),
        ("{a,b}{1..2}", ["a1", "a2", "b1", "b2"]),
        ("{a,}x", ["ax", "x"]),
        ("{a}", ["{a}"]),
        ("{1..}", ["{1..}"]),
        ("{a..c}", ["{a..c}"]),
        ("{", ["{"]),
        ("{5..5}", ["5"]),
        ("", [""]),
    ],
)
def test_braces_are_expanded_as_shells_do(text: str, names: list[str]) -> None:
    assert expand(text) == names


def test_every_name_comes_once_in_order() -> None:
    assert expand_all(["b", "{a,b}", "c", "a"]) == ["b", "a", "c"]


@pytest.mark.parametrize("text", ["{1..10001}", "{1..200}{1..200}", "{0..999999999}", "{1..100}" * 50])
def test_too_many_names_are_refused_before_they_are_made(text: str) -> None:
    with pytest.raises(StartError, match="10000"):
        expand(text)
    with pytest.raises(StartError):
        expand_all([f"a{{1..{MAX_NAMES}}}", "b"])


@given(st.text(alphabet="{},.0123a", max_size=12))
def test_any_text_expands_to_something(text: str) -> None:
    try:
        assert expand(text)
    except StartError:
        pass


@pytest.mark.parametrize(
    ("text", "octets"),
    [("5G", 5 << 30), ("500M", 500 << 20), ("1.5k", 1536), ("7", 7), ("2TiB", 2 << 40), ("unlimited", 0), ("0", 0)],
)
def test_amounts(text: str, octets: int) -> None:
    assert parse_amount(text) == octets


@pytest.mark.parametrize("text", ["", "G", "-1", "1.5", "5 G", "5X", "1e9", "٣G"])
def test_wrong_amounts(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_amount(text)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_amounts_are_shown_as_they_may_be_typed(octets: int) -> None:
    shown = format_amount(octets)
    assert abs(parse_amount(shown) - octets) <= octets * 0.06


def test_spans_and_moments() -> None:
    assert [format_span(ms) for ms in (-5, 0, 59_999, 60_000, 7_300_000, 90_000_000)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "1 d",
    ]
    assert parse_moment("2h", 7_200_000) == "1970-01-01T00:00:00+00:00"
    assert parse_moment("2026-03-01T10:00:00+01:00", 0) == "2026-03-01T09:00:00+00:00"
    assert len(format_time(1_790_000_000_123)) == len("2026-03-01 10:00:00")
    assert format_time(1_790_000_000_123, milliseconds=True).endswith(".123")
    for text in ("", "yesterday", "2 h", "5y"):
        with pytest.raises(UsageError):
            parse_moment(text, 0)


def test_a_relay_is_a_host_with_or_without_a_port() -> None:
    assert split_relay("smart.example") == ("smart.example", 0)
    assert split_relay("smart.example:2525") == ("smart.example", 2525)
    assert split_relay("[2001:db8::1]") == ("2001:db8::1", 0)
    assert split_relay("[2001:db8::1]:25") == ("2001:db8::1", 25)
    for text in ("", ":25", "a:b", "a:70000", "2001:db8::1", "a:²"):
        with pytest.raises(UsageError):
            split_relay(text)


def test_what_other_hosts_say_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert clean("451 \x1b[2Jbye\r\n") == "451 \ufffd[2Jbye\ufffd\ufffd"
    assert "\x1b" not in format_table(["A"], [["\x1b]0;x\x07"]])
    assert fail("queue list", "no \x1b[31m\nred") == 1
    assert capsys.readouterr().err == "postbus queue list: no \ufffd[31m red\n"


def test_names_are_encoded_in_paths() -> None:
    assert path_of("aliases", "info*+a@demo.example") == "/api/v1/aliases/info*+a@demo.example"
    assert path_of("users", "a/../b?c#d e%", "x") == "/api/v1/users/a%2F..%2Fb%3Fc%23d%20e%25/x"
    assert path_of("users", "жар") == "/api/v1/users/%D0%B6%D0%B0%D1%80"
