"""Figures of the mail store on a private Postgres: `python benchmarks/mailstore.py [--messages N]`.

Appends (messages a second; batch size x connections), loading of a folder, its changes, ENVELOPEs, flags, copies.
The server fsyncs every commit, as in production. CPU of Postgres is taken from /proc.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg

from postbus.contracts.events import Event, EventType
from postbus.core.ids import BlobId, EmailId, FolderId, MailboxId, ModSeq, new_email_id, new_mailbox_id, new_uuid7
from postbus.mailstore.packed import unpack_rows
from postbus.mailstore.postgres import PostgresMailStore
from postbus.mailstore.values import (
    Append,
    CopyRequest,
    Flag,
    NewMessage,
    SpecialUse,
    StoreMode,
    StoreRequest,
)
from postbus.runtime.embedded import EmbeddedPostgres, make_secrets, prepare_postgres, read_secret
from postbus.runtime.layout import Layout, layout_of, make_folders
from postbus.runtime.migrate import MigrationFolder, migrate

MIGRATIONS = Path(__file__).resolve().parent.parent / "libs/postbus/mailstore/migrations"
INBOX = FolderId(1)
ARCHIVE = FolderId(6)


def make_append(mailbox_id: MailboxId, number: int) -> Append:
    """About what a 4 KB message brings: 600 octets of prefix, 900 of structure, 300 of ENVELOPE."""
    now_ms = time.time_ns() // 1_000_000
    event = Event(
        event_id=new_uuid7(now_ms), type=EventType.DELIVERED, at_ms=now_ms, service="delivery", summary="delivered"
    )
    return Append(
        mailbox_id=mailbox_id,
        operation_key=new_uuid7(now_ms),
        folder=SpecialUse.INBOX,
        message=NewMessage(
            email_id=new_email_id(now_ms),
            blob_id=BlobId("20261122-" + os.urandom(32).hex()),
            prefix=os.urandom(300).hex().encode(),
            octets=4600,
            internal_date_ms=now_ms,
            sent_day=20_000,
            structure=os.urandom(450).hex().encode(),
            envelope=b"(" + os.urandom(149).hex().encode() + b")",
            message_id=f"{number}.{mailbox_id}@benchmark.example",
            references=tuple(f"{number - back}.{mailbox_id}@benchmark.example" for back in (2, 1) if number % 3 == 0),
            thread_subject=f"subject {number % 1000}",
            preview="The first words of the message stand here. " * 4,
            is_reply=number % 3 == 0,
        ),
        events=(event,),
    )


@contextlib.contextmanager
def private_postgres() -> Iterator[tuple[EmbeddedPostgres, Layout]]:
    """A fresh server with the schema, ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="pb", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        layout = layout_of(Path(name) / "d", {})
        make_folders(layout)
        make_secrets(layout.secrets)
        server = prepare_postgres(layout)
        program = server.program()
        with subprocess.Popen(
            program.command, env=program.environment, cwd=program.folder, stderr=subprocess.DEVNULL
        ) as process:
            try:
                asyncio.run(set_up(server, layout))
                yield server, layout
            finally:
                process.send_signal(program.stop_signal)


async def set_up(server: EmbeddedPostgres, layout: Layout) -> None:
    while not await server.is_ready():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    owner = read_secret(layout.secrets, "postgres-owner")
    await migrate(server.dsn, owner, [MigrationFolder(owner="mailstore", path=MIGRATIONS)], layout.secrets)


@contextlib.asynccontextmanager
async def opened(server: EmbeddedPostgres, layout: Layout, service: str, size: int) -> AsyncIterator[PostgresMailStore]:
    password = read_secret(layout.secrets, f"postgres-{service}")
    role = f"postbus_{service.replace('-', '_')}"
    async with asyncpg.create_pool(server.dsn, user=role, password=password, min_size=size, max_size=size) as pool:
        yield PostgresMailStore(pool)


def postgres_seconds(server: EmbeddedPostgres) -> float:
    """CPU seconds of the server and its ended and living backends."""
    ticks = 0
    root = (server.data / "postmaster.pid").read_text().split()[0]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if stat.parent.name == root:
                ticks += sum(map(int, fields[11:15]))
            elif fields[1] == root:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def append_rate(server: EmbeddedPostgres, layout: Layout, batch: int, connections: int, total: int) -> None:
    async with (
        opened(server, layout, "directory", 1) as accounts,
        opened(server, layout, "delivery", connections) as store,
    ):
        boxes = [new_mailbox_id(time.time_ns() // 1_000_000) for _ in range(50)]
        for box in boxes:
            await accounts.ensure_mailbox(box)
        appends = [make_append(boxes[number % len(boxes)], number) for number in range(total)]
        batches = iter([appends[start : start + batch] for start in range(0, total, batch)])
        await store.append([make_append(boxes[0], 0)])

        async def work() -> None:
            for chunk in batches:
                await store.append(chunk)

        cpu, own, began = postgres_seconds(server), time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(connections)))
        elapsed = time.perf_counter() - began
        cpu, own = postgres_seconds(server) - cpu, time.process_time() - own
        print(
            f"append, batches of {batch:3d} on {connections} connections: {total / elapsed:6.0f} messages/s, "
            f"CPU a message: Postgres {cpu / total * 1000:.2f} ms, client {own / total * 1000:.2f} ms"
        )


async def folder_figures(server: EmbeddedPostgres, layout: Layout, messages: int) -> None:
    async with (
        opened(server, layout, "directory", 1) as accounts,
        opened(server, layout, "imap-gateway", 2) as store,
    ):
        box = new_mailbox_id(time.time_ns() // 1_000_000)
        await accounts.ensure_mailbox(box)
        for start in range(0, messages, 500):
            await store.append([make_append(box, number) for number in range(start, min(start + 500, messages))])
        with timed(f"load_entries of {messages}"):
            packed = await store.load_entries(box, INBOX)
        rows = unpack_rows(packed)
        names = [email_id_of(row.email_id) for row in rows]
        with timed(f"fetch_envelopes of {messages}"):
            envelopes = await store.fetch_envelopes(box, names)
        assert len(envelopes) == messages
        assert all(envelopes)
        with timed("fetch_messages of 200"):
            await store.fetch_messages(box, names[:200])
        uids = tuple(row.uid for row in rows)
        with timed(f"store_flags of {messages}"):
            await store.store_flags(
                StoreRequest(mailbox_id=box, folder_id=INBOX, uids=uids, mode=StoreMode.ADD, flags=Flag.SEEN)
            )
        with timed("store_flags of 1"):
            await store.store_flags(
                StoreRequest(mailbox_id=box, folder_id=INBOX, uids=(5,), mode=StoreMode.ADD, flags=Flag.FLAGGED)
            )
        with timed("load_changes of 1"):
            await store.load_changes(box, INBOX, ModSeq(packed.head.highest_mod_seq + 1))
        with timed("heads of 100"):
            await store.heads([(box, INBOX)] * 100)
        moved = uids[: messages // 10]
        with timed(f"MOVE of {len(moved)}"):
            await store.copy(
                CopyRequest(
                    mailbox_id=box, source=INBOX, uids=moved, target=ARCHIVE, operation_key=new_uuid7(1), move=True
                )
            )
        gone = uids[messages // 10 : messages // 5]
        await store.store_flags(
            StoreRequest(mailbox_id=box, folder_id=INBOX, uids=gone, mode=StoreMode.ADD, flags=Flag.DELETED)
        )
        with timed(f"EXPUNGE of {len(gone)}"):
            await store.expunge(box, INBOX, None)


def email_id_of(octets: bytes) -> EmailId:
    return EmailId(str(uuid.UUID(bytes=octets)))


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {(time.perf_counter() - began) * 1000:.1f} ms")


async def run(server: EmbeddedPostgres, layout: Layout, messages: int, appends: int) -> None:
    for batch, connections in ((1, 1), (1, 4), (10, 2), (50, 2), (200, 2)):
        await append_rate(server, layout, batch, connections, appends)
    print(f"folders of {messages // 10} and {messages} messages")
    for count in (messages // 10, messages):
        await folder_figures(server, layout, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--appends", type=int, default=4_000)
    options = parser.parse_args()
    with private_postgres() as (server, layout):
        asyncio.run(run(server, layout, options.messages, options.appends))


if __name__ == "__main__":
    main()
