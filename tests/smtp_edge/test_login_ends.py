"""A session whose login stands no more sends nothing from then on (architecture §6)."""

import pytest

from postbus.contracts.events import DirectoryChanged
from postbus.testing.smtp_edge import ALICE, AWAY, BOB, Edge, enter
from postbusd.smtp_edge.conversation import ListenerKind

ENDED = "421 4.7.0 this login has ended, log in again"


@pytest.mark.parametrize(
    "said", [(), ("MAIL FROM:<alice@demo.example>",), ("MAIL FROM:<>", "RCPT TO:<bob@demo.example>")]
)
async def test_a_waiting_session_is_told_at_once(edge: Edge, said: tuple[str, ...]) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        for line in said:
            await peer.say(line)
        edge.directory.ended.add(ALICE)
        await edge.logins.check()
        assert await peer.listen() == ENDED
        assert peer.has_ended
    assert edge.bus.mail == []


async def test_a_message_that_is_coming_in_is_not_taken(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        for line in ("MAIL FROM:<alice@demo.example>", "RCPT TO:<bob@demo.example>", "DATA", "Subject: x"):
            await peer.say(line)
        edge.directory.ended.add(ALICE)
        await edge.logins.check()
        assert await peer.listen() == ENDED
    assert edge.bus.mail == []


async def test_commands_that_were_pipelined_are_not_carried_out(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        edge.directory.ended.add(ALICE)
        peer.stream.incoming.put_nowait(b"NOOP\r\nMAIL FROM:<alice@demo.example>\r\n")
        await edge.logins.check()
        assert (await peer.listen()).endswith(ENDED)
        assert peer.has_ended


async def test_other_logins_and_an_absent_directory_end_nothing(edge: Edge) -> None:
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        edge.directory.ended.add(BOB)
        assert await edge.logins.check()
        edge.directory.ended.add(ALICE)
        edge.directory.fail_with = AWAY
        assert not await edge.logins.check()
        edge.directory.fail_with = None
        edge.directory.ended.clear()
        assert await peer.say("MAIL FROM:<alice@demo.example>") == "250 2.1.0 reverse path accepted"
    await edge.logins.on_changed(DirectoryChanged(revision=2, addresses=(), domains=()))
    edge.directory.ended.add(ALICE)
    assert await edge.logins.check()  # nobody is there any more
