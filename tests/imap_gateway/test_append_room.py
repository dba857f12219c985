"""Large messages of APPEND are in memory within bounds, and who waits reads nothing."""

import asyncio
from typing import Any

import pytest

from postbus.core.ids import MailboxId
from postbus.testing.transcript import ScriptedWire
from postbusd.imap_gateway import session
from postbusd.imap_gateway.room import AppendRoom

MIB = 1024 * 1024
ANN, BEN = MailboxId("01900000-0000-7000-8000-000000000001"), MailboxId("01900000-0000-7000-8000-000000000002")


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_mailbox_has_half_of_the_room() -> None:
    room = AppendRoom(20 * MIB)
    first = await room.take(ANN, 8 * MIB)
    waiting = asyncio.ensure_future(room.take(ANN, 8 * MIB))
    small = await room.take(ANN, 1000)
    other = await room.take(BEN, 8 * MIB)
    await settle()
    assert not waiting.done()
    first.give_back()
    first.give_back()
    for each in (await waiting, small, other):
        each.give_back()
    assert room.all.held == 0
    assert room._shares == {}


async def test_who_gives_up_leaves_nothing_behind() -> None:
    room = AppendRoom(10 * MIB)
    first = await room.take(ANN, 5 * MIB)
    for mailbox_id in (ANN, BEN):
        waiting = asyncio.ensure_future(room.take(mailbox_id, 8 * MIB))
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    first.give_back()
    assert room.all.held == 0
    assert room._shares == {}


async def append(gateway: Any, octets: int, *, waits: bool) -> ScriptedWire:
    wire: ScriptedWire = await gateway.log_in()
    wire.send(b"a APPEND INBOX {%d%b}\r\n" % (octets, b"" if waits else b"+"))
    await settle()
    return wire


@pytest.mark.parametrize("waits", [True, False])
async def test_the_second_waits_for_the_first(make_gateway: Any, waits: bool) -> None:
    gateway = await make_gateway(append_memory_octets=5 * MIB)
    message = b"Subject: x\r\n\r\n" + b"y" * 2 * MIB
    first = await append(gateway, len(message), waits=waits)
    second = await append(gateway, len(message), waits=waits)
    assert gateway.room.all.held == len(message)
    for wire in (first, second):
        if waits:
            assert (await wire.read_line()).startswith(b"+ ")
        wire.send(message + b"\r\n")
        assert (await wire.read_line()).startswith((b"a OK", b"a NO [OVERQUOTA]"))
    await settle()
    assert gateway.room.all.held == 0


@pytest.mark.parametrize("end", [b"x\r\n", b""])
async def test_room_is_given_back_when_the_command_is_none_or_the_client_is_gone(gateway: Any, end: bytes) -> None:
    wire = await append(gateway, 2 * MIB, waits=False)
    assert gateway.room.all.held == 2 * MIB
    if end:
        wire.send(b"y" * 2 * MIB + b" garbage\r\n")
        assert (await wire.read_line()).startswith(b"a BAD")
    else:
        wire.hang_up()
    await settle()
    assert gateway.room.all.held == 0


async def test_who_waits_too_long_is_told(make_gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ROOM_SECONDS", 0.01)
    gateway = await make_gateway(append_memory_octets=4 * MIB)
    await append(gateway, 2 * MIB, waits=True)
    second = await append(gateway, 2 * MIB, waits=True)
    assert await second.read_line() == b"* BYE [UNAVAILABLE] Too many large messages at once, try again later"


async def test_a_literal_that_drips_gives_its_room_to_others(
    make_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SLOWEST_OCTETS_PER_SECOND", 1e9)
    gateway = await make_gateway(idle_seconds=0.05)
    wire = await append(gateway, 2 * MIB, waits=False)
    gateway.clock.now += 60
    wire.send(b"y")
    assert await wire.read_line() == b"* BYE Nothing came for too long"
    assert gateway.room.all.held == 0
