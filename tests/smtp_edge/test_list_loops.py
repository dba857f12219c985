"""A list does not distribute a message twice (RFC 5321 §6.3): two lists that name each other do not loop."""

import pytest

from postbus.contracts.directory import MailboxTarget, Outcome, Resolution, Via
from postbus.testing.smtp_edge import ALICE, BOB, Edge, Peer

TEAM = "team@demo.example"
OTHER = "other@demo.example"
BODY = b"From: ann@remote.example\r\nSubject: x\r\n\r\nDelivered-To: team@demo.example\r\n.\r\n"
MARK = b"Delivered-To: team@demo.example\r\n"


def make_list(address: str) -> Resolution:
    local_part, _, domain = address.partition("@")
    return Resolution(
        forward_path=address,
        outcome=Outcome.LIST,
        via=Via.LIST,
        targets=(MailboxTarget(mailbox_id=ALICE, address="alice@demo.example"),),
        remotes=("list@remote.example",),
        bounce_path=f"{local_part}-bounces@{domain}",
    )


@pytest.fixture(autouse=True)
def lists(edge: Edge) -> None:
    for address in (TEAM, OTHER):
        edge.directory.answers[address] = make_list(address)


async def post(peer: Peer, wire: bytes, *forward_paths: str) -> str:
    await peer.listen()
    await peer.say("EHLO client.example")
    await peer.say("MAIL FROM:<list-bounces@remote.example>")
    for path in forward_paths:
        assert (await peer.say(f"RCPT TO:<{path}>")).startswith("250")
    await peer.say("DATA")
    return await peer.say(wire)


@pytest.mark.parametrize(
    "mark",
    [MARK, b"DELIVERED-TO:\r\n <Team@Demo.Example>\r\n", b"Delivered-To: kim@x.example\r\nReceived: x\r\n" + MARK],
)
async def test_what_a_list_has_distributed_is_refused(edge: Edge, mark: bytes) -> None:
    async with edge.connect() as peer:
        answer = await post(peer, mark + BODY, TEAM)
    assert answer == "554 5.4.6 this list has distributed the message before: it loops"
    assert edge.bus.mail == []


@pytest.mark.parametrize(
    "mark", [b"", b"Delivered-To: other@demo.example\r\n", b"X-Delivered-To: team@demo.example\r\n"]
)
async def test_what_it_has_not_is_taken(edge: Edge, mark: bytes) -> None:
    async with edge.connect() as peer:
        assert (await post(peer, mark + BODY, TEAM)).startswith("250")


async def test_the_others_of_a_transaction_get_it(edge: Edge) -> None:
    async with edge.connect() as peer:
        assert (await post(peer, MARK + BODY, TEAM, "bob@demo.example", OTHER)).startswith("250")
    (accepted,) = edge.bus.mail
    assert [path.address for path in accepted.envelope.forward_paths] == ["bob@demo.example", OTHER]
    assert edge.filter.messages[0].recipients[0].mailbox_ids == (BOB,)


async def test_two_lists_that_have_both_seen_it(edge: Edge) -> None:
    async with edge.connect() as peer:
        answer = await post(peer, MARK + b"Delivered-To: other@demo.example\r\n" + BODY, OTHER, TEAM)
    assert answer.startswith("554 5.4.6")


async def test_a_mailbox_does_not_mind(edge: Edge) -> None:
    async with edge.connect() as peer:
        assert (await post(peer, b"Delivered-To: bob@demo.example\r\n" + BODY, "bob@demo.example")).startswith("250")
