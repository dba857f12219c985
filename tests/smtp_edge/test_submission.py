"""The submission doors: TLS, login, sender check (RFC 6409, RFC 4954)."""

import base64

import pytest

from postbus.contracts.events import EventType, Origin
from postbus.core.errors import ErrorKind, MailError
from postbus.smtp import replies
from postbus.smtp.replies import Reply
from postbus.testing.smtp_edge import ALICE, AWAY, PASSWORD, PLAIN, Edge, Peer, enter
from postbusd.smtp_edge.conversation import ListenerKind
from postbusd.smtp_edge.refusals import LOGIN_REFUSALS, REFUSALS, refuse, refuse_login

WIRE = b"From: alice@demo.example\r\nSubject: hi\r\n\r\nx\r\n.\r\n"


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def log_in(peer: Peer, auth: str = f"AUTH PLAIN {PLAIN}") -> str:
    return await enter(peer, auth)


async def test_587_wants_tls_then_login(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSION) as peer:
        await peer.listen()
        offered = await peer.say("EHLO client.example")
        assert "STARTTLS" in offered
        assert "AUTH" not in offered
        assert (await peer.say(f"AUTH PLAIN {PLAIN}")).startswith("538 5.7.11")
        assert (await peer.say("MAIL FROM:<alice@demo.example>")) == "530 5.7.0 send STARTTLS first"
        await peer.say("STARTTLS")
        assert "AUTH PLAIN LOGIN" in await peer.say("EHLO client.example")
        assert (await peer.say("MAIL FROM:<alice@demo.example>")) == "530 5.7.0 authentication required"
        assert (await peer.say(f"AUTH PLAIN {PLAIN}")) == "235 2.7.0 authentication succeeded"
        assert "AUTH" not in await peer.say("EHLO client.example")
        assert (await peer.say(f"AUTH PLAIN {PLAIN}")).startswith("503 5.5.1")
    assert not edge.filter.connections


async def test_465_begins_within_tls_and_takes_a_message(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS, "198.51.100.7") as peer:
        assert (await log_in(peer)).startswith("235")
        for line in ("MAIL FROM:<alice@demo.example>", "RCPT TO:<bob@demo.example>", "DATA"):
            assert (await peer.say(line))[0] in "23"
        assert (await peer.say(WIRE)).startswith("250 2.0.0")
    (accepted,) = edge.bus.mail
    assert (accepted.origin, accepted.client.mailbox_id) == (Origin.SUBMISSION, ALICE)
    assert b"198.51.100.7" not in accepted.prefix
    assert b"with ESMTPSA id" in accepted.prefix
    assert b"\r\nDate: " in accepted.prefix
    assert f"Message-ID: <{accepted.queue_id}@demo.example>\r\n".encode() in accepted.prefix
    assert edge.filter.messages[0].authenticated_as == "alice@demo.example"
    await edge.events.flush()
    assert [event.type for event in edge.bus.events] == [EventType.LOGIN, EventType.RECEIVED]


async def test_present_date_and_message_id_are_kept(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await log_in(peer)
        for line in ("MAIL FROM:<>", "RCPT TO:<bob@demo.example>", "DATA"):
            await peer.say(line)
        await peer.say(b"date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMESSAGE-ID: <a@b>\r\n" + WIRE)
    assert b"From:" not in edge.bus.mail[0].prefix
    assert b"Date:" not in edge.bus.mail[0].prefix
    assert b"Message-ID:" not in edge.bus.mail[0].prefix


async def test_a_message_without_an_author_gets_the_login(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await log_in(peer)
        for line in ("MAIL FROM:<>", "RCPT TO:<bob@demo.example>", "DATA"):
            await peer.say(line)
        assert (await peer.say(b"Subject: nobody\r\n\r\nx\r\n.\r\n")).startswith("250 2.0.0")
    assert b"\r\nFrom: alice@demo.example\r\n" in edge.bus.mail[0].prefix


async def test_login_mechanism_asks_for_both(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        assert await log_in(peer, "AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert await peer.say(encode("alice@demo.example")) == "334 UGFzc3dvcmQ6"
        assert (await peer.say(encode(PASSWORD))).startswith("235 2.7.0")
    assert edge.directory.logins[0].client_address == "192.0.2.1"


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["AUTH PLAIN " + encode("\0alice@demo.example\0wrong")], "535 5.7.8"),
        (["AUTH PLAIN " + encode("\0nobody@demo.example\0x")], "535 5.7.8"),
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH PLAIN", "!!"], "501 5.5.2"),
        (["AUTH LOGIN", "="], "501 5.5.2"),
        (["AUTH GSSAPI"], "504 5.5.4"),
        (["AUTH PLAIN", "a" * 12_300], "500 5.5.6"),
        (["AUTH PLAIN " + "a" * 12_300], "500 5.5.6"),
        (["AUTH"], "501 5.5.4"),
    ],
)
async def test_failed_logins_have_their_reply(edge: Edge, lines: list[str], answer: str) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await peer.listen()
        await peer.say("EHLO client.example")
        got = ""
        for line in lines:
            got = await peer.say(line)
        assert got.startswith(answer)
        assert (await peer.say("MAIL FROM:<alice@demo.example>")).startswith("530")
        assert (await peer.say(f"AUTH PLAIN {PLAIN}")).startswith("235")


async def test_an_absent_directory_is_no_wrong_password(edge: Edge) -> None:
    edge.directory.login_fails_with = AWAY
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        assert (await log_in(peer)).startswith("454 4.7.0")
    await edge.events.flush()
    assert not edge.bus.events


async def test_failed_logins_end_the_session(edge: Edge) -> None:
    edge.change(max_errors=2)
    wrong = "AUTH PLAIN " + encode("\0alice@demo.example\0wrong")
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        assert (await log_in(peer, wrong)).startswith("535")
        assert [line[:3] for line in (await peer.say(wrong)).split("|")] == ["535", "421"]
    await edge.events.flush()
    kinds = [event.type for event in edge.bus.events]
    assert kinds == [EventType.LOGIN_FAILED, EventType.LOGIN_FAILED, EventType.DENIED]
    assert PASSWORD not in repr(edge.bus.events)


def test_who_knows_the_password_is_told_why_it_does_not_open() -> None:
    assert refuse_login(MailError(ErrorKind.INACTIVE, "not active")).lines == ("not active",)
    assert refuse_login(MailError(ErrorKind.UNAUTHENTICATED, "kim is unknown")) is replies.AUTH_FAILED


def test_every_kind_has_a_reply() -> None:
    assert set(REFUSALS) == set(LOGIN_REFUSALS) == set(ErrorKind)
    for kind in ErrorKind:
        for reply in (refuse(kind), refuse(kind, "because"), LOGIN_REFUSALS[kind]):
            assert isinstance(reply, Reply)
            assert reply.code // 100 == int(reply.enhanced[0])
        assert refuse_login(MailError(kind, "because")).code == LOGIN_REFUSALS[kind].code
        temporary = MailError(kind, "x").retry.after_seconds is not None
        assert not temporary or refuse(kind).code < 500
