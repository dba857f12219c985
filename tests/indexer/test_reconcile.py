"""After a failover or a restore index and database agree again, mailbox by mailbox, when they are searched."""

from typing import TYPE_CHECKING

import pytest

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, MailboxId
from postbus.mailstore.values import Flag, StoreMode, StoreRequest
from postbusd.indexer.reconcile import Reconciler

if TYPE_CHECKING:
    from tests.indexer.conftest import World

ALICE = MailboxId("0190a000-0000-7000-8000-000000000001")
BOB = MailboxId("0190a000-0000-7000-8000-000000000002")


def message(word: str) -> bytes:
    return f"From: a@b.example\r\nSubject: {word}\r\n\r\nText with {word} in it.\r\n".encode()


class Epoch:
    """The mail store's, as the worker asks for it."""

    def __init__(self, world: "World") -> None:
        self.number = 1
        world.worker._reconciler = Reconciler(world.store, world.index, lambda: self.number)


async def expunge(world: "World", uid: int) -> None:
    inbox = FolderId(1)
    flags = StoreRequest(mailbox_id=ALICE, folder_id=inbox, uids=(uid,), mode=StoreMode.ADD, flags=Flag.DELETED)
    await world.store.store_flags(flags)
    await world.store.expunge(ALICE, inbox, (uid,))


async def lose(world: "World") -> None:
    """The database forgets what it told the index of the last changes."""
    await world.store.indexed(await world.store.pending_of((ALICE, BOB), 1000))


async def test_both_sides_agree_after_the_first_search(world: "World") -> None:
    """A message that is back is found again; one that is no more has no document."""
    epoch = Epoch(world)
    back, stays = await world.deliver(message("back")), await world.deliver(message("stays"))
    await world.deliver(message("lost"))
    await world.index_all()
    await world.index.apply([], [f"{ALICE}/{back.replace('-', '')}"])  # it was expunged in the lost time
    await expunge(world, 3)
    await lose(world)
    assert await world.find("back") == []
    assert len(await world.find("lost")) == 1
    epoch.number = 2
    assert await world.find("back") == [back]
    assert await world.find("lost") == []
    assert await world.find("stays") == [stays]
    await world.index_all()
    assert await world.index.count_documents() == 2


async def test_a_mailbox_is_compared_once_an_epoch(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = Epoch(world)
    asked: list[MailboxId] = []
    message_ids = world.store.message_ids

    async def counted(mailbox_id: MailboxId) -> list[bytes]:
        asked.append(mailbox_id)
        return await message_ids(mailbox_id)

    monkeypatch.setattr(world.store, "message_ids", counted)
    await world.deliver(message("one"))
    await world.find("one")
    assert asked == []
    for number, mailbox in ((2, ALICE), (2, ALICE), (2, BOB), (3, ALICE), (3, ALICE)):
        epoch.number = number
        await world.find("one", mailbox=mailbox)
    assert asked == [ALICE, BOB, ALICE]


async def test_a_comparison_that_fails_is_made_again(world: "World") -> None:
    epoch = Epoch(world)
    found = await world.deliver(message("word"))
    await lose(world)
    epoch.number = 2
    world.store.fail_with = MailError(ErrorKind.UNAVAILABLE, "database")
    with pytest.raises(MailError):
        await world.find("word")
    world.store.fail_with = None
    assert await world.find("word") == [found]


async def test_mail_that_comes_meanwhile_is_kept(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two questions a message is stored, indexed, and another one expunged."""
    epoch = Epoch(world)
    first = await world.deliver(message("first"))
    await world.index_all()
    epoch.number = 2
    message_ids = world.store.message_ids

    async def late(mailbox_id: MailboxId) -> list[bytes]:
        monkeypatch.setattr(world.store, "message_ids", message_ids)
        second.append(await world.deliver(message("second")))
        return await message_ids(mailbox_id)

    second: list[str] = []
    monkeypatch.setattr(world.store, "message_ids", late)
    assert await world.find("first") == [first]
    assert await world.find("second") == second
    assert len(second) == 1
