"""What a peer may cost, and what it may not write."""

import pytest

from postbus.smtp.commands import Rcpt
from postbus.smtp.engine import ServerEngine
from postbus.testing.smtp_edge import Edge, Peer, enter, submit
from postbusd.smtp_edge import session
from postbusd.smtp_edge.conversation import ListenerKind
from postbusd.smtp_edge.networks import SessionLimits

TOO_MANY = "421 4.7.0 too many errors, closing the connection"


async def begin(peer: Peer) -> None:
    await peer.listen()
    await peer.say("EHLO client.example")
    await peer.say("MAIL FROM:<ann@remote.example>")
    await peer.say("RCPT TO:<alice@demo.example>")


@pytest.mark.parametrize(
    "line", ["NOOP", "HELP", "VRFY x", "RCPT TO:<alice@demo.example>", "RSET\r\nMAIL FROM:<>", "EHLO x\r\nMAIL FROM:<>"]
)
async def test_commands_that_lead_nowhere_come_to_an_end(edge: Edge, line: str) -> None:
    async with edge.connect() as peer:
        await begin(peer)
        answer = await peer.say(f"{line}\r\n".encode() * (session.MAX_IDLE_COMMANDS + 50))
        assert answer.endswith(TOO_MANY)
        assert peer.has_ended


async def test_a_message_that_is_taken_begins_the_count_anew(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_IDLE_COMMANDS", 10)
    async with edge.connect(ListenerKind.SUBMISSIONS) as peer:
        await enter(peer)
        for _ in range(4):
            for _ in range(5):
                assert await peer.say("NOOP") == "250 2.0.0 OK"
            wire = b"From: alice@demo.example\r\n\r\nx\r\n.\r\n"
            assert (await submit(peer, "alice@demo.example", "bob@demo.example", wire)).startswith("250 ")


async def test_a_recipient_named_again_is_one_recipient_and_asks_nobody(edge: Edge) -> None:
    async with edge.connect() as peer:
        await begin(peer)
        asked = len(edge.directory.requests)
        for _ in range(5):
            assert await peer.say("RCPT TO:<alice@demo.example>") == "250 2.1.5 recipient accepted"
        assert len(edge.directory.requests) == asked
        await peer.say("DATA")
        assert (await peer.say(b"\r\n.\r\n")).startswith("250 ")
    (accepted,) = edge.bus.mail
    assert len(accepted.envelope.forward_paths) == 1


async def test_pipelined_recipients_are_looked_at_once(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    upcoming = ServerEngine.upcoming_recipients

    def count(engine: ServerEngine) -> list[Rcpt]:
        nonlocal looks
        looks += 1
        return upcoming(engine)

    monkeypatch.setattr(ServerEngine, "upcoming_recipients", count)
    async with edge.connect() as peer:
        await begin(peer)
        looks = 0
        await peer.say(b"".join(b"RCPT TO:<nobody%d@demo.example>\r\n" % number for number in range(60)))
    assert looks == 1


@pytest.mark.parametrize("blank", [b" ", b"\t"])
async def test_a_message_that_begins_with_a_blank_adds_to_no_field_of_ours(edge: Edge, blank: bytes) -> None:
    async with edge.connect() as peer:
        await begin(peer)
        await peer.say("DATA")
        assert (await peer.say(blank + b"tests=NONE, forged\r\nFrom: a@b.example\r\n\r\nx\r\n.\r\n")).startswith("250 ")
    (accepted,) = edge.bus.mail
    assert accepted.prefix.endswith(b"\r\nX-Spam-Status: No\r\nX-Postbus-Stray-Line:\r\n")


def test_a_flood_of_strangers_leaves_room_for_who_logs_in() -> None:
    limits = SessionLimits(8, 100)
    taken = [limits.enter(f"192.0.2.{number}", may_log_in=False) for number in range(7)]
    assert taken == [""] * 6 + ["total"]
    assert [limits.enter("192.0.2.1", may_log_in=True) for _ in range(3)] == ["", "", "total"]
