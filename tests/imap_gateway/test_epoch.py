"""A new epoch of the mail store: who was told of the one before hears BYE and nothing else (architecture §4)."""

import asyncio
from typing import Any

from postbusd.imap_gateway.session import EPOCH_OVER

BYE = f"* BYE [UNAVAILABLE] {EPOCH_OVER}".encode()
PLAIN = b"From: bob@demo.example\r\nSubject: Plain\r\n\r\nText\r\n"
LARGE = b"Subject: Large\r\n\r\n" + (b"x" * 78 + b"\r\n") * 20_000


def begin_epoch(gateway: Any) -> int:
    """As the service does it when a connection learns of one."""
    ended: int = gateway.server.end_epoch()
    gateway.views.end_all()
    return ended


async def rest_of(wire: Any) -> list[bytes]:
    """All that is still said."""
    lines = []
    while line := await wire.read_line():
        lines.append(line)
    return lines


async def test_sessions_that_were_told_of_folders_end_and_come_back_to_the_lifted_ones(gateway: Any) -> None:
    """RFC 9051 §7.1.5; UIDVALIDITY stays, UIDNEXT and HIGHESTMODSEQ are above all that was told."""
    await gateway.deliver(PLAIN)
    waiting = await gateway.log_in("INBOX")
    idling = await gateway.log_in("INBOX")
    idling.send(b"i IDLE\r\n")
    assert await idling.read_line() == b"+ idling"
    unselected = await gateway.log_in()
    stranger = gateway.connect()
    await stranger.read_line()
    before = await gateway.ask(unselected, "a STATUS INBOX (UIDNEXT UIDVALIDITY HIGHESTMODSEQ)")
    await gateway.store.lift()
    assert begin_epoch(gateway) == 3
    for wire in (waiting, idling, unselected):
        assert await rest_of(wire) == [BYE]
        assert wire.closed
    assert (await gateway.ask(stranger, "a LOGIN ann@demo.example secret"))[-1].startswith("a OK")
    after = await gateway.ask(stranger, "b STATUS INBOX (UIDNEXT UIDVALIDITY HIGHESTMODSEQ)")
    words, lifted = before[0].split(), after[0].split()
    assert (words[3], lifted[3]) == ("(UIDNEXT", "(UIDNEXT")
    assert int(lifted[4]) == int(words[4]) + 1_000_000
    assert lifted[6] == words[6]
    assert int(lifted[8].rstrip(")")) == int(words[8].rstrip(")")) + 1_000_000


async def test_a_command_under_way_tells_nothing_of_the_new_state(gateway: Any) -> None:
    """Its statement may be the one that learns of the epoch."""
    wire = await gateway.log_in("INBOX")
    heads = gateway.store.heads

    async def slow_heads(folders: Any) -> Any:
        await gateway.deliver(PLAIN, wake=False)
        begin_epoch(gateway)
        await asyncio.sleep(0)  # the answer of the server comes no sooner than with the next turn
        return await heads(folders)

    gateway.store.heads = slow_heads
    wire.send(b"a NOOP\r\n")
    assert await rest_of(wire) == [BYE]


async def test_views_of_before_are_never_used_again(gateway: Any) -> None:
    """Neither those that are open nor those that are kept for the next session."""
    await gateway.deliver(PLAIN)
    kept = await gateway.log_in("INBOX")
    await gateway.ask(kept, "a UNSELECT")
    assert gateway.views.messages == 1
    begin_epoch(gateway)
    assert gateway.views.messages == 0
    opened = await gateway.log_in("INBOX")
    view = next(iter(gateway.views._slots.values())).view
    begin_epoch(gateway)
    assert view.gone
    assert await rest_of(opened) == [BYE]
    again = await gateway.log_in()
    assert "* 1 EXISTS" in await gateway.ask(again, "a SELECT INBOX")


async def test_no_word_lands_within_a_literal(gateway: Any) -> None:
    """A body that is cut short can only end with the connection."""
    await gateway.deliver(LARGE)
    wire = await gateway.log_in("INBOX")
    get = gateway.blobs.get

    async def slow_get(blob_id: Any, start: int = 0, length: int | None = None) -> Any:
        if start:
            begin_epoch(gateway)
            await asyncio.sleep(0)
        return await get(blob_id, start, length)

    gateway.blobs.get = slow_get
    wire.send(b"a FETCH 1 BODY.PEEK[]\r\n")
    said = b"".join(await rest_of(wire))
    assert b"BODY[] {" in said
    assert b"BYE" not in said


async def test_a_session_that_is_ending_already_stays_as_it_is(gateway: Any) -> None:
    wire = await gateway.log_in()
    assert await gateway.ask(wire, "a LOGOUT") == ["* BYE Goodbye", "a OK Done"]
    begin_epoch(gateway)
    assert await rest_of(wire) == []
