"""The client engine: golden transcripts, one transition table, any chunking, any garbage, nothing injected."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.core.address import Address, parse_address
from postbus.core.errors import LocalProtocolError, RemoteProtocolError
from postbus.smtp.client import ClientEngine, ConnectionClosed, Content, EndOfData, ReplyReceived
from postbus.smtp.client_format import format_command
from postbus.smtp.client_states import CLIENT_TRANSITIONS, ClientState, next_client_state
from postbus.smtp.commands import Hello, Mail, Rcpt, Simple, Verb, parse_command, split_command
from postbus.smtp.data import DataScanner
from postbus.smtp.engine import NEED_DATA, SaslResponse
from postbus.smtp.limits import MAX_REPLY_LINE_OCTETS, MAX_REPLY_OCTETS
from postbus.smtp.parameters import Body

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("client_*.txt"))
ANN = parse_address("ann@demo.example")


def describe(engine: ClientEngine) -> str:
    event = engine.next_event()
    match event:
        case ReplyReceived():
            verb = "unasked" if event.verb is None else event.verb.value
            code = f"{event.reply.code} {event.reply.enhanced}".strip()
            return f"{verb} {code} -> {engine.state.value}"
        case ConnectionClosed():
            return "closed"
    return "nothing"


class Player:
    """Plays a transcript: C: what we send, S: what comes, E: the event, D: content, W: content on the wire,

    R: a SASL response, X: what happens to the connection.
    """

    def __init__(self, newline: bytes) -> None:
        self.engine = ClientEngine()
        self.newline = newline
        self.wire = b""

    def play(self, line: str) -> None:
        mark, _, text = line.partition(" ")
        match mark:
            case "S:":
                self.engine.receive_data(text.encode() + self.newline)
            case "E:":
                assert describe(self.engine) == text
            case "D:":
                self.wire += self.engine.send(Content(text.encode() + b"\r\n"))
            case "W:":
                wanted = text.encode() + b"\r\n"
                assert self.wire.startswith(wanted)
                self.wire = self.wire.removeprefix(wanted)
            case "R:":
                assert self.engine.send(SaslResponse(line=text.encode())) == text.encode() + b"\r\n"
            case "X:" if text == "TLS begins":
                self.engine.start_again()
            case "X:":
                self.engine.receive_data(b"")
            case "C:" if text == ".":
                assert self.wire == b""
                assert self.engine.send(EndOfData()) == b".\r\n"
            case "C:":
                verb, rest = split_command(text.encode())
                command = parse_command(verb, rest, extended=True, smtputf8=True)
                assert self.engine.send(command) == text.encode() + b"\r\n"
            case _:
                assert not line or line.startswith("#"), line


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"], ids=["crlf", "lf"])
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_golden_transcript(path: Path, newline: bytes) -> None:
    player = Player(newline)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            player.play(line)
        except AssertionError as error:
            raise AssertionError(f"{path.name}:{number}: {line}") from error


def greeted(*extensions: str) -> ClientEngine:
    engine = ClientEngine()
    engine.receive_data(b"220 mx.peer.example\r\n")
    engine.next_event()
    engine.send(Hello(extended=True, domain="mail.demo.example"))
    lines = ["mx.peer.example", *extensions]
    reply = "".join(f"250{' ' if number == len(lines) else '-'}{line}\r\n" for number, line in enumerate(lines, 1))
    engine.receive_data(reply.encode())
    engine.next_event()
    assert engine.state is ClientState.GREETED
    return engine


def test_what_is_offered_is_read_in_any_case_and_order() -> None:
    known = greeted("size", "x-foo bar", "auth plain Login", "SMTPUTF8", "EnhancedStatusCodes", "").capabilities
    assert (known.size, known.auth, known.smtputf8, known.enhanced_status_codes) == (0, ("PLAIN", "LOGIN"), True, True)
    assert (known.pipelining, known.dsn, known.starttls, known.eight_bit_mime) == (False,) * 4
    assert greeted("SIZE 1000").capabilities.size == 1000
    assert greeted("SIZE lots").capabilities.size == 0
    assert greeted().capabilities.size is None


def test_without_pipelining_one_command_waits_for_the_other() -> None:
    engine = greeted()
    engine.send(Mail(reverse_path=ANN))
    with pytest.raises(LocalProtocolError, match="before the answer to MAIL"):
        engine.send(Rcpt(forward_path=ANN))


def test_data_ends_a_group() -> None:
    engine = greeted("PIPELINING")
    engine.send(Mail(reverse_path=None))
    engine.send(Rcpt(forward_path=ANN))
    engine.send(Simple(verb=Verb.DATA))
    for command in (Mail(reverse_path=None), Simple(verb=Verb.QUIT), EndOfData(), Content(b"x")):
        with pytest.raises(LocalProtocolError):
            engine.send(command)


@pytest.mark.parametrize(
    "command",
    [Rcpt(forward_path=ANN), Simple(verb=Verb.DATA), EndOfData(), Content(b"x"), SaslResponse(line=b"")],
)
def test_what_is_out_of_sequence_is_not_sent(command: Rcpt | Simple | EndOfData | Content | SaslResponse) -> None:
    with pytest.raises(LocalProtocolError):
        greeted("PIPELINING").send(command)


@pytest.mark.parametrize(
    "command",
    [
        Mail(reverse_path=None, envid="a\r\nRCPT"),
        Mail(reverse_path=None, envid="a b"),
        Mail(reverse_path=None, ret="FULL\n"),
        Mail(reverse_path=Address(local_part="a\r\nDATA", domain="demo.example")),
        Rcpt(forward_path=Address(local_part="a", domain="x>\r\nQUIT\r\n")),
        Rcpt(forward_path=ANN, orcpt="rfc822;a b"),
        Rcpt(forward_path=ANN, notify=("NEVER\r\n",)),
        Hello(extended=True, domain="a b"),
        Hello(extended=True, domain="x" * 5000),
    ],
)
def test_nothing_gets_out_as_another_command(command: Mail | Rcpt | Hello) -> None:
    with pytest.raises(LocalProtocolError):
        greeted("PIPELINING").send(command)


def test_421_closes_from_every_state() -> None:
    for state, verbs in CLIENT_TRANSITIONS.items():
        for verb in verbs:
            assert next_client_state(state, verb, 421) is ClientState.CLOSED


def test_plain_text_behind_starttls_ends_the_session() -> None:
    engine = greeted("STARTTLS")
    engine.send(Simple(verb=Verb.STARTTLS))
    engine.receive_data(b"220 go\r\n250 mx.evil.example\r\n")
    assert describe(engine) == "STARTTLS 220 -> securing"
    with pytest.raises(RemoteProtocolError):
        engine.start_again()
    assert engine.state is ClientState.CLOSED


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n",
        b"199 early\r\n",
        b"600 late\r\n",
        b"2500 long\r\n",
        b"354 go on\r\n",
        b"250-one\r\n251 two\r\n",
        b"2" + b"x" * MAX_REPLY_LINE_OCTETS,
        b"250-" + b"x" * 100 + b"\r\n" + b"250-y\r\n" * (MAX_REPLY_OCTETS // 6),
        b"\r\n",
    ],
)
def test_no_reply_is_told_and_ends_the_session(wire: bytes) -> None:
    engine = greeted("PIPELINING")
    engine.send(Mail(reverse_path=None))
    engine.receive_data(wire)
    with pytest.raises(RemoteProtocolError):
        engine.next_event()
    assert engine.state is ClientState.CLOSED
    assert engine.next_event() is NEED_DATA


def test_an_answer_that_nobody_asked_for_ends_the_session() -> None:
    engine = greeted()
    engine.receive_data(b"250 by the way\r\n")
    with pytest.raises(RemoteProtocolError):
        engine.next_event()


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="+="), max_size=20)
ADDRESSES = st.builds(
    lambda local_part: Address(local_part=local_part, domain="demo.example"),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30) | st.just("jörg"),
)


@given(
    st.builds(
        Mail,
        reverse_path=st.none() | ADDRESSES,
        size=st.none() | st.integers(0, 10**9),
        body=st.sampled_from(Body),
        smtputf8=st.just(True),
        ret=st.sampled_from(["", "FULL", "HDRS"]),
        envid=WORDS,
        auth=WORDS,
    )
    | st.builds(
        Rcpt,
        forward_path=st.none() | ADDRESSES,
        notify=st.sampled_from([(), ("NEVER",), ("DELAY", "SUCCESS")]),
        orcpt=st.just("") | WORDS.filter(bool).map("rfc822;{}".format),
    )
)
@settings(max_examples=150, deadline=None)
def test_our_own_server_reads_what_is_formatted(command: Mail | Rcpt) -> None:
    verb, rest = split_command(format_command(command).removesuffix(b"\r\n"))
    assert parse_command(verb, rest, extended=True, smtputf8=True) == command


def stuff(content: bytes, *cuts: int) -> bytes:
    engine = greeted("PIPELINING")
    for command in (Mail(reverse_path=None), Rcpt(forward_path=ANN), Simple(verb=Verb.DATA)):
        engine.send(command)
    engine.receive_data(b"250 a\r\n250 b\r\n354 c\r\n")
    while engine.next_event() is not NEED_DATA:
        pass
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    wire = b"".join(engine.send(Content(content[start:end])) for start, end in itertools.pairwise(edges))
    return wire + engine.send(EndOfData())


def test_transparency() -> None:
    assert stuff(b"") == b".\r\n"
    assert stuff(b"a") == b"a\r\n.\r\n"
    assert stuff(b".\r\n..\r\n", 0, 1, 2, 3, 4) == b"..\r\n...\r\n.\r\n"


@given(
    st.lists(st.sampled_from([b"\r\n", b".", b"..", b"a", b"text", b"\r\n."]), max_size=30).map(b"".join),
    st.lists(st.integers(0, 60), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_our_own_server_reads_back_what_was_written(content: bytes, cuts: list[int]) -> None:
    wire = stuff(content, *cuts)
    assert wire == stuff(content)
    scanner = DataScanner(10_000)
    scanned = scanner.feed(wire)
    assert scanned.rest == b""
    assert scanner.refusal is None
    assert scanned.content == (content if not content or content.endswith(b"\r\n") else content + b"\r\n")


REPLIES = st.lists(
    st.sampled_from(
        [
            b"220 mx\r\n",
            b"250-mx\r\n250-PIPELINING\r\n250 DSN\r\n", b"250 2.1.0 ok\r\n", b"354 go\n", b"550 5.1.1 no\r\n",
            b"421 4.3.2 bye\r\n", b"250-x\r\n", b"\xff\xfe\r\n", b"334 \r\n", b"250", b"\r", b"\n", b"x" * 5000,
        ]
    ),
    max_size=12,
)  # fmt: skip


def events(chunks: list[bytes]) -> list[str]:
    """The events of a session that sends a group as soon as it may, and reads after every chunk."""
    engine = ClientEngine()
    told: list[str] = []
    for chunk in chunks:
        engine.receive_data(chunk)
        try:
            while (line := describe(engine)) != "nothing":
                told.append(line)
                answer(engine)
        except RemoteProtocolError as error:
            told.append(f"error: {error}")
    return told


def answer(engine: ClientEngine) -> None:
    if engine.awaits_reply:
        return
    match engine.state:
        case ClientState.CONNECTED:
            engine.send(Hello(extended=True, domain="mail.demo.example"))
        case ClientState.GREETED if engine.capabilities.pipelining:
            for command in (Mail(reverse_path=None), Rcpt(forward_path=ANN), Simple(verb=Verb.DATA)):
                engine.send(command)
        case ClientState.GREETED:
            engine.send(Mail(reverse_path=None))
        case ClientState.DATA | ClientState.EMPTY_DATA:
            engine.send(EndOfData())
        case ClientState.MAIL | ClientState.RCPT | ClientState.REFUSED:
            engine.send(Simple(verb=Verb.RSET))


@given(REPLIES, st.lists(st.integers(0, 6000), max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_chunking_gives_the_same_events(lines: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(lines)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[start:end] for start, end in itertools.pairwise(edges) if start < end]
    assert events(pieces) == events([wire] if wire else [])


@given(st.lists(st.binary(max_size=100), max_size=8))
@settings(max_examples=150, deadline=None)
def test_garbage_gives_events_or_a_protocol_error_only(chunks: list[bytes]) -> None:
    events([b"220 mx\r\n", *chunks])
