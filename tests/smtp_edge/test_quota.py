"""Quota at RCPT: what MAIL declares must fit (RFC 1870 §6.1; promise 3)."""

import msgspec
import pytest

from postbus.contracts.directory import MailboxTarget, Resolution
from postbus.testing.smtp_edge import ALICE, BOB, Edge, Peer, mailbox_resolution

TOO_LARGE = "552 5.2.2 the message is larger than the space that is left in the mailbox"


def has_left(address: str, free_octets: int | None) -> Resolution:
    return mailbox_resolution(address, BOB, free_octets=free_octets, over_quota=free_octets == 0)


async def begin(peer: Peer, mail: str) -> None:
    await peer.listen()
    await peer.say("EHLO client.example")
    assert (await peer.say(mail)).startswith("250")


@pytest.mark.parametrize(
    ("size", "free_octets", "answer"),
    [
        (" SIZE=1001", 1000, TOO_LARGE),
        (" SIZE=1000", 1000, "250 2.1.5"),
        (" SIZE=20000000", None, "250 2.1.5"),
        ("", 1, "250 2.1.5"),
        ("", 0, "552 5.2.2 mailbox is full"),
        (" SIZE=1", 0, "552 5.2.2 mailbox is full"),
    ],
)
async def test_a_declared_size_must_fit(edge: Edge, size: str, free_octets: int | None, answer: str) -> None:
    edge.directory.answers["bob@demo.example"] = has_left("bob@demo.example", free_octets)
    async with edge.connect() as peer:
        await begin(peer, f"MAIL FROM:<>{size}")
        assert (await peer.say("RCPT TO:<bob@demo.example>")).startswith(answer)
        assert (await peer.say("RCPT TO:<alice@demo.example>")).startswith("250 2.1.5")


async def test_one_mailbox_with_room_behind_an_address_is_enough(edge: Edge) -> None:
    resolution = has_left("team@demo.example", 10)
    roomy = MailboxTarget(mailbox_id=ALICE, address="alice@demo.example", free_octets=5000)
    both = msgspec.structs.replace(resolution, targets=(*resolution.targets, roomy))
    edge.directory.answers["team@demo.example"] = both
    async with edge.connect() as peer:
        await begin(peer, "MAIL FROM:<> SIZE=5000")
        assert (await peer.say("RCPT TO:<team@demo.example>")).startswith("250 2.1.5")
        await peer.say("RSET")
        await peer.say("MAIL FROM:<> SIZE=5001")
        assert await peer.say("RCPT TO:<team@demo.example>") == TOO_LARGE


@pytest.mark.parametrize(("free_octets", "requests"), [(1000, 4), (10**9, 1), (None, 1)])
async def test_what_little_is_left_comes_from_no_cache(edge: Edge, free_octets: int | None, requests: int) -> None:
    edge.directory.answers["bob@demo.example"] = has_left("bob@demo.example", free_octets)
    for _ in range(3):
        async with edge.connect() as peer:
            await begin(peer, "MAIL FROM:<> SIZE=500")
            assert (await peer.say("RCPT TO:<bob@demo.example>")).startswith("250")
    assert len(edge.directory.requests) == requests
    edge.directory.answers["bob@demo.example"] = has_left("bob@demo.example", 0)
    async with edge.connect() as peer:
        await begin(peer, "MAIL FROM:<>")
        answer = await peer.say("RCPT TO:<bob@demo.example>")
        assert answer.startswith("552 5.2.2" if free_octets == 1000 else "250")


async def test_a_domain_may_take_less_than_the_server(edge: Edge) -> None:
    small = msgspec.structs.replace(has_left("bob@demo.example", None), max_message_octets=100)
    edge.directory.answers["bob@demo.example"] = small
    refusal = "552 5.3.4 the largest message that this domain takes has 100 octets"
    async with edge.connect() as peer:
        await begin(peer, "MAIL FROM:<> SIZE=101")
        assert await peer.say("RCPT TO:<bob@demo.example>") == refusal
        assert (await peer.say("RCPT TO:<alice@demo.example>")).startswith("250")
        await peer.say("RSET")
        await peer.say("MAIL FROM:<>")
        assert (await peer.say("RCPT TO:<bob@demo.example>")).startswith("250")
        await peer.say("DATA")
        assert await peer.say(b"Subject: x\r\n\r\n" + b"x" * 100 + b"\r\n.\r\n") == refusal
        await peer.say("MAIL FROM:<>")
        await peer.say("RCPT TO:<bob@demo.example>")
        await peer.say("DATA")
        assert (await peer.say(b"Subject: x\r\n\r\nx\r\n.\r\n")).startswith("250")
