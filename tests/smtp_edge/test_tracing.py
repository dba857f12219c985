"""Promise 8 at the door: a message's trace begins with its MAIL and is linked to the session's."""

from collections.abc import Iterator

import pytest

from postbus.contracts.filter import CheckMessageReply, Verdict
from postbus.core.trace import parse_traceparent
from postbus.testing.smtp_edge import AWAY, Edge, Peer
from postbus.testing.spans import KeptSpans, kept_spans

WIRE = b"Subject: secret-subject\r\n\r\nsecret-body\r\n.\r\n"


@pytest.fixture
def kept() -> Iterator[KeptSpans]:
    with kept_spans() as found:
        yield found


async def greet(peer: Peer) -> None:
    await peer.listen()
    await peer.say("EHLO client.example")


async def send(peer: Peer, recipient: str = "alice@demo.example") -> str:
    await peer.say("MAIL FROM:<secret-sender@remote.example>")
    await peer.say(f"RCPT TO:<{recipient}>")
    await peer.say("DATA")
    return await peer.say(WIRE)


async def test_accept_is_the_root_and_what_is_done_for_the_message_below_it(edge: Edge, kept: KeptSpans) -> None:
    async with edge.connect() as peer:
        await greet(peer)
        assert (await send(peer)).startswith("250")
        await peer.say("QUIT")
    (accepted,) = edge.bus.mail
    accept = kept.named("smtp.accept")
    assert accept.parent is None
    assert accept.attributes["queue_id"] == accepted.queue_id
    assert (accept.attributes["outcome"], accept.attributes["recipients"]) == ("accepted", 1)
    for name in ("blobs.put", "bus.publish_mail"):
        assert kept.named(name).parent == accept.context
    assert parse_traceparent(accepted.traceparent) == accept.context
    session = kept.named("smtp.session")
    assert accept.links == (session.context,)
    assert session.attributes["session_id"] == accept.attributes["session_id"] != ""
    assert "secret" not in str(kept.spans)


async def test_two_messages_of_a_session_have_a_trace_each(edge: Edge, kept: KeptSpans) -> None:
    async with edge.connect() as peer:
        await greet(peer)
        await send(peer)
        await send(peer)
        await peer.say("QUIT")
    first, second = kept.all_named("smtp.accept")
    assert first.context.trace_id != second.context.trace_id
    assert first.links == second.links


async def test_how_it_ended_is_told_whatever_it_was(edge: Edge, kept: KeptSpans) -> None:
    async with edge.connect() as peer:
        await greet(peer)
        edge.filter.message = CheckMessageReply(verdict=Verdict.REJECT, score=9.0, required=5.0)
        assert (await send(peer)).startswith("5")
        edge.filter.fail_with = AWAY
        assert (await send(peer)).startswith("4")
        await peer.say("MAIL FROM:<ann@remote.example>")
        await peer.say("RSET")
        await peer.say("QUIT")
    assert [each.attributes["outcome"] for each in kept.all_named("smtp.accept")] == [
        "refused",
        "deferred",
        "abandoned",
    ]
