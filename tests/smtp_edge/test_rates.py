"""How much a mailbox may submit, bus-wide (architecture §2)."""

import logging

import pytest

from postbus.contracts.events import EventType
from postbus.testing.smtp_edge import ALICE, AWAY, Edge, Peer, enter, submit
from postbusd.smtp_edge.conversation import ListenerKind

WIRE = b"From: alice@demo.example\r\nSubject: x\r\n\r\nx\r\n.\r\n"
HOUR, DAY = 3600, 86_400


async def send(peer: Peer, forward_path: str = "bob@demo.example") -> str:
    return await submit(peer, "alice@demo.example", forward_path, WIRE)


def metric(edge: Edge, limit: str) -> float | None:
    return edge.registry.get_sample_value("postbus_smtp_edge_rate_limited_total", {"limit": limit})


async def test_messages_an_hour(edge: Edge) -> None:
    edge.set_policy(messages_per_hour=2)
    for session in range(2):
        async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
            await enter(peer)
            assert (await send(peer)).startswith("250 2.0.0")
            if session:
                answer = await peer.say("MAIL FROM:<alice@demo.example>")
                assert answer.startswith("450 4.7.1 2 messages an hour are allowed from this mailbox, try again after ")
                assert answer.endswith(":00 UTC")
                assert (await peer.say("RCPT TO:<bob@demo.example>")).startswith("503 5.5.1")
                assert (await send(peer)).startswith("450 4.7.1")
                edge.bus.counts.clear()
                assert (await send(peer)).startswith("250 2.0.0")
    assert edge.bus.counts == {
        (f"submission.messages.{ALICE}", HOUR): 1,
        (f"submission.recipients.{ALICE}", DAY): 1,
    }
    assert metric(edge, "messages") == 2.0
    await edge.events.flush()
    (denied,) = [event for event in edge.bus.events if event.type is EventType.DENIED]
    assert (denied.mailbox, denied.summary) == ("alice@demo.example", "too much mail")
    assert denied.detail.startswith("2 messages an hour")


async def test_recipients_a_day_count_wherever_they_are(edge: Edge) -> None:
    edge.set_policy(recipients_per_day=2)
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        await peer.say("MAIL FROM:<alice@demo.example>")
        answers = await peer.say(
            b"RCPT TO:<nobody@demo.example>\r\nRCPT TO:<bob@demo.example>\r\nRCPT TO:<bob@demo.example>\r\n"
            b"RCPT TO:<ann@remote.example>\r\nRCPT TO:<eve@remote.example>\r\n"
        )
        codes = [line[:9] for line in answers.split("|")]
        assert codes == ["550 5.1.1", "250 2.1.5", "250 2.1.5", "250 2.1.5", "450 4.7.1"]
        assert " 2 recipients a day are allowed from this mailbox" in answers
        await peer.say("DATA")
        assert (await peer.say(WIRE)).startswith("250 2.0.0")
    assert len(edge.bus.mail[0].envelope.forward_paths) == 2
    assert metric(edge, "recipients") == 1.0


async def test_no_limit_is_not_counted(edge: Edge) -> None:
    edge.set_policy(messages_per_hour=0, recipients_per_day=0)
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert (await send(peer)).startswith("250 2.0.0")
    assert not edge.bus.counts


async def test_each_mailbox_has_its_own_and_mail_from_outside_none(edge: Edge) -> None:
    edge.set_policy(messages_per_hour=1, recipients_per_day=1)
    edge.bus.counts[f"submission.messages.{ALICE[:-1]}b", HOUR] = 5
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        assert (await send(peer)).startswith("250 2.0.0")
    async with edge.connect() as peer:
        await peer.listen()
        await peer.say("EHLO client.example")
        for _ in range(3):
            assert (await send(peer)).startswith("250 2.0.0")


async def test_an_absent_bus_refuses_nothing_by_itself(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    edge.set_policy(messages_per_hour=1)
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        edge.bus.fail_with = AWAY
        for _ in range(3):
            assert (await send(peer)).startswith("451 4.3.0")
    warnings = [record for record in caplog.records if record.getMessage() == "smtp.rate.uncounted"]
    assert [record.levelno for record in warnings] == [logging.WARNING]
