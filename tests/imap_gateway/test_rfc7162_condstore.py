"""CONDSTORE (RFC 7162 §3.1): what enables it, what the answers say, and that a client which uses it never misses."""

import random
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from postbus.core.ids import FolderId
from postbus.mailstore.values import Flag, StoreMode, StoreRequest

PLAIN = b"From: bob@demo.example\r\nSubject: Plain\r\n\r\nText\r\n"
FETCH = re.compile(r"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\)(?: MODSEQ \((\d+)\))?\)")


def store_flags(gateway: Any, uids: tuple[int, ...], flags: Flag, *keywords: str) -> StoreRequest:
    return StoreRequest(
        mailbox_id=gateway.mailbox_id,
        folder_id=FolderId(1),
        uids=uids,
        mode=StoreMode.ADD,
        flags=flags,
        keywords=keywords,
    )


async def test_the_transcript(gateway: Any, play: Callable[..., Awaitable[None]]) -> None:
    for _ in range(3):
        await gateway.deliver(PLAIN)

    async def flag() -> None:
        await gateway.store.store_flags(store_flags(gateway, (1,), Flag(0), "$Other"))

    async def expunge() -> None:
        await gateway.store.expunge(gateway.mailbox_id, 1, (1, 2))

    await play("condstore.txt", gateway.connect(), flag=flag, expunge=expunge)


@pytest.mark.parametrize(
    "command",
    [
        "SELECT INBOX (CONDSTORE)",
        "EXAMINE INBOX (CONDSTORE)",
        "STATUS INBOX (HIGHESTMODSEQ)",
        'LIST "" INBOX RETURN (STATUS (HIGHESTMODSEQ))',
        "FETCH 1 (MODSEQ)",
        "FETCH 1 (FLAGS) (CHANGEDSINCE 1)",
        "UID SEARCH NOT MODSEQ 1",
        "STORE 1 (UNCHANGEDSINCE 1) FLAGS (\\Seen)",
        "ENABLE CONDSTORE",
    ],
)
async def test_each_enabling_command_enables(gateway: Any, command: str) -> None:
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    assert not any("MODSEQ" in line for line in await gateway.ask(wire, "a FETCH 1 (FLAGS)"))
    answers = await gateway.ask(wire, f"b {command}")
    assert "* OK [HIGHESTMODSEQ 2] Highest mod-sequence" in answers
    assert "* OK [HIGHESTMODSEQ 2] Highest mod-sequence" not in await gateway.ask(wire, "c ENABLE CONDSTORE")
    await gateway.store.store_flags(store_flags(gateway, (1,), Flag.FLAGGED))
    assert await gateway.ask(wire, "d NOOP") == ["* 1 FETCH (UID 1 FLAGS (\\Flagged) MODSEQ (3))", "d OK Done"]


async def test_it_may_be_enabled_before_a_folder_is_open(gateway: Any) -> None:
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in()
    assert await gateway.ask(wire, "a ENABLE CONDSTORE") == ["* ENABLED CONDSTORE", "a OK Done"]
    await gateway.ask(wire, "b SELECT INBOX")
    wire.send(b"c IDLE\r\n")
    assert await wire.read_line() == b"+ idling"
    await gateway.store.store_flags(store_flags(gateway, (1,), Flag.FLAGGED))
    await gateway.wake(1)
    assert await wire.read_line() == b"* 1 FETCH (UID 1 FLAGS (\\Flagged) MODSEQ (3))"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("MIN", "MIN 1 MODSEQ 2"),
        ("MAX", "MAX 4 MODSEQ 5"),
        ("MIN MAX", "MIN 1 MAX 4 MODSEQ 5"),
        ("COUNT", "COUNT 4 MODSEQ 6"),
        ("MIN ALL", "MIN 1 ALL 1:4 MODSEQ 6"),
        ("", "ALL 1:4 MODSEQ 6"),
    ],
)
async def test_esearch_tells_the_mod_seq_of_what_it_tells(gateway: Any, options: str, told: str) -> None:
    """RFC 4731 §3.2: of MIN and MAX where only these are asked for."""
    for _ in range(4):
        await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    await gateway.ask(wire, "a STORE 3 +FLAGS (\\Seen)")
    answers = await gateway.ask(wire, f"b UID SEARCH RETURN ({options}) MODSEQ 1")
    assert f'* ESEARCH (TAG "b") UID {told}' in answers
    assert '* ESEARCH (TAG "c") UID COUNT 0' in await gateway.ask(wire, "c UID SEARCH RETURN (COUNT MIN) MODSEQ 99")


async def test_search_takes_an_entry_and_other_keys(gateway: Any) -> None:
    for _ in range(3):
        await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    await gateway.ask(wire, "a STORE 1 +FLAGS (\\Seen)")
    found = await gateway.ask(wire, 'b SEARCH MODSEQ "/flags/\\\\seen" all 3 UNSEEN')
    assert found[1:] == ["* SEARCH 2 3 (MODSEQ 4)", "b OK Done"]
    assert (await gateway.ask(wire, "c SEARCH OR SEEN NOT MODSEQ 4"))[0] == "* SEARCH 1 2 (MODSEQ 5)"
    for bad in ("MODSEQ", "MODSEQ x", 'MODSEQ "/flags/a" mine 3', 'MODSEQ "/other" all 3', f"MODSEQ {1 << 63}"):
        assert (await gateway.ask(wire, f"d SEARCH {bad}"))[0].startswith("d BAD")


async def test_a_silent_store_that_changes_nothing_hides_nothing_of_others(gateway: Any) -> None:
    """The folder's mod_seq is then the other one's, whose flags this client does not know yet."""
    await gateway.deliver(PLAIN)
    wire = await gateway.log_in("INBOX")
    await gateway.store.store_flags(store_flags(gateway, (1,), Flag.SEEN | Flag.FLAGGED))
    answers = await gateway.ask(wire, "a STORE 1 +FLAGS.SILENT (\\Seen)")
    assert answers == ["* 1 FETCH (UID 1 FLAGS (\\Seen \\Flagged))", "a OK Done"]


class ResyncingClient:
    """Keeps flags by uid and a mod_seq between its sessions, and asks for changes only."""

    def __init__(self) -> None:
        self.flags: dict[int, str] = {}
        self.mod_seq = 0

    async def visit(self, gateway: Any) -> None:
        wire = await gateway.log_in()
        selected = await gateway.ask(wire, "a SELECT INBOX (CONDSTORE)")
        highest = next(int(found[1]) for line in selected if (found := re.search(r"HIGHESTMODSEQ (\d+)", line)))
        changed = await gateway.ask(wire, f"b UID FETCH 1:* (FLAGS) (CHANGEDSINCE {self.mod_seq})")
        told = [found for line in changed if (found := FETCH.fullmatch(line))]
        self.flags.update((int(found[1]), found[2]) for found in told)
        present = (await gateway.ask(wire, "c UID SEARCH ALL"))[0].split()[2:]
        self.flags = {uid: flags for uid, flags in self.flags.items() if str(uid) in present}
        everything = await gateway.ask(wire, "d UID FETCH 1:* (FLAGS MODSEQ)")
        whole = [found for line in everything if (found := FETCH.fullmatch(line))]
        assert self.flags == {int(found[1]): found[2] for found in whole}
        assert [found[0] for found in told] == [found[0] for found in whole if int(found[3]) > self.mod_seq]
        self.mod_seq = highest
        await gateway.ask(wire, "e LOGOUT")


@pytest.mark.parametrize("seed", range(10))
async def test_a_client_that_asks_for_changes_only_agrees_with_the_folder(gateway: Any, seed: int) -> None:
    chance = random.Random(seed)
    client = ResyncingClient()
    writer = await gateway.log_in("INBOX")
    for _ in range(8):
        for _ in range(chance.randrange(1, 6)):
            low, high = sorted((chance.randrange(1, 12), chance.randrange(1, 12)))
            line = chance.choice(
                (
                    "NOOP",
                    f"UID STORE {low}:{high} +FLAGS (\\Deleted)",
                    f"UID STORE {low} -FLAGS.SILENT (\\Seen A)",
                    f"UID STORE {low}:{high} (UNCHANGEDSINCE {chance.randrange(2, 30)}) FLAGS (\\Seen A)",
                    f"UID FETCH {low} BODY[]",
                    f"UID MOVE {low} INBOX",
                    "EXPUNGE",
                )
            )
            if chance.random() < 0.4:
                await gateway.deliver(PLAIN)
            await gateway.ask(writer, f"w {line}")
        await client.visit(gateway)
