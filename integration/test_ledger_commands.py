"""The ledger of a running installation, by `postbus ledger` and the API: mail of all kinds, dead letters, settling."""

import asyncio
import contextlib
import json
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec
import nats
import pytest
from nats.aio.client import Client

from postbus.bus.codec import decode_value, encode_value
from postbus.bus.subjects import STREAM_MAIL, SUBJECT_MAIL_ACCEPTED
from postbus.contracts.directory import MailboxTarget
from postbus.contracts.events import MailAccepted
from postbus.core.ids import MailboxId, new_queue_id
from postbus.runtime.embedded import read_secret
from postbus.runtime.layout import layout_of
from postbus.testing.installation import Platform, postbus, short_folder, start_platform
from postbus.testing.probes import arrived, assert_ledger_balanced, process_ids, submit

PATIENCE_SECONDS = 40.0
PASSWORD = "a long pass phrase"
Found = TypeVar("Found")


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A process for each service, so that delivery can be stopped alone."""
    with short_folder() as folder:
        yield start_platform(folder, "--workers", "separate")


def run(platform: Platform, *words: str, code: int = 0) -> str:
    """What a command prints; its exit code must be `code`."""
    done = postbus(*words, "--data-dir", str(platform.data_dir), check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def run_json(platform: Platform, *words: str, code: int = 0) -> Any:
    """The same as JSON."""
    return json.loads(run(platform, *words, "--json", code=code))


@contextlib.contextmanager
def delivery_stopped(platform: Platform) -> Iterator[None]:
    """What is accepted meanwhile stays on the bus."""
    process = process_ids(platform)["delivery"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def on_the_bus(platform: Platform, user: str, work: Callable[[Client], Awaitable[Found]]) -> Found:
    """What `work` finds with a connection of that user."""

    async def connected() -> Found:
        layout = layout_of(platform.data_dir, {})
        port = (layout.nats / "port").read_text().strip()
        password = read_secret(layout.secrets, f"nats-{user}")
        client = await nats.connect(
            f"nats://127.0.0.1:{port}", user=user, password=password, inbox_prefix=f"_INBOX_{user}"
        )
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(connected())


def publish(platform: Platform, payload: bytes) -> int:
    """Puts octets into stream MAIL as smtp-edge could; their sequence."""

    async def send(client: Client) -> int:
        return (await client.jetstream().publish(SUBJECT_MAIL_ACCEPTED, payload)).seq

    return on_the_bus(platform, "smtp-edge", send)


def read_last(platform: Platform) -> MailAccepted:
    """The last message that the stream took."""

    async def read(client: Client) -> MailAccepted:
        found = await client.jetstream().get_last_msg(STREAM_MAIL, SUBJECT_MAIL_ACCEPTED)
        assert found.data is not None
        return decode_value(found.data, MailAccepted)

    return on_the_bus(platform, "admin", read)


def wait_held(platform: Platform, number: int) -> list[dict[str, Any]]:
    """The dead letters, once there are so many."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found: list[dict[str, Any]] = run_json(platform, "ledger", "held")
        if len(found) == number:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def hold_one(platform: Platform, name: str) -> dict[str, Any]:
    """A message whose mailbox went while it was on the bus: the dead letter. Made of an accepted one, for its blob."""
    submit(platform, f"one@{name}", platform.mailboxes[0][0])
    accepted = read_last(platform)
    path = accepted.envelope.forward_paths[0]
    target = MailboxTarget(mailbox_id=MailboxId(str(uuid.uuid4())), address=f"{name}@demo.example")
    gone = msgspec.structs.replace(
        path, address=target.address, resolution=msgspec.structs.replace(path.resolution, targets=(target,))
    )
    publish(
        platform,
        encode_value(
            msgspec.structs.replace(
                accepted,
                queue_id=new_queue_id(accepted.accepted_ms),
                envelope=msgspec.structs.replace(accepted.envelope, forward_paths=(gone,)),
            )
        ),
    )
    (letter,) = wait_held(platform, 1)
    return letter


def test_mail_of_all_kinds_balances(platform: Platform) -> None:
    before = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    kim, lee = platform.mailboxes[0][0], platform.mailboxes[1][0]
    for number in range(5):
        submit(platform, f"{number}@balance", kim)
    submit(platform, "both@balance", kim, lee)
    run(platform, "list", "add", "team@demo.example", "--member", kim, "--member", "far@nowhere.invalid")
    submit(platform, "team@balance", "team@demo.example")
    ledger = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    places = ("accepted", "folder", "queued", "dsn", "held", "written_off")
    grown = {name: ledger[name] - before[name] for name in places}
    # The copy for the far member fails sooner or later: then its message is answered with a DSN, one more message.
    assert grown["accepted"] >= 7
    assert grown["folder"] >= 6
    assert grown["queued"] + grown["dsn"] >= 1
    assert (grown["held"], grown["written_off"]) == (0, 0)
    edge = ledger["smtp_edge"]
    assert (edge["checked"], edge["accepted"]) == (True, 7)
    assert edge["last_stream_sequence"] <= ledger["last_sequence"]
    assert run_json(platform, "ledger")["balanced"] is True
    assert "The books balance" in run(platform, "ledger")
    assert "ledger: balanced" in run(platform, "status")
    assert run_json(platform, "status")["ledger"]["balanced"] is True


def test_what_is_on_the_bus_is_counted_there(platform: Platform) -> None:
    """The equation holds at any time; with delivery stopped nobody answers, afterwards nothing was lost."""
    before = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    with delivery_stopped(platform):
        for number in range(3):
            submit(platform, f"{number}@waiting", platform.mailboxes[0][0])
    ledger = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    assert ledger["accepted"] == before["accepted"] + 3
    assert {f"{number}@waiting" for number in range(3)} <= set(arrived(platform))


def test_mail_for_a_mailbox_that_went_is_held_and_can_be_delivered_later(platform: Platform) -> None:
    letter = hold_one(platform, "gone")
    ledger = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    assert ledger["held"] == 1
    assert letter["forward_paths"] == ["gone@demo.example"]
    assert letter["reverse_path"] == "ann@example.net"
    sequence = str(letter["stream_sequence"])
    told = run(platform, "trace", letter["queue_id"])
    assert f"postbus ledger held retry {sequence}" in told
    assert "1 dead letter held" in run(platform, "status")
    assert "gone@demo.example" in run(platform, "ledger", "held")
    assert f"{sequence} stays" in run(platform, "ledger", "held", "retry", sequence, code=1)
    assert len(wait_held(platform, 1)) == 1
    run(platform, "mailbox", "add", "gone@demo.example", "--password", PASSWORD)
    assert "would be retried" in run(platform, "ledger", "held", "retry", "--all", "--dry-run")
    assert run(platform, "ledger", "held", "retry", sequence) == "1 dead letter was delivered\n"
    assert wait_held(platform, 0) == []
    assert "gone@demo.example" in run(platform, "trace", letter["queue_id"])
    placements = run_json(platform, "trace", letter["queue_id"])["placements"]
    assert [placement["folder"] for placement in placements] == ["INBOX"]
    after = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    assert (after["held"], after["folder"]) == (0, ledger["folder"] + 1)
    assert (
        "there is no dead letter"
        in postbus("ledger", "held", "retry", sequence, "--data-dir", str(platform.data_dir), check=False).stderr
    )


def test_a_poison_payload_is_held_and_discarded(platform: Platform) -> None:
    before = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    sequence = publish(platform, b"\xff\x00 no protobuf of ours \x1b[2J")
    (letter,) = wait_held(platform, 1)
    assert (letter["stream_sequence"], letter["queue_id"]) == (sequence, "")
    assert "unreadable" in run(platform, "ledger", "held")
    run(platform, "ledger", "held", "retry", str(sequence), code=1)
    run(platform, "ledger", "held", "discard", str(sequence), code=2)
    planned = run(platform, "ledger", "held", "discard", "--all", "--reason", "a test", "--dry-run")
    assert planned == "1 dead letter would be discarded\n"
    run(platform, "ledger", "held", "discard", str(sequence), "--reason", "a test")
    ledger = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    assert (ledger["held"], ledger["written_off"]) == (0, before["written_off"] + 1)


def test_a_discarded_message_says_so(platform: Platform) -> None:
    letter = hold_one(platform, "unwanted")
    run(platform, "ledger", "held", "discard", "--all", "--reason", "nobody wants it")
    told = run(platform, "trace", letter["queue_id"])
    assert "written off" in told
    assert "nobody wants it" in told
    assert_ledger_balanced(platform, PATIENCE_SECONDS)


def test_settling_books_that_balance_changes_nothing(platform: Platform) -> None:
    before = assert_ledger_balanced(platform, PATIENCE_SECONDS)
    told = run(platform, "ledger", "settle", "--reason", "a test")
    assert told.startswith("0 missing messages written off, 0 clashes closed")
    assert assert_ledger_balanced(platform, PATIENCE_SECONDS)["written_off"] == before["written_off"]


def test_without_delivery_the_books_cannot_be_read_and_that_is_said(platform: Platform) -> None:
    with delivery_stopped(platform):
        done = postbus("ledger", "--data-dir", str(platform.data_dir), check=False)
        assert done.returncode == 1
        assert "delivery" in done.stderr
    assert_ledger_balanced(platform, PATIENCE_SECONDS)
