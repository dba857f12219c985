"""Received (RFC 5321 §4.4), SASL steps and reply rendering."""

import base64

import pytest

from postbus.smtp import replies
from postbus.smtp.received import Trace, count_received, format_date, format_received
from postbus.smtp.replies import CommandError, Reply, make_reply
from postbus.smtp.sasl import Challenge, Credentials, SaslExchange

TRACE = Trace(
    helo="c.example", client_address="192.0.2.1", client_name="c.example", by="mail.demo.example", queue_id="01Q",
    accepted_ms=1_700_000_000_000, tls="TLSv1.3 with cipher TLS_AES_256_GCM_SHA384", forward_path="ann@demo.example",
)  # fmt: skip


def test_received_tells_the_way() -> None:
    assert format_received(TRACE) == (
        b"Received: from c.example (c.example [192.0.2.1])\r\n"
        b"\tby mail.demo.example (Postbus) with ESMTPS id 01Q\r\n"
        b"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
        b"\tfor <ann@demo.example>;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_received_hides_the_address_of_who_logged_in() -> None:
    field = format_received(
        Trace(
            helo="[10.0.0.1]", client_address="198.51.100.7", by="m", queue_id="q", accepted_ms=0, authenticated=True,
            tls="T", smtputf8=True, forward_path="jörg@demo.example",
        )
    )  # fmt: skip
    assert b"198.51.100.7" not in field
    assert b"10.0.0.1" not in field
    assert b"with UTF8SMTPSA id q" in field
    assert field.isascii()


def test_helo_cannot_break_the_field() -> None:
    field = format_received(
        Trace(helo="a(b;c\r\nX: y", client_address="2001:db8::1", by="m", queue_id="q", accepted_ms=0, extended=False)
    )
    assert field.startswith(b"Received: from a?b?c??X:?y ([IPv6:2001:db8::1])\r\n\tby m (Postbus) with SMTP id q;")


def test_received_fields_are_counted_in_any_case() -> None:
    assert count_received(b"Received: a\r\n\tReceived: no\r\nRECEIVED : b\r\nX-Received: c\r\nreceived:d\r\n") == 3


def test_date_is_utc() -> None:
    assert format_date(0) == "Thu, 1 Jan 1970 00:00:00 +0000"


def test_reply_lines_are_joined_by_hyphens() -> None:
    assert make_reply(250, "", "m", "SIZE 1", "HELP").format() == b"250-m\r\n250-SIZE 1\r\n250 HELP\r\n"
    assert make_reply(550, "5.7.1", "no\r\nway é" + "x" * 600).format()[:20] == b"550 5.7.1 no  way ?x"
    assert len(make_reply(550, "5.7.1", "x" * 600).format()) <= 512


def test_every_reply_of_the_table_agrees_with_its_enhanced_code() -> None:
    table = [value for value in vars(replies).values() if isinstance(value, Reply)]
    assert len(table) > 50
    for reply in table:
        assert reply.code == 354 or int(reply.enhanced[0]) == reply.code // 100, reply
        assert reply.text.isascii()
        assert len(reply.format()) <= 512


def encode(text: str) -> bytes:
    return base64.b64encode(text.encode())


def test_plain_with_and_without_initial_response() -> None:
    wanted = Credentials(username="ann", password="pä ss")
    assert SaslExchange("PLAIN").start(encode("\0ann\0pä ss")) == wanted
    exchange = SaslExchange("PLAIN")
    opening = exchange.start(None)
    assert isinstance(opening, Challenge)
    assert opening.reply().format() == b"334 \r\n"
    assert exchange.respond(encode("Ann\0ann\0pä ss")) == wanted


def test_login_asks_twice() -> None:
    exchange = SaslExchange("LOGIN")
    opening = exchange.start(None)
    assert isinstance(opening, Challenge)
    assert opening.reply().format() == b"334 VXNlcm5hbWU6\r\n"
    challenge = exchange.respond(encode("ann"))
    assert isinstance(challenge, Challenge)
    assert challenge.reply().format() == b"334 UGFzc3dvcmQ6\r\n"
    assert exchange.respond(encode("secret")) == Credentials(username="ann", password="secret")


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (b"*", 501), (b"!", 501), (b"\xff", 501), (encode("ann"), 501), (encode("bob\0ann\0x"), 535),
        (base64.b64encode(b"\0ann\0\xff"), 535),
    ],
)  # fmt: skip
def test_bad_responses_have_their_reply(response: bytes, code: int) -> None:
    exchange = SaslExchange("PLAIN")
    exchange.start(None)
    with pytest.raises(CommandError) as caught:
        exchange.respond(response)
    assert caught.value.reply.code == code
