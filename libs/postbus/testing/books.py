"""The ledger held against the bus by other means than its own: its rows, the numbers of the stream (promise 1)."""

import asyncio
import time

import asyncpg
import msgspec
import nats

from postbus.bus.subjects import CONSUMER_DELIVERY, STREAM_MAIL
from postbus.runtime.embedded import read_secret
from postbus.runtime.layout import layout_of
from postbus.testing.installation import Platform
from postbus.testing.probes import HEAL_SECONDS

ROUND_SECONDS = 0.3


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides at one moment."""

    last_sequence: int
    open_messages: int
    """Waiting on the bus, or in hand without an ack."""
    accounts: dict[int, str]
    """By stream sequence."""


def assert_books_agree(platform: Platform, seconds: float = HEAL_SECONDS) -> Books:
    """Once nothing is open, every sequence that the stream has given out is accounted for, and no other is."""
    deadline = time.monotonic() + seconds
    while (books := asyncio.run(_read(platform))).open_messages:
        assert time.monotonic() < deadline, f"{books.open_messages} messages stay on the bus"
        time.sleep(ROUND_SECONDS)
    accepted = set(range(1, books.last_sequence + 1))
    assert accepted - set(books.accounts) == set(), "missing in the ledger"
    assert set(books.accounts) - accepted == set(), "never given out by the stream"
    return books


async def _read(platform: Platform) -> Books:
    layout = layout_of(platform.data_dir, {})
    port = (layout.nats / "port").read_text(encoding="ascii").strip()
    bus = await nats.connect(
        f"nats://127.0.0.1:{port}", user="admin", password=read_secret(layout.secrets, "nats-admin")
    )
    try:
        last = (await bus.jetstream().stream_info(STREAM_MAIL)).state.last_seq
        consumer = await bus.jetstream().consumer_info(STREAM_MAIL, CONSUMER_DELIVERY)
    finally:
        await bus.close()
    password = read_secret(layout.secrets, "postgres-superuser")
    session = await asyncpg.connect(host=str(layout.run / "pg"), database="postbus", user="postgres", password=password)
    try:
        rows = await session.fetch("SELECT stream_sequence, accounted FROM delivery.ledger")
    finally:
        await session.close()
    return Books(
        last_sequence=last,
        open_messages=(consumer.num_pending or 0) + (consumer.num_ack_pending or 0),
        accounts={row["stream_sequence"]: row["accounted"] for row in rows},
    )
