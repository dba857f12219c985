"""Sequence numbers under change: a client that follows EXISTS, EXPUNGE and FETCH always agrees with the store."""

import random
import re
from typing import Any

import pytest

from postbus.mailstore.values import Flag

PLAIN = b"Subject: Plain\r\n\r\nText\r\n"
FETCH = re.compile(r"\* (\d+) FETCH \((?:UID (\d+) )?FLAGS \(([^)]*)\)\)")


class FollowingClient:
    """Knows only what the server told: a list of flags by sequence number."""

    def __init__(self, messages: int) -> None:
        self.flags: list[str | None] = [None] * messages

    def hear(self, lines: list[str], by_number: bool) -> None:
        for line in lines:
            if found := re.fullmatch(r"\* (\d+) EXISTS", line):
                assert int(found[1]) >= len(self.flags)
                self.flags += [None] * (int(found[1]) - len(self.flags))
            elif found := re.fullmatch(r"\* (\d+) EXPUNGE", line):
                assert not by_number, "EXPUNGE during a command by number"
                del self.flags[int(found[1]) - 1]
            elif found := FETCH.fullmatch(line):
                self.flags[int(found[1]) - 1] = found[3]


async def change(gateway: Any, writer: Any, chance: random.Random) -> None:
    match chance.randrange(5):
        case 0 | 1:
            await gateway.deliver(PLAIN, wake=chance.random() < 0.7, flags=Flag(chance.choice((0, 1))))
        case 2:
            await gateway.ask(writer, f"w UID STORE {chance.randrange(1, 12)}:* +FLAGS.SILENT (\\Deleted)")
            await gateway.ask(writer, "w EXPUNGE")
        case 3:
            flag = chance.choice(("\\Seen", "\\Flagged", "Work"))
            await gateway.ask(writer, f"w UID STORE {chance.randrange(1, 12)}:9 {chance.choice('+-')}FLAGS ({flag})")
        case _:
            await gateway.ask(writer, "w NOOP")


@pytest.mark.parametrize("seed", range(12))
async def test_a_following_client_agrees_with_the_store(gateway: Any, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        await gateway.deliver(PLAIN)
    writer, reader = await gateway.log_in("INBOX"), await gateway.log_in("INBOX")
    client = FollowingClient(4)
    for _ in range(25):
        for _ in range(chance.randrange(3)):
            await change(gateway, writer, chance)
        command, by_number = chance.choice(
            [("FETCH 1:* FLAGS", True), ("SEARCH ALL", True), ("UID SEARCH ALL", False), ("NOOP", False)]
        )
        client.hear(await gateway.ask(reader, f"r {command}"), by_number)
    client.hear(await gateway.ask(reader, "y NOOP"), False)
    client.hear(await gateway.ask(reader, "z UID FETCH 1:* FLAGS"), False)
    inbox = (await gateway.store.list_folders(gateway.mailbox_id))[0]
    packed = await gateway.store.load_entries(gateway.mailbox_id, inbox.folder_id)
    view = next(iter(gateway.views._slots.values())).view
    assert len(client.flags) == len(packed.flags) == len(view)
    assert bytes(view.flags) == packed.flags
    assert [flags is not None and "\\Seen" in flags for flags in client.flags] == [
        bool(flags & Flag.SEEN) for flags in packed.flags
    ]
