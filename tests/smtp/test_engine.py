"""The session engine: one transition table, replies in order, any chunking, any garbage."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.core.errors import LocalProtocolError
from postbus.smtp import replies
from postbus.smtp.commands import Auth, Hello, Mail, Rcpt, Simple, Verb
from postbus.smtp.engine import NEED_DATA, BadCommand, DataChunk, DataEnd, SaslResponse, ServerEngine
from postbus.smtp.limits import MAX_AUTH_LINE_OCTETS, MAX_COMMAND_LINE_OCTETS, MAX_DISCARDED_OCTETS
from postbus.smtp.replies import Reply
from postbus.smtp.states import TRANSITIONS, State, next_state

BANNER = replies.make_reply(220, "", "mail.demo.example ESMTP")


class Player:
    """Answers every event by a fixed rule and keeps a transcript."""

    def __init__(self, limit: int = 1000) -> None:
        self.engine = ServerEngine(limit)
        self.transcript: list[str] = []
        self.content = b""
        self._answer(BANNER, "connect")

    def feed(self, data: bytes) -> None:
        self.engine.receive_data(data)
        while (event := self.engine.next_event()) is not NEED_DATA:
            match event:
                case DataChunk():
                    self.content += event.content
                case BadCommand():
                    self._answer(event.reply, "bad")
                case DataEnd():
                    self._answer(event.refusal or replies.OK, f"end {event.octets}")
                case SaslResponse():
                    self._answer(replies.AUTH_FAILED, f"sasl {event.line!r}")
                case Auth():
                    self._answer(Reply(334, "", ("",)), "auth")
                case Simple(verb=Verb.DATA):
                    self._answer(replies.START_MAIL_INPUT, "data")
                case Simple(verb=Verb.QUIT):
                    self._answer(replies.BYE, "quit")
                case _:
                    self._answer(replies.OK, repr(event))

    def _answer(self, reply: Reply, what: str) -> None:
        sent = self.engine.send(reply)
        assert sent.endswith(b"\r\n")
        self.transcript.append(f"{what} -> {reply.code} {reply.enhanced} [{self.engine.state.value}]")


def codes(player: Player) -> list[str]:
    return [line.split(" -> ")[1] for line in player.transcript]


def test_a_pipelined_session_is_answered_in_order() -> None:
    player = Player()
    player.feed(
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
        b"Subject: x\r\n\r\n..\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\nNOOP\r\n"
    )
    assert codes(player) == [
        "220  [connected]", "250 2.0.0 [greeted]", "250 2.0.0 [mail]", "250 2.0.0 [rcpt]", "354  [data]",
        "250 2.0.0 [greeted]", "250 2.0.0 [mail]", "250 2.0.0 [greeted]", "221 2.0.0 [closed]",
    ]  # fmt: skip
    assert player.content == b"Subject: x\r\n\r\n.\r\n"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (b"MAIL FROM:<>\r\n", "503 5.5.1"),
        (b"STARTTLS\r\n", "503 5.5.1"),
        (b"EHLO x\r\nRCPT TO:<a@b>\r\n", "503 5.5.1"),
        (b"EHLO x\r\nDATA\r\n", "503 5.5.1"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", "503 5.5.1"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nDATA\r\n", "554 5.5.1"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nSTARTTLS\r\n", "503 5.5.1"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nAUTH PLAIN\r\n", "503 5.5.1"),
        (b"NOOP\n", "500 5.5.2"),
        (b"NO\rOP\r\n", "500 5.5.2"),
        (b"EHLO x\r\nMAIL FROM:<>\r\nEHLO x\r\nRCPT TO:<a@b>\r\n", "503 5.5.1"),
    ],
)
def test_out_of_sequence_is_refused_and_changes_nothing(lines: bytes, code: str) -> None:
    player = Player()
    *before, last = lines.split(b"\n")[:-1]
    player.feed(b"".join(line + b"\n" for line in before))
    state = player.engine.state
    player.feed(last + b"\n")
    assert player.transcript[-1].startswith(f"bad -> {code}")
    assert player.engine.state is state


def test_overlong_lines_are_dropped_and_the_session_goes_on() -> None:
    for chunk in (1 << 20, 100):
        player = Player()
        wire = b"NOOP " + b"a" * MAX_COMMAND_LINE_OCTETS + b"\r\nNOOP\r\nAUTH " + b"a" * MAX_AUTH_LINE_OCTETS + b"\r\n"
        for start in range(0, len(wire), chunk):
            player.feed(wire[start : start + chunk])
        assert [code[:9] for code in codes(player)[1:]] == ["500 5.5.2", "250 2.0.0", "500 5.5.6"]


def test_a_command_line_may_have_just_its_limit() -> None:
    player = Player()
    player.feed(b"NOOP " + b"a" * (MAX_COMMAND_LINE_OCTETS - 7) + b"\r\n")
    assert player.transcript[-1].endswith("250 2.0.0 [connected]")


def test_an_endless_line_ends_the_session() -> None:
    player = Player()
    for _ in range(MAX_DISCARDED_OCTETS // 65536 + 2):
        player.feed(b"a" * 65536)
    assert player.transcript[-1] == "bad -> 421 4.7.0 [closed]"


def test_auth_exchange_ends_with_its_reply() -> None:
    player = Player()
    player.feed(b"EHLO x\r\nAUTH LOGIN\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n")
    assert player.transcript[-3:] == [
        "auth -> 334  [auth]",
        "sasl b'MAIL FROM:<>' -> 535 5.7.8 [greeted]",
        f"{Mail(reverse_path=None)!r} -> 250 2.0.0 [mail]",
    ]


def test_upcoming_recipients_are_seen_without_being_taken() -> None:
    engine = ServerEngine(1000)
    engine.send(BANNER)
    engine.receive_data(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nrcpt TO:<c@d>\r\nDATA\r\nRCPT TO:<e@f>\r\n")
    assert isinstance(engine.next_event(), Hello)
    engine.send(replies.OK)
    assert isinstance(engine.next_event(), Mail)
    engine.send(replies.OK)
    assert [command.address for command in engine.upcoming_recipients()] == ["a@b", "c@d"]
    first = engine.next_event()
    assert isinstance(first, Rcpt)
    assert first.address == "a@b"
    assert [command.address for command in engine.upcoming_recipients()] == ["c@d"]


def test_misuse_is_our_bug() -> None:
    engine = ServerEngine(1000)
    with pytest.raises(LocalProtocolError):
        engine.next_event()
    engine.send(BANNER)
    with pytest.raises(LocalProtocolError):
        engine.send(replies.OK)
    engine.send(replies.SHUTTING_DOWN)
    assert engine.state is State.CLOSED


def test_421_closes_from_every_state() -> None:
    for state, verbs in TRANSITIONS.items():
        for verb in verbs:
            assert next_state(state, verb, 421) is State.CLOSED


def test_injected_octets_can_be_discarded() -> None:
    engine = ServerEngine(1000)
    engine.send(BANNER)
    engine.receive_data(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<>\r\n")
    engine.next_event()
    engine.send(replies.OK)
    assert engine.next_event() == Simple(verb=Verb.STARTTLS)
    assert engine.has_buffered_data
    assert engine.discard_buffer() == 14
    engine.send(replies.READY_FOR_TLS)
    assert engine.next_event() is NEED_DATA
    assert engine.state is State.CONNECTED


LINES = st.lists(
    st.sampled_from(
        [
            b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n", b"text\r\n", b".\r\n",
            b"RSET\r\n",
            b"NOOP\n", b"AUTH PLAIN\r\n", b"*\r\n", b"\r", b"\n", b"\r\n", b"..x\r\n", b"STARTTLS\r\n", b"\0\xff",
            b"MAIL FROM:<> SIZE=9\r\n", b"a" * 2100, b"HELO y\r\n", b"AUTH " + b"b" * 3000 + b"\r\n",
        ]
    ),
    max_size=25,
)  # fmt: skip


@given(LINES, st.lists(st.integers(0, 3000), max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_chunking_gives_the_same_transcript(lines: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(lines)
    whole, cut = Player(), Player()
    whole.feed(wire)
    edges = [0, *sorted({min(edge, len(wire)) for edge in cuts}), len(wire)]
    for start, end in itertools.pairwise(edges):
        cut.feed(wire[start:end])
    assert cut.transcript == whole.transcript


@given(st.lists(st.binary(max_size=200), max_size=6))
@settings(max_examples=100, deadline=None)
def test_garbage_only_gives_events(chunks: list[bytes]) -> None:
    player = Player()
    for chunk in chunks:
        player.feed(chunk)
