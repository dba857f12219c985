"""The engine: states, literals, limits, and the robustness contract (house-style §10)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.core.errors import LocalProtocolError, RemoteProtocolError
from postbus.imap.command import Command
from postbus.imap.commands.append import Append
from postbus.imap.commands.login import Authenticate, Login
from postbus.imap.commands.session import Logout, Noop
from postbus.imap.engine import NEED_DATA, CommandRefused, Engine, Event, Line, NeedData
from postbus.imap.framer import FrameLimits, LiteralWanted
from postbus.imap.limits import (
    MAX_DISCARDED_OCTETS_BEFORE_LOGIN,
    MAX_ERRORS_BEFORE_LOGIN,
    MAX_LINE_OCTETS,
    MAX_LINE_OCTETS_BEFORE_LOGIN,
    MAX_UNANNOUNCED_OCTETS,
)
from postbus.imap.transitions import TRANSITIONS, State

FAST = settings(max_examples=60, deadline=None, derandomize=True)


def drain_events(engine: Engine) -> list[Event]:
    """All events up to NeedData; every command succeeds, AUTHENTICATE takes one line."""
    events: list[Event] = []
    while True:
        try:
            event = engine.next_event()
        except RemoteProtocolError as error:
            events.append(CommandRefused(tag=None, text=f"BYE {error}"))
            return events
        if isinstance(event, NeedData):
            return events
        events.append(event)
        if isinstance(event, Authenticate):
            engine.expect_line()
        elif isinstance(event, (Line, Command)):
            engine.complete(ok=True)


def feed(data: bytes, sizes: list[int] | None = None, logged_in: bool = False) -> list[Event]:
    engine = Engine(max_append_octets=300_000)
    events: list[Event] = []
    if logged_in:
        data = b"l LOGIN a b\r\n" + data
    for size in [*(sizes or []), len(data)]:
        chunk, data = data[:size], data[size:]
        engine.receive_data(chunk)
        events += drain_events(engine)
        if events and isinstance(events[-1], CommandRefused) and events[-1].text.startswith("BYE"):
            break
    return events


def test_a_login_moves_to_authenticated() -> None:
    engine = Engine()
    engine.receive_data(b'a LOGIN ann "pass \\"word\\""\r\n')
    event = engine.next_event()
    assert event == Login(tag=b"a", username="ann", password='pass "word"')
    engine.complete(ok=True)
    assert engine.state is State.AUTHENTICATED


def test_a_refused_login_stays() -> None:
    engine = Engine()
    engine.receive_data(b"a LOGIN ann x\r\n")
    engine.next_event()
    engine.complete(ok=False)
    assert engine.state is State.NOT_AUTHENTICATED


def test_a_synchronizing_literal_asks_to_be_sent_and_the_other_does_not() -> None:
    assert feed(b"a LOGIN {3}\r\nann {1+}\r\nx\r\n") == [
        LiteralWanted(octets=3),
        Login(tag=b"a", username="ann", password="x"),
    ]


def test_a_large_literal_that_comes_at_once_is_told_before_it_is_read() -> None:
    size = MAX_UNANNOUNCED_OCTETS + 1
    engine = Engine()
    engine.receive_data(b"a LOGIN ann x\r\n")
    engine.next_event()
    engine.complete(ok=True)
    engine.receive_data(b"b APPEND INBOX {%d+}\r\n" % size)
    assert engine.next_event() == LiteralWanted(octets=size, waits=False)
    assert engine.next_event() == NEED_DATA
    engine.receive_data(b"x" * size + b"\r\n")
    assert isinstance(engine.next_event(), Append)


def test_commands_of_other_states_are_refused() -> None:
    assert feed(b"a FETCH 1 FLAGS\r\n") == [CommandRefused(tag=b"a", text="Not while not authenticated")]


def test_an_unknown_command_keeps_its_tag_and_a_missing_tag_has_none() -> None:
    refused = [event for event in feed(b"a1 XYZZY\r\n\r\n* x\r\n") if isinstance(event, CommandRefused)]
    assert [event.tag for event in refused] == [b"a1", None, None]


def test_too_many_errors_end_the_session() -> None:
    events = feed(b"\r\n" * (MAX_ERRORS_BEFORE_LOGIN + 3))
    assert len(events) == MAX_ERRORS_BEFORE_LOGIN + 1
    assert events[-1] == CommandRefused(tag=None, text="BYE Too many errors")


def test_a_line_over_the_limit_is_refused_and_the_next_command_stands() -> None:
    events = feed(b"a1 NOOP " + b"x" * MAX_LINE_OCTETS_BEFORE_LOGIN + b"\r\nb NOOP\r\n")
    assert events == [CommandRefused(tag=b"a1", text="The line is too long"), Noop(tag=b"b")]


def test_longer_lines_are_welcome_after_login() -> None:
    line = b"a ID (" + b" ".join([b'"k" "v"'] * 5) + b")" + b" " * (MAX_LINE_OCTETS - 100)
    assert isinstance(feed(line + b"\r\n", logged_in=True)[1], Command)


def test_a_literal_over_the_limit_is_refused_at_once_or_skipped() -> None:
    assert feed(b"a LOGIN {70000}\r\nb NOOP\r\n") == [
        CommandRefused(tag=b"a", text="The literal is too large"),
        Noop(tag=b"b"),
    ]
    assert feed(b"a LOGIN {70000+}\r\n" + b"\n" * 70000 + b" x\r\nb NOOP\r\n") == [
        CommandRefused(tag=b"a", text="The literal is too large"),
        Noop(tag=b"b"),
    ]


def test_an_append_has_its_own_limit() -> None:
    message = b"x" * 200_000
    events = feed(b"a APPEND INBOX {200000+}\r\n" + message + b"\r\n", logged_in=True)
    assert isinstance(events[1], Append)
    assert events[1].message == message
    assert feed(b"a APPEND INBOX {400000}\r\n", logged_in=True)[1] == CommandRefused(
        tag=b"a", text="The message is too large", status=b"NO", code=b"TOOBIG"
    )


def test_a_sasl_response_is_a_line() -> None:
    assert feed(b"a AUTHENTICATE PLAIN\r\nAGEAYg==\r\nb NOOP\r\n") == [
        Authenticate(tag=b"a", mechanism=b"PLAIN", initial=None),
        Line(data=b"AGEAYg=="),
        Noop(tag=b"b"),
    ]


def test_what_came_before_tls_is_thrown_away() -> None:
    engine = Engine()
    engine.receive_data(b"a STARTTLS\r\nb LOGIN ann x\r\n")
    engine.next_event()
    engine.complete(ok=True)
    assert engine.discard_input() == len(b"b LOGIN ann x\r\n")
    assert engine.next_event() == NeedData()


def test_using_it_wrongly_is_our_bug() -> None:
    engine = Engine()
    with pytest.raises(LocalProtocolError):
        engine.complete(ok=True)
    with pytest.raises(LocalProtocolError):
        engine.expect_line()
    engine.receive_data(b"a NOOP\r\n")
    engine.next_event()
    with pytest.raises(LocalProtocolError):
        engine.next_event()


def test_every_state_but_logout_allows_to_log_out() -> None:
    assert set(TRANSITIONS[Logout]) == set(State) - {State.LOGOUT}
    assert all(State.LOGOUT not in rows for rows in TRANSITIONS.values())


SESSION = (
    b"a CAPABILITY\r\nb LOGIN {3}\r\nann {4+}\r\npass\r\n\r\nc SELECT INBOX\r\n"
    b"d UID FETCH 1:* (FLAGS BODY.PEEK[1.2.MIME]<0.9>)\n"
    b"e SEARCH RETURN (MIN) OR SEEN (FROM {5}\r\nalice)\r\nf APPEND INBOX {9+}\r\nA: b\r\n\r\nc\r\n"
    b"g LOGIN {9999999}\r\nh STORE 1 +FLAGS (\\Seen)\r\ni AUTHENTICATE\r\nj BOGUS {200000+}\r\n"
    + b"z"
    * 200_000
    + b"\r\n"
    b"k " + b"y" * 70_000 + b"\r\nl NOOP\r\n"
)


@FAST
@given(st.lists(st.integers(1, 40), max_size=40) | st.lists(st.integers(1, 70_000), max_size=10))
def test_any_chunking_gives_the_same_events(sizes: list[int]) -> None:
    assert feed(SESSION, sizes) == feed(SESSION)


def test_octet_by_octet_gives_the_same_events() -> None:
    head = SESSION[:600]
    assert feed(head, [1] * len(head)) == feed(head)


WORDS = st.sampled_from(
    [
        b"FETCH",
        b"UID",
        b"SEARCH",
        b"STORE",
        b"(",
        b")",
        b"[",
        b"]",
        b"<",
        b"1:*",
        b"BODY[",
        b"HEADER.FIELDS",
        b'"',
        b"\\",
        b"{3}\r\n",
        b"{1+}\r\nx",
        b"NOT",
        b"OR",
        b"SINCE",
        b"1-Feb-2026",
        b"a",
        b"LIST",
        b"&",
        b"%",
        b"APPEND",
        b"\r\n",
        b" ",
        b"STATUS",
        b"RETURN",
        b"CHARSET",
        b"LOGIN",
        b"AUTHENTICATE",
        b"ID",
        b"NIL",
        b"\x00",
        b"\xff",
        b"<0.1>",
        b"FLAGS",
    ]
)


@FAST
@given(st.lists(st.lists(WORDS, max_size=8).map(b" ".join), max_size=6).map(b"\r\n".join) | st.binary(max_size=200))
def test_any_garbage_gives_events(data: bytes) -> None:
    for event in feed(data + b"\r\n", logged_in=True):
        assert isinstance(event, Command | CommandRefused | LiteralWanted | Line)


@FAST
@given(
    st.sampled_from([b"FETCH 1 ", b"SEARCH ", b"UID SEARCH RETURN ", b"STORE 1 ", b"LIST ", b"APPEND x ", b"ID "]),
    st.data(),
)
def test_any_garbage_after_a_command_gives_events(name: bytes, data: st.DataObject) -> None:
    rest = data.draw(st.lists(WORDS, max_size=10).map(b" ".join))
    assert feed(b"s SELECT INBOX\r\na " + name + rest + b"\r\n", logged_in=True)


@pytest.mark.parametrize(
    "flood",
    [
        b"a LOGIN {999999999+}\r\n",
        b"a LOGIN " + b"x" * (MAX_DISCARDED_OCTETS_BEFORE_LOGIN + 100),
        b"x" * (MAX_DISCARDED_OCTETS_BEFORE_LOGIN + 100),
        b"a AUTHENTICATE PLAIN\r\n" + b"x" * (MAX_DISCARDED_OCTETS_BEFORE_LOGIN + 100),
    ],
)
@pytest.mark.parametrize("size", [4096, 10_000_000])
def test_more_than_can_be_thrown_away_ends_in_bye(flood: bytes, size: int) -> None:
    engine = Engine()
    events: list[Event] = []
    for start in range(0, len(flood), size):
        engine.receive_data(flood[start : start + size])
        events += drain_events(engine)
        if events and getattr(events[-1], "text", "").startswith("BYE"):
            return
    raise AssertionError(f"still there: {events}")


def test_what_is_thrown_away_is_counted_for_each_command() -> None:
    long_line = b"a NOOP " + b"x" * 50_000 + b"\r\n"
    for chunks in ([long_line] * 4, [long_line[at : at + 999] for at in range(0, len(long_line), 999)] * 4):
        engine = Engine()
        engine.receive_data(b"a LOGIN a b\r\n")
        drain_events(engine)
        engine._framer.limits = FrameLimits(line=1_000, discarded=60_000)  # the limits of a login, smaller
        refused: list[Event] = []
        for chunk in chunks:
            engine.receive_data(chunk)
            refused += drain_events(engine)
        assert [type(event) for event in refused] == [CommandRefused] * 4
        assert all("too long" in event.text for event in refused if isinstance(event, CommandRefused))
