"""Epochs on real Postgres: what begins one, how it is lifted piece by piece, and who is let in meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId, new_mailbox_id
from postbus.mailstore import epoch as epoch_module
from postbus.mailstore.epoch import Epoch, EpochGuard
from postbus.mailstore.postgres import PostgresMailStore
from postbus.testing.installation import Database
from postbus.testing.mailstore_builders import INBOX, NOW_MS, make_append

MILLION = 1_000_000
HOUR_MS = 3_600_000
TABLES = "mailstore.epoch, mailstore.epoch_history, mailstore.mailbox, mailstore.folder"


class SetClock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class World:
    """A database with a few mailboxes whose epoch nobody has asked for, and processes that connect to it."""

    def __init__(self, database: Database, owner: asyncpg.Connection) -> None:
        self.database = database
        self.owner = owner
        self.clock = SetClock()

    @contextlib.asynccontextmanager
    async def process(self, service: str = "imap-gateway", restore_id: str = "") -> AsyncIterator["Process"]:
        guard = EpochGuard(restore_id, self.clock)
        role = "postbus_" + service.replace("-", "_")
        async with asyncpg.create_pool(
            self.database.dsn,
            user=role,
            password=self.database.password(service),
            min_size=0,
            max_size=3,
            init=guard.ensure,
        ) as pool:
            yield Process(guard, pool, PostgresMailStore(pool, self.clock))

    async def connect(self, restore_id: str = "") -> Epoch:
        async with self.process(restore_id=restore_id) as process:
            return await process.connect()

    async def add_mailboxes(self, count: int) -> list[MailboxId]:
        mailbox_ids = [new_mailbox_id(NOW_MS) for _ in range(count)]
        async with self.process("directory") as process:
            for mailbox_id in mailbox_ids:
                await process.store.ensure_mailboxes([mailbox_id])
        return mailbox_ids

    async def promote(self) -> None:
        """The stored timeline becomes that of before this server's."""
        await self.owner.execute("UPDATE mailstore.epoch SET timeline = '00000000'")

    async def history(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.owner.fetch("SELECT * FROM mailstore.epoch_history ORDER BY epoch")]


class Process:
    """A process with its pool."""

    def __init__(self, guard: EpochGuard, pool: asyncpg.Pool, store: PostgresMailStore) -> None:
        self.guard = guard
        self.pool = pool
        self.store = store

    async def connect(self) -> Epoch:
        async with self.pool.acquire():
            assert self.guard.known is not None
            return self.guard.known

    async def uid_nexts(self, *mailbox_ids: MailboxId) -> list[int]:
        return [head.uid_next for head in await self.store.heads([(each, INBOX) for each in mailbox_ids])]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    await database.execute(f"TRUNCATE {TABLES}")
    owner = await asyncpg.connect(database.dsn, user="postbus_owner", password=database.password("owner"))
    try:
        yield World(database, owner)
    finally:
        await owner.close()
        await database.execute(f"TRUNCATE {TABLES}")


async def test_the_first_connection_stores_what_the_server_is_and_lifts_nothing(world: World) -> None:
    mailbox_ids = await world.add_mailboxes(2)
    async with world.process("delivery") as process:
        assert await process.connect() == Epoch(number=1)
    async with world.process() as process:
        assert await process.uid_nexts(*mailbox_ids) == [1, 1]
    assert [row["reason"] for row in await world.history()] == ["first"]
    row = await world.owner.fetchrow("SELECT timeline, system_id FROM mailstore.epoch")
    assert row is not None
    assert (row["timeline"], len(row["system_id"]) > 10) == ("00000001", True)


@pytest.mark.parametrize("service", ["delivery", "imap-gateway", "indexer", "directory", "filter"])
async def test_every_service_of_the_mail_store_may_ensure_it(world: World, service: str) -> None:
    async with world.process(service) as process:
        assert (await process.connect()).number == 1


async def test_a_failover_lifts_by_a_million(world: World) -> None:
    mailbox_ids = await world.add_mailboxes(3)
    await world.promote()
    world.clock.ms += 5 * HOUR_MS
    async with world.process() as process:
        assert await process.connect() == Epoch(number=2, reason="failover")
        assert await process.uid_nexts(*mailbox_ids) == [1 + MILLION] * 3
        await process.connect()
    assert (await world.connect()).number == 2
    last = (await world.history())[-1]
    assert (last["mailboxes"], last["folders"], last["renewed"]) == (3, 18, 0)
    assert last["ended_ms"] is not None


@pytest.mark.parametrize(
    ("stored", "found", "millions"),
    [("00000001", "00000004", 3), ("0000000A", "00000010", 6), ("00000005", "00000002", 1), ("00000001", "other", 1)],
)
async def test_each_timeline_that_lies_between_counts(world: World, stored: str, found: str, millions: int) -> None:
    """Two failovers of which one database saw only the last must not hand out the same uids."""
    await world.connect()
    await world.owner.execute("UPDATE mailstore.epoch SET timeline = $1", stored)
    asked = "SELECT mailstore.epoch_span(e, 'failover', $1, $2) FROM mailstore.epoch e"
    assert await world.owner.fetchval(asked, found, NOW_MS + HOUR_MS) == millions * MILLION


async def test_a_restore_id_lifts_once_whoever_still_has_an_older_one(world: World) -> None:
    [mailbox_id] = await world.add_mailboxes(1)
    assert (await world.connect("old")).number == 2
    assert await world.connect("new") == Epoch(number=3, restored=3, restored_ms=NOW_MS, reason="restore")
    for restore_id in ("old", "", "new", "old"):
        assert (await world.connect(restore_id)).number == 3
    async with world.process() as process:
        assert await process.uid_nexts(mailbox_id) == [1 + 2 * MILLION]


async def test_a_new_installation_with_a_restore_id_is_not_restored(world: World) -> None:
    assert await world.connect("given-at-once") == Epoch(number=1)


async def test_a_copy_of_unknown_age_is_lifted_by_its_age_too(world: World) -> None:
    """The same copy put back twice: between the two, uids were announced."""
    [mailbox_id] = await world.add_mailboxes(1)
    world.clock.ms += 10 * HOUR_MS
    await world.connect()  # in use at this time
    world.clock.ms += 2 * HOUR_MS
    await world.connect("copy")
    async with world.process() as process:
        assert await process.uid_nexts(mailbox_id) == [1 + MILLION + 12 * 7200]


async def test_a_database_that_was_loaded_elsewhere_counts_as_restored(world: World) -> None:
    """pg_dump carries the row along; the table it lies in then is another one, the cluster as well."""
    await world.add_mailboxes(1)
    await world.owner.execute("UPDATE mailstore.epoch SET table_id = 1")
    assert (await world.connect()).reason == "moved"
    await world.owner.execute("UPDATE mailstore.epoch SET system_id = '1'")
    assert await world.connect() == Epoch(number=3, restored=3, restored_ms=NOW_MS, reason="moved")
    assert (await world.connect()).number == 3


async def test_what_a_server_does_not_tell_never_differs(world: World) -> None:
    """A managed Postgres may hide both; then the restore id alone begins an epoch."""
    await world.add_mailboxes(1)
    await world.owner.execute("UPDATE mailstore.epoch SET system_id = NULL, timeline = NULL")
    assert (await world.connect()).number == 1
    assert (await world.connect("id")).number == 2


async def test_a_database_that_takes_no_writes_can_still_be_read(world: World) -> None:
    """Full, or switched to reading by its provider: only a new epoch has to wait."""
    [mailbox_id] = await world.add_mailboxes(1)
    world.clock.ms += 10 * HOUR_MS
    try:
        await world.owner.execute("ALTER ROLE postbus_imap_gateway SET default_transaction_read_only = on")
        async with world.process() as process:
            assert await process.uid_nexts(mailbox_id) == [1]
        await world.promote()
        async with world.process() as process:
            with pytest.raises(MailError) as caught:
                await process.uid_nexts(mailbox_id)
            assert caught.value.kind is ErrorKind.UNAVAILABLE
    finally:
        await world.owner.execute("ALTER ROLE postbus_imap_gateway RESET default_transaction_read_only")
    async with world.process() as process:
        assert await process.uid_nexts(mailbox_id) == [1 + MILLION]
    assert await world.owner.fetchval("SELECT seen_ms FROM mailstore.epoch") == world.clock.ms


async def test_a_lift_is_done_in_pieces_that_stay_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed in the middle leaves the rest to the next; nobody is served before the end."""
    monkeypatch.setattr(epoch_module, "PIECE_MAILBOXES", 2)
    mailbox_ids = await world.add_mailboxes(7)
    await world.promote()
    async with world.process("directory") as other:
        connection = await asyncpg.connect(
            world.database.dsn, user="postbus_delivery", password=world.database.password("delivery")
        )
        for _ in range(3):
            row = await connection.fetchrow("SELECT * FROM mailstore.ensure_epoch_v1('', $1, 2)", NOW_MS)
        await connection.close()
        assert row is not None
        assert (row["r_lifting"], row["r_mailboxes"]) == (True, 4)
        assert await world.owner.fetchval("SELECT count(*) FROM mailstore.folder WHERE uid_next > 1000") == 4 * 6
        assert (await other.connect()).number == 2
    async with world.process() as process:
        assert await process.uid_nexts(*mailbox_ids) == [1 + MILLION] * 7


async def test_many_processes_at_once_lift_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_module, "PIECE_MAILBOXES", 3)
    mailbox_ids = await world.add_mailboxes(20)
    await world.promote()
    async with contextlib.AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(world.process()) for _ in range(4)]
        found = await asyncio.gather(*(process.uid_nexts(*mailbox_ids) for process in processes * 3))
    assert {uid_next for uid_nexts in found for uid_next in uid_nexts} == {1 + MILLION}


async def test_a_promotion_in_the_middle_of_a_lift_begins_anew(world: World) -> None:
    mailbox_ids = await world.add_mailboxes(3)
    await world.promote()
    ensure = "SELECT * FROM mailstore.ensure_epoch_v1('', $1, 1)"
    for _ in range(2):
        await world.owner.execute(ensure, NOW_MS)
    await world.promote()
    async with world.process() as process:
        assert (await process.connect()).number == 3
        assert min(await process.uid_nexts(*mailbox_ids)) == 1 + MILLION
    assert [row["ended_ms"] for row in await world.history()] == [NOW_MS, None, NOW_MS]


async def test_a_folder_without_room_for_the_lift_gets_a_new_uid_validity(world: World) -> None:
    """RFC 9051 §2.3.1.1: what else could it do."""
    [mailbox_id] = await world.add_mailboxes(1)
    async with world.process("delivery") as process:
        await process.store.append([make_append(mailbox_id, f"{number}") for number in range(3)])
    await world.owner.execute(
        "UPDATE mailstore.entry SET uid = uid + 4294966000; UPDATE mailstore.folder SET uid_next = 4294966004 "
        "WHERE folder_id = 1"
    )
    async with world.process() as process:
        before = await process.store.load_entries(mailbox_id, INBOX)
        await world.promote()
    async with world.process() as process:
        after = await process.store.load_entries(mailbox_id, INBOX)
        assert after.head.uid_validity > before.head.uid_validity
        assert after.head.highest_mod_seq == before.head.highest_mod_seq + MILLION
        assert (after.head.uid_next, after.email_ids) == (4, before.email_ids)
        assert after.uids == b"".join(number.to_bytes(4, "big") for number in (1, 2, 3))
        assert not (await process.store.load_changes(mailbox_id, INBOX, before.head.highest_mod_seq)).complete
        others = [folder for folder in await process.store.list_folders(mailbox_id) if folder.folder_id != INBOX]
        assert {folder.uid_next for folder in others} == {1 + MILLION}
    last = (await world.history())[-1]
    assert (last["folders"], last["renewed"]) == (5, 1)


async def test_listeners_hear_of_an_epoch_before_its_connection_is_used(world: World) -> None:
    """And again when one of them could not do its part."""
    async with world.process() as process:
        heard: list[tuple[int, int | None]] = []

        async def listen(epoch: Epoch, before: Epoch | None, connection: asyncpg.Connection) -> None:
            assert await connection.fetchval("SELECT 1") == 1
            heard.append((epoch.number, before.number if before else None))
            if len(heard) == 2:
                raise MailError(ErrorKind.UNAVAILABLE, "not now")

        process.guard.listen(listen)
        await process.connect()
        await world.promote()
        await process.pool.expire_connections()
        with pytest.raises(MailError):
            await process.connect()
        assert (await process.connect()).number == 2
        assert heard == [(1, None), (2, 1), (2, 1)]


async def test_a_server_of_an_older_epoch_serves_nobody(world: World) -> None:
    """The primary of before a failover, still there: what it tells is over."""
    await world.add_mailboxes(1)
    await world.promote()
    async with world.process() as process:
        assert (await process.connect()).number == 2
        await world.owner.execute("UPDATE mailstore.epoch SET epoch = 1")
        await process.pool.expire_connections()
        with pytest.raises(MailError) as caught:
            await process.store.usage([])
        assert caught.value.kind is ErrorKind.UNAVAILABLE
