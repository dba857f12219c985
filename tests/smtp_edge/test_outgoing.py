"""Recipients at other hosts: for those who logged in, and for nobody else (promise 3)."""

import msgspec
import pytest

from postbus.contracts.directory import Outcome, Resolution
from postbus.core.errors import ErrorKind
from postbus.testing.smtp_edge import BOB, Edge, enter, mailbox_resolution, submit
from postbusd.smtp_edge.conversation import ListenerKind

WIRE = b"From: alice@demo.example\r\nSubject: x\r\n\r\nx\r\n.\r\n"
OFF = "bob@off.example"


@pytest.fixture(autouse=True)
def domain_without_incoming_mail(edge: Edge) -> None:
    edge.directory.answers[OFF] = msgspec.structs.replace(
        mailbox_resolution(OFF, BOB),
        outcome=Outcome.REJECT,
        kind=ErrorKind.REJECTED_POLICY,
        reason="this domain does not receive mail here",
        incoming=False,
    )


@pytest.mark.parametrize("address", ["ann@remote.example", OFF])
async def test_those_who_logged_in_send_to_other_hosts(edge: Edge, address: str) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert (await submit(peer, "alice@demo.example", address, WIRE)).startswith("250 2.0.0 queued as ")
    (accepted,) = edge.bus.mail
    (path,) = accepted.envelope.forward_paths
    assert (path.address, path.resolution) == (address, Resolution(forward_path=address, outcome=Outcome.REMOTE))
    assert edge.filter.messages[0].recipients[0].mailbox_ids == ()


async def test_local_and_remote_recipients_travel_together(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        await peer.say("MAIL FROM:<alice@demo.example>")
        for address in ("bob@demo.example", "ann@remote.example", OFF):
            assert await peer.say(f"RCPT TO:<{address}>") == "250 2.1.5 recipient accepted"
        assert await peer.say("RCPT TO:<nobody@demo.example>") == "550 5.1.1 no such mailbox here"
        assert await peer.say("RCPT TO:<ann@[192.0.2.1]>") == "550 5.1.2 address literals are not served here"
        await peer.say("DATA")
        assert (await peer.say(WIRE)).startswith("250 2.0.0")
    outcomes = [path.resolution.outcome for path in edge.bus.mail[0].envelope.forward_paths]
    assert outcomes == [Outcome.MAILBOX, Outcome.REMOTE, Outcome.REMOTE]


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("ann@remote.example", "550 5.7.1 relaying denied: the domain is not served here"),
        (OFF, "550 5.7.1 this domain does not receive mail here"),
    ],
)
@pytest.mark.parametrize("reverse_path", ["alice@demo.example", "ann@remote.example", ""])
async def test_nobody_relays_from_outside(edge: Edge, address: str, answer: str, reverse_path: str) -> None:
    async with edge.connect() as peer:
        await peer.listen()
        await peer.say("EHLO client.example")
        assert await submit(peer, reverse_path, address, WIRE) == answer
    assert not edge.bus.mail


async def test_a_domain_that_receives_again_gets_its_mail(edge: Edge) -> None:
    edge.directory.stale[OFF] = edge.directory.answers[OFF]
    edge.directory.answers[OFF] = mailbox_resolution(OFF, BOB)
    async with edge.connect() as peer:
        await peer.listen()
        await peer.say("EHLO client.example")
        assert (await submit(peer, "ann@remote.example", OFF, WIRE)).startswith("250 2.0.0")
