"""CONDSTORE on the real store, under concurrent writers: MODSEQ order is commit order, nothing changed is missed.

The first test looks at the store: whatever two sessions do at the same time comes to the same as doing it one after the
other in the order of the mod_seqs (promise 5). The others look at the wire, where clients keep flags between visits and
ask for changes only.
"""

import asyncio
import contextlib
import json
import random
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from postbus.core.ids import MailboxId, ModSeq
from postbus.mailstore.packed import expand_ranges, unpack_rows
from postbus.mailstore.postgres import PostgresMailStore
from postbus.mailstore.values import AppendResult, CopyResult, Flag, StoreMode, StoreRequest, StoreResult, ViewRow
from postbus.testing.imap_dialogue import Dialogue
from postbus.testing.installation import Platform, postbus
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.mailstore_builders import INBOX, fill, make_append, make_copy, make_mailbox, make_message

OPERATIONS = 60
"""Of each session."""
WRITERS = 2
UIDS = 12
MESSAGE = b"From: a@b.example\r\nSubject: x\r\n\r\nText\r\n"
FETCH = re.compile(rb"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\) MODSEQ \((\d+)\)\)")


class Done(msgspec.Struct, frozen=True):
    """One operation of a session: what it was, when it began and ended, what it answered."""

    run: Callable[[Any], Awaitable[Any]]
    began: float
    ended: float
    answer: Any

    @property
    def mod_seq(self) -> int:
        """Its own, or that of what it saw last."""
        if isinstance(self.answer, list):
            return int(self.answer[0].mod_seq)
        if isinstance(self.answer, tuple):
            return int(self.answer[1])
        return int(self.answer.mod_seq)

    @property
    def changed(self) -> bool:
        """Whether the mod_seq is its own."""
        if isinstance(self.answer, StoreResult):
            return self.answer.changed
        if isinstance(self.answer, CopyResult):
            return bool(self.answer.pairs)
        return bool(self.answer[0])


class Session:
    """Does random things; a conditional STORE names the mod_seq that this session has seen last."""

    def __init__(self, mailbox_id: MailboxId, number: int) -> None:
        self._mailbox_id = mailbox_id
        self._chance = random.Random(number)
        self._number = number
        self._seen = ModSeq(1)
        self.done: list[Done] = []

    async def work(self, store: Any) -> None:
        for step in range(OPERATIONS):
            run = self._choose(step)
            began = time.monotonic()
            answer = await run(store)
            self.done.append(Done(run, began, time.monotonic(), answer))
            if self._chance.random() < 0.5:
                self._seen = ModSeq(self.done[-1].mod_seq)

    def _choose(self, step: int) -> Callable[[Any], Awaitable[Any]]:
        chance = self._chance
        uids = tuple(sorted(chance.sample(range(1, UIDS + 30), chance.randrange(1, 10))))
        match chance.randrange(6):
            case 0:
                append = make_append(self._mailbox_id, f"append {self._number} {step}", make_message())
                return lambda store: store.append([append])
            case 1:
                return lambda store: store.expunge(self._mailbox_id, INBOX, uids[:2])
            case 2:
                copy = make_copy(self._mailbox_id, INBOX, uids[:2], move=chance.random() < 0.5)
                return lambda store: store.copy(copy)
            case _:
                request = StoreRequest(
                    mailbox_id=self._mailbox_id,
                    folder_id=INBOX,
                    uids=uids,
                    mode=chance.choice(list(StoreMode)),
                    flags=Flag(chance.randrange(32)),
                    keywords=tuple(chance.sample(["a", "b"], chance.randrange(3))),
                    unchanged_since=chance.choice([None, self._seen, ModSeq(0)]),
                    operation_key=f"store {self._number} {step}",
                )
                return lambda store: store.store_flags(request)


class Follower:
    """Keeps a copy of the folder by asking for changes only, while others write."""

    def __init__(self, mailbox_id: MailboxId) -> None:
        self._mailbox_id = mailbox_id
        self.rows: dict[int, ViewRow] = {}
        self.mod_seq = ModSeq(0)

    async def catch_up(self, store: Any) -> None:
        packed = await store.load_changes(self._mailbox_id, INBOX, self.mod_seq)
        for row in unpack_rows(packed):
            assert self.mod_seq < row.mod_seq <= packed.head.highest_mod_seq
            self.rows[row.uid] = row
        for uid in expand_ranges(packed.vanished):
            self.rows.pop(uid, None)
        assert packed.head.highest_mod_seq >= self.mod_seq
        self.mod_seq = packed.head.highest_mod_seq

    async def follow(self, store: Any, until: asyncio.Event) -> None:
        while not until.is_set():
            await self.catch_up(store)
            await asyncio.sleep(0.002)


@pytest.fixture
async def stores(database: Any) -> AsyncIterator[tuple[PostgresMailStore, PostgresMailStore]]:
    """As directory and as imap-gateway."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for service in ("directory", "imap-gateway"):
            pool = asyncpg.create_pool(
                database.dsn,
                user="postbus_" + service.replace("-", "_"),
                password=database.password(service),
                min_size=0,
                max_size=WRITERS + 1,
            )
            found.append(PostgresMailStore(await stack.enter_async_context(pool)))
        yield found[0], found[1]


def comparable(answer: Any) -> Any:
    """Without the clock's part."""
    if isinstance(answer, list):
        return [comparable(each) for each in answer]
    if isinstance(answer, AppendResult | CopyResult):
        return msgspec.structs.replace(answer, uid_validity=0)
    return answer


@pytest.mark.parametrize("seed", range(3))
async def test_concurrent_sessions_come_to_the_order_of_their_mod_seqs(
    stores: tuple[PostgresMailStore, PostgresMailStore], seed: int
) -> None:
    directory, store = stores
    mailbox_id = await make_mailbox(directory)
    await fill(store, mailbox_id, UIDS)
    sessions = [Session(mailbox_id, 10 * seed + number) for number in range(WRITERS)]
    follower, over = Follower(mailbox_id), asyncio.Event()
    following = asyncio.create_task(follower.follow(store, over))
    await asyncio.gather(*(session.work(store) for session in sessions))
    over.set()
    await following
    await follower.catch_up(store)
    everything = unpack_rows(await store.load_entries(mailbox_id, INBOX))
    assert [follower.rows[uid] for uid in sorted(follower.rows)] == everything
    # real time: what ended before another began has the lower mod_seq
    done = [each for session in sessions for each in session.done]
    for earlier in done:
        for later in done:
            if earlier.ended < later.began and later.changed:
                assert earlier.mod_seq < later.mod_seq
    own = [each.mod_seq for each in done if each.changed]
    assert len(own) == len(set(own))
    await check_against_model(mailbox_id, done, everything)


async def check_against_model(mailbox_id: MailboxId, done: list[Done], everything: list[ViewRow]) -> None:
    """The same operations one by one on the fake, in the order of their mod_seqs, give the same answers and rows."""
    model = MemoryMailStore()
    await model.ensure_mailboxes([mailbox_id])
    await fill(model, mailbox_id, UIDS)
    for each in sorted(done, key=lambda each: (each.mod_seq, not each.changed)):
        assert comparable(await each.run(model)) == comparable(each.answer)
    rows = unpack_rows(await model.load_entries(mailbox_id, INBOX))
    facts = [[(row.uid, row.flags, row.keywords, row.mod_seq) for row in each] for each in (rows, everything)]
    assert facts[0] == facts[1]


@pytest.fixture
def login(platform: Platform) -> bytes:
    """LOGIN of a mailbox of its own."""
    address = f"condstore-{uuid.uuid4().hex[:8]}@demo.example"
    made = postbus("mailbox", "add", address, "--generate", "--json", "--data-dir", str(platform.data_dir))
    return f'LOGIN "{address}" "{json.loads(made.stdout)["password"]}"'.encode()


@contextlib.contextmanager
def opened(platform: Platform, login: bytes) -> Any:
    with contextlib.closing(Dialogue(platform)) as dialogue:
        dialogue.ask(login)
        yield dialogue
        dialogue.ask(b"LOGOUT")


class Visitor:
    """A client that keeps flags by uid, and a mod_seq, between visits."""

    def __init__(self) -> None:
        self.flags: dict[int, bytes] = {}
        self.mod_seq = 1

    def visit(self, dialogue: Dialogue) -> None:
        """Asks for what changed since the last visit, while others write."""
        selected = dialogue.ask(b"SELECT INBOX (CONDSTORE)")
        highest = next(int(found[1]) for line in selected if (found := re.search(rb"HIGHESTMODSEQ (\d+)", line)))
        for line in dialogue.ask(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % self.mod_seq):
            if found := FETCH.fullmatch(line):
                self.flags[int(found[1])] = found[2]
        present = {int(uid) for uid in dialogue.ask(b"UID SEARCH ALL")[0].split()[2:]}
        self.flags = {uid: flags for uid, flags in self.flags.items() if uid in present}
        self.mod_seq = highest
        dialogue.ask(b"UNSELECT")


def write(platform: Platform, login: bytes, seed: int, failures: list[BaseException]) -> None:
    chance = random.Random(seed)
    try:
        with opened(platform, login) as dialogue:
            dialogue.ask(b"SELECT INBOX (CONDSTORE)")
            for _ in range(OPERATIONS):
                uid = chance.randrange(1, 40)
                flags = b" ".join(chance.sample([b"\\Seen", b"\\Flagged", b"\\Deleted", b"Work"], 2))
                since = b" (UNCHANGEDSINCE %d)" % chance.randrange(2, 150) if chance.random() < 0.4 else b""
                sign = chance.choice([b"", b"+", b"-"])
                match chance.randrange(8):
                    case 0:
                        dialogue.append(b"INBOX", MESSAGE, b"(%b)" % flags)
                    case 1:
                        dialogue.ask(b"EXPUNGE")
                    case 2:
                        dialogue.ask(b"UID MOVE %d INBOX" % uid)
                    case _:
                        dialogue.ask(b"UID STORE %d:%d%b %bFLAGS (%b)" % (uid, uid + 9, since, sign, flags))
    except BaseException as error:
        failures.append(error)
        raise


def test_a_client_that_asks_for_changes_only_misses_nothing(platform: Platform, login: bytes) -> None:
    failures: list[BaseException] = []
    visitor = Visitor()
    with opened(platform, login) as dialogue:
        for _ in range(20):
            dialogue.append(b"INBOX", MESSAGE)
        writers = [threading.Thread(target=write, args=(platform, login, seed, failures)) for seed in range(WRITERS)]
        for writer in writers:
            writer.start()
        visits = 0
        while any(writer.is_alive() for writer in writers):
            visitor.visit(dialogue)
            visits += 1
        for writer in writers:
            writer.join()
        assert not failures
        assert visits > 3
        visitor.visit(dialogue)
        dialogue.ask(b"SELECT INBOX")
        whole = [found for line in dialogue.ask(b"UID FETCH 1:* (FLAGS MODSEQ)") if (found := FETCH.fullmatch(line))]
    assert visitor.flags == {int(found[1]): found[2] for found in whole}
