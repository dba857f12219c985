"""AUTH OAUTHBEARER and XOAUTH2 at the submission doors."""

import base64
import json

import pytest

from postbus.contracts.app_passwords import Access
from postbus.contracts.events import EventType
from postbus.testing.smtp_edge import ALICE, AWAY, TOKEN, Edge, enter
from postbusd.smtp_edge.conversation import ListenerKind

URL = "https://id.demo.example/.well-known/openid-configuration"


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def oauthbearer(token: str, mailbox: str = "alice@demo.example") -> str:
    return encode(f"n,{f'a={mailbox}' if mailbox else ''},\x01auth=Bearer {token}\x01\x01")


def xoauth2(token: str, mailbox: str = "alice@demo.example") -> str:
    return encode(f"user={mailbox}\x01auth=Bearer {token}\x01\x01")


@pytest.fixture
async def offering(edge: Edge) -> Edge:
    edge.directory.provider = URL
    await edge.provider.check()
    return edge


async def test_they_are_offered_where_there_is_a_provider(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await peer.listen()
        assert "AUTH PLAIN LOGIN|" in await peer.say("EHLO a.example") + "|"
        assert (await peer.say(f"AUTH XOAUTH2 {xoauth2(TOKEN)}")).startswith("504 5.5.4")
    edge.directory.provider = URL
    await edge.provider.check()
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await peer.listen()
        assert "AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2" in await peer.say("EHLO a.example")
    async with edge.connect() as peer:
        await peer.listen()
        assert "AUTH" not in await peer.say("EHLO a.example")


@pytest.mark.parametrize(
    "auth",
    [
        f"AUTH OAUTHBEARER {oauthbearer(TOKEN)}",
        f"AUTH OAUTHBEARER {oauthbearer(TOKEN, '')}",
        f"AUTH XOAUTH2 {xoauth2(TOKEN)}",
    ],
)
async def test_a_token_logs_in_and_sends(offering: Edge, auth: str) -> None:
    async with offering.connect(ListenerKind.SUBMISSIONS) as peer:
        assert (await enter(peer, auth)).startswith("235")
        for line in ("MAIL FROM:<alice@demo.example>", "RCPT TO:<bob@demo.example>", "DATA"):
            assert (await peer.say(line))[0] in "23"
        assert (await peer.say(b"From: alice@demo.example\r\n\r\nx\r\n.\r\n")).startswith("250 2.0.0")
    assert offering.bus.mail[0].client.mailbox_id == ALICE
    (asked,) = offering.directory.token_logins
    assert (asked.token, asked.access, asked.client_address) == (TOKEN, Access.SMTP, "192.0.2.1")
    await offering.events.flush()
    event = offering.bus.events[0]
    assert (event.type, event.detail) == (EventType.LOGIN, "alice")


async def test_a_refused_token_is_told_why_and_then_the_exchange_fails(offering: Edge) -> None:
    async with offering.connect(ListenerKind.SUBMISSIONS) as peer:
        await peer.listen()
        await peer.say("EHLO a.example")
        for auth, answer, status in (
            (f"AUTH OAUTHBEARER {oauthbearer('other')}", "AQ==", "invalid_token"),
            (f"AUTH XOAUTH2 {xoauth2('other')}", "", "401"),
        ):
            told = await peer.say(auth)
            assert told.startswith("334 ")
            assert json.loads(base64.b64decode(told[4:]))["status"] == status
            assert (await peer.say(answer)).startswith("535 5.7.8")
        assert (await peer.say("MAIL FROM:<alice@demo.example>")).startswith("530 5.7.0")
        assert (await peer.say("AUTH XOAUTH2")) == "334 "
        assert (await peer.say(xoauth2(TOKEN))).startswith("235")
    await offering.events.flush()
    kinds = [event.type for event in offering.bus.events]
    assert kinds == [EventType.LOGIN_FAILED, EventType.LOGIN_FAILED, EventType.LOGIN]


async def test_what_is_no_response(offering: Edge) -> None:
    async with offering.connect(ListenerKind.SUBMISSIONS) as peer:
        await peer.listen()
        await peer.say("EHLO a.example")
        assert (await peer.say(f"AUTH OAUTHBEARER {encode('x')}")).startswith("501 5.5.2")
        assert (await peer.say("AUTH OAUTHBEARER !")).startswith("501 5.5.2")
        assert (await peer.say("AUTH OAUTHBEARER")) == "334 "
        assert (await peer.say("*")).startswith("501")
    assert not offering.directory.token_logins


async def test_a_directory_that_is_away_is_no_wrong_token(offering: Edge) -> None:
    offering.directory.login_fails_with = AWAY
    async with offering.connect(ListenerKind.SUBMISSIONS) as peer:
        await peer.listen()
        await peer.say("EHLO a.example")
        assert (await peer.say(f"AUTH XOAUTH2 {xoauth2(TOKEN)}")).startswith("454 4.7.0")
