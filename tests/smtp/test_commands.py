"""Command lines: what is read, what is refused and with which reply."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.smtp.commands import Auth, Command, Hello, Mail, Rcpt, Simple, Verb, parse_command, split_command
from postbus.smtp.parameters import Body, decode_xtext, encode_xtext
from postbus.smtp.replies import CommandError


def parse(line: bytes, *, extended: bool = True, smtputf8: bool = False) -> Command:
    verb, rest = split_command(line)
    return parse_command(verb, rest, extended=extended, smtputf8=smtputf8)


def refusal(line: bytes, *, extended: bool = True, smtputf8: bool = False) -> str:
    with pytest.raises(CommandError) as caught:
        parse(line, extended=extended, smtputf8=smtputf8)
    return f"{caught.value.reply.code} {caught.value.reply.enhanced}"


def test_mail_takes_every_parameter_we_advertise() -> None:
    command = parse(
        "mail from:<jörg@bücher.example> size=1000 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=a+2Bb AUTH=<>".encode()
    )
    assert isinstance(command, Mail)
    assert str(command.reverse_path) == "jörg@xn--bcher-kva.example"
    assert (command.size, command.body, command.smtputf8) == (1000, Body.EIGHT_BIT, True)
    assert (command.ret, command.envid, command.auth) == ("HDRS", "a+2Bb", "<>")


def test_null_reverse_path_is_none() -> None:
    assert parse(b"MAIL FROM:<>") == Mail(reverse_path=None)


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b"RCPT TO:<ann@Demo.Example>", "ann@demo.example"),
        (b"RCPT TO: <ann@demo.example> ", "ann@demo.example"),
        (b"RCPT TO:<@relay.example,@b.example:ann@demo.example>", "ann@demo.example"),
        (b'RCPT TO:<"ann smith"@demo.example>', '"ann smith"@demo.example'),
        (b'RCPT TO:<"a>b"@demo.example>', '"a>b"@demo.example'),
        (b"RCPT TO:<PostMaster>", "postmaster"),
        (b"rcpt to:<ann@[192.0.2.1]>", "ann@[192.0.2.1]"),
    ],
)
def test_forward_path_is_normalized(line: bytes, address: str) -> None:
    command = parse(line)
    assert isinstance(command, Rcpt)
    assert command.address == address


def test_rcpt_takes_dsn_parameters() -> None:
    command = parse(b"RCPT TO:<ann@demo.example> NOTIFY=success,DELAY ORCPT=rfc822;ann+2B@demo.example")
    assert isinstance(command, Rcpt)
    assert (command.notify, command.orcpt) == (("SUCCESS", "DELAY"), "rfc822;ann+2B@demo.example")


def test_postmaster_is_known_in_any_spelling() -> None:
    for line in (b"RCPT TO:<postmaster>", b"RCPT TO:<POSTMASTER@demo.example>"):
        command = parse(line)
        assert isinstance(command, Rcpt)
        assert command.is_postmaster


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", "500 5.5.1"),
        (b"FOO", "500 5.5.1"),
        (b" EHLO x", "500 5.5.1"),
        (b"MAILFROM:<a@b>", "500 5.5.1"),
        (b"BDAT 10 LAST", "502 5.5.1"),
        (b"GET / HTTP/1.1", "421 4.7.0"),
        (b"NOOP \x00", "500 5.5.2"),
        (b"NOOP \t", "500 5.5.2"),
        (b"NOOP \xff", "500 5.5.2"),
        (b"EHLO", "501 5.5.4"),
        (b"EHLO a b", "501 5.5.4"),
        (b"HELO " + b"a" * 300, "501 5.5.4"),
        (b"DATA now", "501 5.5.4"),
        (b"RSET x", "501 5.5.4"),
        (b"QUIT x", "501 5.5.4"),
        (b"STARTTLS x", "501 5.5.4"),
        (b"VRFY", "501 5.5.4"),
        (b"AUTH", "501 5.5.4"),
        (b"AUTH PLAIN a b", "501 5.5.4"),
        (b"MAIL", "501 5.5.4"),
        (b"MAIL FROM:a b c", "501 5.5.4"),
        (b"MAIL FROM:a@b.example", "501 5.5.4"),
        (b"MAIL FROM <a@b.example>", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example>SIZE=1", "501 5.5.4"),
        (b"MAIL FROM:<a b@b.example>", "501 5.1.7"),
        (b"MAIL FROM:<a@b@c.example>", "501 5.1.7"),
        (b"MAIL FROM:<ann>", "501 5.1.7"),
        (b"MAIL FROM:<@:ann@b.example>", "501 5.1.7"),
        (b"MAIL FROM:<" + b"a" * 600 + b"@b.example>", "501 5.1.7"),
        (b"MAIL FROM:<a@b.example> SIZE=x", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example> SIZE", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example> SIZE=1 size=2", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example> BODY=BINARYMIME", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example> SMTPUTF8=1", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example> RET=NONE", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example> ENVID=" + b"a" * 101, "501 5.5.4"),
        (b"MAIL FROM:<a@b.example> ENVID=a+2b", "501 5.5.4"),
        (b"MAIL FROM:<a@b.example> NOTIFY=NEVER", "555 5.5.4"),
        (b"MAIL FROM:<a@b.example> X-FOO=1", "555 5.5.4"),
        ("MAIL FROM:<jörg@b.example>".encode(), "553 5.6.7"),
        (b"RCPT TO:<>", "501 5.1.3"),
        (b"RCPT TO:<ann>", "501 5.1.3"),
        ("RCPT TO:<ann@bücher.example>".encode(), "553 5.6.7"),
        (b"RCPT TO:<a@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        (b"RCPT TO:<a@b.example> NOTIFY=DELAY,DELAY", "501 5.5.4"),
        (b"RCPT TO:<a@b.example> ORCPT=ann@b.example", "501 5.5.4"),
        (b"RCPT TO:<a@b.example> SIZE=1", "555 5.5.4"),
    ],
)
def test_malformed_command_has_its_reply(line: bytes, code: str) -> None:
    assert refusal(line) == code


def test_parameters_need_ehlo() -> None:
    assert refusal(b"MAIL FROM:<a@b.example> SIZE=1", extended=False) == "555 5.5.4"


def test_utf8_orcpt_needs_smtputf8() -> None:
    line = "RCPT TO:<a@b.example> ORCPT=utf-8;jörg@b.example".encode()
    assert refusal(line) == "501 5.5.4"
    assert isinstance(parse(line, smtputf8=True), Rcpt)


def test_plain_commands() -> None:
    assert parse(b"noop anything at all") == Simple(verb=Verb.NOOP)
    assert parse(b"EHLO [192.0.2.1]") == Hello(extended=True, domain="[192.0.2.1]")
    assert parse(b"HELO a_b") == Hello(extended=False, domain="a_b")
    assert parse(b"AUTH plain AGE=") == Auth(mechanism="PLAIN", initial=b"AGE=")


@given(st.text(max_size=40, alphabet=st.characters(min_codepoint=1, max_codepoint=127)))
@settings(max_examples=80, deadline=None)
def test_xtext_survives(text: str) -> None:
    assert decode_xtext(encode_xtext(text)) == text


@given(
    st.sampled_from([b"MAIL FROM:<", b"RCPT TO:<", b"MAIL ", b"EHLO ", b"AUTH ", b"", b"MAIL FROM:<a@b> "]),
    st.binary(max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_garbage_raises_nothing_but_command_errors(start: bytes, tail: bytes) -> None:
    try:
        parse(start + tail, smtputf8=True)
    except CommandError as error:
        error.reply.format().decode("ascii")
