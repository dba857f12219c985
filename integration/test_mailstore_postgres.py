"""The mail store's contract on real Postgres, as the service roles see it."""

import asyncio
import contextlib
import random
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId, FolderId, MailboxId, ModSeq, new_mailbox_id
from postbus.mailstore.database import OutcomeUnknownError
from postbus.mailstore.epoch import EpochGuard
from postbus.mailstore.packed import unpack_rows
from postbus.mailstore.postgres import PostgresMailStore
from postbus.mailstore.values import AppendOutcome, Flag, StoreMode, StoreRequest
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.mailstore_builders import (
    INBOX,
    NOW_MS,
    MailStore,
    check_counters,
    drain_outbox,
    fill,
    flag,
    load,
    make_append,
    make_copy,
    make_event,
    make_mailbox,
    make_message,
)
from postbus.testing.mailstore_contract import MailStoreContract
from postbus.testing.mailstore_random import OperationSource, outcome_of

ROLES = {
    "ensure_mailboxes": "directory",
    "usage": "directory",
    "totals": "directory",
    "purge": "directory",
    "relay_outbox": "delivery",
    "trim_history": "delivery",
    "pending": "indexer",
    "indexed": "indexer",
    "failed": "indexer",
    "enqueue_all": "indexer",
    "message_ids": "indexer",
    "enqueue": "indexer",
}
"""Which service calls what; everything else is imap-gateway's."""


class FixedClock:
    def now_ms(self) -> int:
        return NOW_MS

    def monotonic(self) -> float:
        return 0.0


class AllServices:
    """Every port through the role that may call it."""

    def __init__(self, pools: dict[str, asyncpg.Pool], owner: asyncpg.Connection) -> None:
        self._pools = pools
        self._owner = owner
        self._stores = {service: PostgresMailStore(pool, FixedClock()) for service, pool in pools.items()}

    async def close_pools(self) -> None:
        for pool in self._pools.values():
            await pool.close()

    async def lift(self) -> None:
        """The server as one that was promoted after the epoch was stored."""
        async with self._pools["delivery"].acquire() as connection:
            await EpochGuard("", FixedClock()).ensure(connection)  # type: ignore[arg-type]  # of a pool: a proxy
            await self._owner.execute("UPDATE mailstore.epoch SET timeline = '00000000'")
            await EpochGuard("", FixedClock()).ensure(connection)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:  # a method of the port that `name` belongs to
        return getattr(self._stores[ROLES.get(name, "imap-gateway")], name)


@contextlib.asynccontextmanager
async def open_pool(database: Any, service: str, size: int = 4) -> AsyncIterator[asyncpg.Pool]:
    role = "postbus_" + service.replace("-", "_")
    async with asyncpg.create_pool(
        database.dsn, user=role, password=database.password(service), min_size=0, max_size=size
    ) as pool:
        yield pool


@contextlib.asynccontextmanager
async def open_owner(database: Any) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.dsn, user="postbus_owner", password=database.password("owner"))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def store(database: Any) -> AsyncIterator[MailStore]:
    async with contextlib.AsyncExitStack() as stack:
        services = ("directory", "delivery", "imap-gateway", "indexer")
        pools = {service: await stack.enter_async_context(open_pool(database, service, 10)) for service in services}
        yield AllServices(pools, await stack.enter_async_context(open_owner(database)))


class TestPostgresMailStore(MailStoreContract):
    pass


async def test_concurrent_appends_keep_uid_and_mod_seq_in_commit_order(store: MailStore) -> None:
    """Promise 5: nothing appears below an announced UIDNEXT, or changes below an announced HIGHESTMODSEQ."""
    mailbox_id = await make_mailbox(store)
    done = asyncio.Event()
    writers = 6

    async def write(writer: int) -> None:
        for number in range(15):
            keys = [f"{writer}-{number}-{part}" for part in range(3)]
            await store.append([make_append(mailbox_id, key) for key in keys])

    async def watch() -> int:
        known: set[int] = set()
        since, uid_next, checks = ModSeq(1), 1, 0
        while True:
            finished = done.is_set()
            changes = await store.load_changes(mailbox_id, INBOX, since)
            rows = unpack_rows(changes)
            assert all(row.uid >= uid_next and row.mod_seq > since for row in rows)
            known.update(row.uid for row in rows)
            since, uid_next, checks = changes.head.highest_mod_seq, changes.head.uid_next, checks + 1
            assert known == set(range(1, uid_next))
            if finished:
                return checks

    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch())
        await asyncio.gather(*(write(writer) for writer in range(writers)))
        done.set()
    assert watcher.result() > 2
    rows = await load(store, mailbox_id)
    assert [row.uid for row in rows] == list(range(1, writers * 45 + 1))
    assert [row.mod_seq for row in rows] == sorted(row.mod_seq for row in rows)
    await check_counters(store, mailbox_id)


async def test_batches_over_the_same_mailboxes_do_not_deadlock(store: MailStore) -> None:
    """Locks are taken in one order whatever the order of the batch; the index queue never waits."""
    boxes = [await make_mailbox(store) for _ in range(8)]

    async def write(writer: int) -> None:
        shuffled = random.Random(writer)
        for number in range(10):
            batch = [make_append(box, f"{writer}-{number}") for box in boxes]
            shuffled.shuffle(batch)
            assert {result.outcome for result in await store.append(batch)} == {AppendOutcome.STORED}
            box = shuffled.choice(boxes)
            await store.indexed(list(reversed(await store.pending_of(boxes, 50))))
            await flag(store, box, tuple(range(1, 99)), Flag.DELETED)
            await store.expunge(box, INBOX, None)

    await asyncio.gather(*(write(writer) for writer in range(6)))
    for box in boxes:
        await check_counters(store, box)


async def test_the_same_key_on_several_connections_stores_once(store: MailStore) -> None:
    mailbox_id = await make_mailbox(store)
    appends = [make_append(mailbox_id, "key") for _ in range(8)]
    results = [result for [result] in await asyncio.gather(*(store.append([append]) for append in appends))]
    outcomes = [result.outcome for result in results]
    assert outcomes.count(AppendOutcome.STORED) == 1
    assert outcomes.count(AppendOutcome.DUPLICATE) == 7
    assert len({(result.uid, result.mod_seq) for result in results}) == 1


async def test_random_operations_come_to_the_same_as_on_the_fake(store: MailStore) -> None:
    """The fake that every unit test trusts behaves as Postgres does, answer by answer."""
    fake = MemoryMailStore(FixedClock())
    for seed in range(5):
        mailbox_id = await make_mailbox(store)
        await fake.ensure_mailboxes([mailbox_id])
        source = OperationSource(mailbox_id, seed)
        for step in range(80):
            operation = source.next([folder.folder_id for folder in await fake.list_folders(mailbox_id)])
            assert await outcome_of(operation, store) == await outcome_of(operation, fake), (seed, step)
        await _compare(mailbox_id, store, fake)
        await check_counters(store, mailbox_id)


async def _compare(mailbox_id: MailboxId, one: MailStore, other: MailStore) -> None:
    folders = await one.list_folders(mailbox_id)
    assert folders == await other.list_folders(mailbox_id)
    assert await one.usage([mailbox_id]) == await other.usage([mailbox_id])
    pending = {row.email_id: row.message for row in await one.pending_of([mailbox_id], 1000)}
    assert pending == {row.email_id: row.message for row in await other.pending_of([mailbox_id], 1000)}
    for folder in folders:
        assert await one.load_entries(mailbox_id, folder.folder_id) == await other.load_entries(
            mailbox_id, folder.folder_id
        )
        for since in map(ModSeq, range(0, 100, 7)):
            changes = await one.load_changes(mailbox_id, folder.folder_id, since)
            assert changes == await other.load_changes(mailbox_id, folder.folder_id, since)


async def test_an_outbox_row_is_claimed_by_one_relay_only(store: MailStore) -> None:
    mailbox_id = await make_mailbox(store)
    await drain_outbox(store)
    await store.append([make_append(mailbox_id, f"{n}", None, events=(make_event(f"{n}"),)) for n in range(40)])
    seen: list[str] = []
    both_hold = asyncio.Barrier(2)

    async def publish(events: Sequence[Event]) -> None:
        async with asyncio.timeout(10):
            await both_hold.wait()
        seen.extend(event.event_id for event in events)

    relayed = await asyncio.gather(store.relay_outbox(20, publish), store.relay_outbox(20, publish))
    assert list(relayed) == [20, 20]
    assert len(set(seen)) == 40


async def test_append_commits_all_or_nothing(store: MailStore, database: Any) -> None:
    """A failure behind the message leaves neither key, entry, event nor index row."""
    mailbox_id = await make_mailbox(store)
    await drain_outbox(store)
    async with open_owner(database) as owner:
        await owner.execute("ALTER TABLE mailstore.outbox ADD CONSTRAINT broken CHECK (at_ms < 0) NOT VALID")
        try:
            with pytest.raises(asyncpg.CheckViolationError):
                await store.append([make_append(mailbox_id, "key", None, events=(make_event("e"),))])
        finally:
            await owner.execute("ALTER TABLE mailstore.outbox DROP CONSTRAINT broken")
    assert await load(store, mailbox_id) == []
    assert await store.pending_of([mailbox_id], 10) == []
    assert await store.usage([mailbox_id]) == {mailbox_id: 0}
    [result] = await store.append([make_append(mailbox_id, "key")])
    assert (result.outcome, result.uid) == (AppendOutcome.STORED, 1)


async def test_one_value_that_postgres_refuses_does_not_fail_the_batch(store: MailStore) -> None:
    mailbox_id = await make_mailbox(store)
    results = await store.append(
        [
            make_append(mailbox_id, "a"),
            make_append(mailbox_id, "b", make_message(preview="nul \0")),
            make_append(mailbox_id, "c"),
        ]
    )
    assert [result.outcome for result in results] == [
        AppendOutcome.STORED,
        AppendOutcome.INVALID,
        AppendOutcome.STORED,
    ]


async def test_a_lost_connection_is_tried_again_and_stores_once(store: MailStore, database: Any) -> None:
    """The commit may have happened before the connection died: the key tells."""
    mailbox_id = await make_mailbox(store)
    async with open_pool(database, "imap-gateway", 1) as pool:
        losing = _LossyPool(pool)
        lossy = PostgresMailStore(losing)  # type: ignore[arg-type]
        [result] = await lossy.append([make_append(mailbox_id, "key")])
        assert (result.outcome, result.uid) == (AppendOutcome.DUPLICATE, 1)
        losing.losses = 1
        copied = await lossy.copy(make_copy(mailbox_id, INBOX, (1,)))
        assert copied.pairs == ((1, 2),)
        losing.losses = 1
        stored = await lossy.store_flags(conditional_store(mailbox_id, copied.mod_seq, "seen"))
        assert (stored.modified, stored.changed) == ((), True)
    assert len(await load(store, mailbox_id)) == 2


def conditional_store(mailbox_id: MailboxId, unchanged_since: int, operation_key: str | None) -> StoreRequest:
    return StoreRequest(
        mailbox_id=mailbox_id,
        folder_id=INBOX,
        uids=(1,),
        mode=StoreMode.ADD,
        flags=Flag.SEEN,
        unchanged_since=ModSeq(unchanged_since),
        operation_key=operation_key,
    )


class _LossyPool:
    """Loses the answers of the next statements after they were committed."""

    def __init__(self, pool: asyncpg.Pool, losses: int = 1) -> None:
        self._pool = pool
        self.losses = losses

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self._pool.acquire() as connection:
            self._connection = connection
            yield self

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        rows = await self._connection.fetch(statement, *arguments)
        if self.losses:
            self.losses -= 1
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return rows


async def test_a_change_whose_answer_is_lost_twice_has_an_unknown_outcome(database: Any) -> None:
    """What may have happened is told apart from what was never sent; the key tells the truth later."""
    async with open_pool(database, "imap-gateway") as pool, open_pool(database, "directory") as owner:
        mailbox_id = new_mailbox_id(NOW_MS)
        await PostgresMailStore(owner).ensure_mailboxes([mailbox_id])
        lossy = _LossyPool(pool, losses=2)
        store = PostgresMailStore(lossy)  # type: ignore[arg-type]
        append = make_append(mailbox_id, "key")
        with pytest.raises(OutcomeUnknownError):
            await store.append([append])
        assert (await store.append([append]))[0].outcome is AppendOutcome.DUPLICATE
        lossy.losses = 1
        with pytest.raises(OutcomeUnknownError):
            await store.store_flags(conditional_store(mailbox_id, 1_000, None))
        lossy.losses = 1
        with pytest.raises(OutcomeUnknownError):
            await store.create_folder(mailbox_id, "new")
        with pytest.raises(MailError) as caught:
            await store.create_folder(mailbox_id, "new")
        assert caught.value.kind is ErrorKind.ALREADY_EXISTS


async def test_an_absent_server_is_unavailable() -> None:
    async with asyncpg.create_pool("postgresql:///x?host=/nonexistent", user="x", min_size=0) as pool:
        store = PostgresMailStore(pool)
        for attempt in (
            store.usage([]),
            store.append([make_append(new_mailbox_id(1), "k")]),
            store.relay_outbox(1, _no),
        ):
            with pytest.raises(MailError) as caught:
                await attempt
            assert caught.value.kind is ErrorKind.UNAVAILABLE
            assert not isinstance(caught.value, OutcomeUnknownError)


async def _no(events: Sequence[Event]) -> None:
    raise AssertionError("nothing to publish")


async def test_services_have_functions_not_tables(database: Any) -> None:
    """Architecture §2: EXECUTE on versioned functions; no rights on tables, none for others."""
    async with open_owner(database) as owner:
        tables = await owner.fetch(
            """
            SELECT c.relname, r.rolname FROM pg_class c, pg_roles r
            WHERE c.relnamespace = 'mailstore'::regnamespace AND c.relkind IN ('r', 'S')
              AND r.rolname LIKE 'postbus\\_%' AND r.rolname <> 'postbus_owner'
              AND CASE c.relkind WHEN 'r' THEN has_table_privilege(r.oid, c.oid, 'SELECT,INSERT,UPDATE,DELETE')
                                 ELSE has_sequence_privilege(r.oid, c.oid, 'USAGE') END
            """
        )
        assert tables == []
        functions = await owner.fetch(
            """
            SELECT p.proname, p.prosecdef, coalesce(array_to_string(p.proconfig, ';'), '') AS settings,
                   array_remove(array_agg(r.rolname::text), NULL) AS roles
            FROM pg_proc p
            LEFT JOIN pg_roles r ON r.rolname LIKE 'postbus\\_%' AND r.rolname <> 'postbus_owner'
                                AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
            WHERE p.pronamespace = 'mailstore'::regnamespace GROUP BY p.oid
            """
        )
    for row in functions:
        versioned = re.search(r"_v[0-9]+$", row["proname"]) is not None
        assert bool(row["roles"]) == versioned, row["proname"]
        if versioned:
            assert row["prosecdef"], row["proname"]
            assert "search_path=pg_catalog, pg_temp" in row["settings"], row["proname"]
            assert "postbus_smtp_edge" not in row["roles"]


async def test_hot_queries_never_read_a_whole_table(store: MailStore, database: Any) -> None:
    """Every statement of the store's life leaves the counters of sequential scans where they were."""
    mailbox_id = await make_mailbox(store)
    async with open_owner(database) as owner:
        await owner.execute("ANALYZE mailstore.mailbox, mailstore.folder, mailstore.message, mailstore.entry")
        before = await _settled_scans(owner)
        await fill(store, mailbox_id, 50, events=(make_event("e"),))
        await drain_outbox(store)
        await store.usage([mailbox_id])
        await store.list_folders(mailbox_id)
        rows = await load(store, mailbox_id)
        await store.load_changes(mailbox_id, INBOX, ModSeq(20))
        await store.heads([(mailbox_id, INBOX)] * 10)
        names = [EmailId(str(uuid.UUID(bytes=row.email_id))) for row in rows]
        await store.fetch_messages(mailbox_id, names)
        await store.fetch_envelopes(mailbox_id, names)
        request = StoreRequest(
            mailbox_id=mailbox_id, folder_id=INBOX, uids=(1, 2, 3), mode=StoreMode.ADD, flags=Flag.DELETED
        )
        await store.store_flags(request)
        await store.copy(make_copy(mailbox_id, FolderId(6), (4, 5)))
        await store.copy(make_copy(mailbox_id, FolderId(6), (6, 7), move=True))
        await store.expunge(mailbox_id, INBOX, None)
        await store.pending(10)
        await store.indexed(await store.pending_of([mailbox_id], 100))
        await store.enqueue_all(None, 30)
    # The services' sessions send their statistics when they end or after a second of idling.
    await store.close_pools()  # type: ignore[attr-defined]
    async with open_owner(database) as owner:
        await owner.execute("SELECT pg_stat_clear_snapshot()")
        assert await _sequential_scans(owner) == before


async def _settled_scans(owner: asyncpg.Connection) -> dict[str, int]:
    """Once what former sessions did is counted: they tell at most once a second, and when they end."""
    before = await _sequential_scans(owner)
    while True:
        await asyncio.sleep(1.1)
        now = await _sequential_scans(owner)
        if now == before:
            return now
        before = now


async def _sequential_scans(owner: asyncpg.Connection) -> dict[str, int]:
    await owner.execute("SELECT pg_stat_clear_snapshot()")
    rows = await owner.fetch("SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = 'mailstore'")
    return {row["relname"]: row["seq_scan"] for row in rows}
