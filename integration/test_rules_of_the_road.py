"""The rules of architecture §3.4 and §3.5, one by one, on real servers.

Elsewhere: kills at every await (test_kill_points*), what streams and consumers are (test_bus), only an absent database
leaves messages on the bus (tests/delivery/test_worker, test_dependencies_away), §3.6 (test_rules_of_the_outbox;
wake-ups that get lost: tests/imap_gateway/test_sessions).
"""

import asyncio
import contextlib
import json
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from postbus.bus.nats import NatsBus
from postbus.bus.subjects import CONSUMER_DELIVERY, STREAM_MAIL
from postbus.contracts.directory import Outcome
from postbus.contracts.events import MailAccepted
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import new_mailbox_id, new_queue_id
from postbus.runtime.embedded.nats import allot_port
from postbus.testing.delivery_trial import Trial
from postbus.testing.delivery_world import World, opened_world
from postbus.testing.kill_points import Zygote
from postbus.testing.lossy_proxy import LossyProxy, lossy_proxy
from postbus.testing.mail import PLAIN, accepted_mail, forward_path
from postbus.testing.smtp_edge import Edge

if TYPE_CHECKING:
    from postbus.testing.installation import Database, Nats

PUBACK_SECONDS = 0.3
READY_SECONDS = 10.0


def queue_id() -> str:
    return new_queue_id(time.time_ns() // 1_000_000)


@pytest.fixture
async def world(database: "Database", nats: "Nats", zygote: Zygote, tmp_path: Path) -> AsyncIterator[World]:
    async with opened_world(database, nats, zygote, tmp_path) as world:
        yield world


@contextlib.asynccontextmanager
async def connected(nats: "Nats", service: str, port: int = 0) -> AsyncIterator[NatsBus]:
    url = f"nats://127.0.0.1:{port}" if port else nats.url
    bus = NatsBus(url, service, nats.password(service))
    bus.start()
    try:
        await bus._ready(READY_SECONDS)
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def edge_bus(nats: "Nats") -> AsyncIterator[NatsBus]:
    async with connected(nats, "smtp-edge") as bus:
        yield bus


@pytest.fixture
async def delivery_bus(nats: "Nats") -> AsyncIterator[NatsBus]:
    async with connected(nats, "delivery") as bus:
        yield bus


@pytest.fixture
async def proxy(nats: "Nats") -> AsyncIterator[LossyProxy]:
    async with lossy_proxy(nats.server.port) as proxy:
        yield proxy


async def stream(world: World) -> Any:
    return await world.bus.jetstream().stream_info(STREAM_MAIL)


async def send(bus: NatsBus, folder: Path) -> str:
    """A whole session of smtp-edge with this bus; the answer to the end of DATA."""
    edge = Edge(folder)
    edge.site = msgspec.structs.replace(edge.site, bus=bus)
    async with edge.connect() as peer:
        await peer.listen()
        for line in (
            "EHLO client.example",
            "MAIL FROM:<ann@elsewhere.example>",
            "RCPT TO:<alice@demo.example>",
            "DATA",
        ):
            await peer.say(line)
        return await peer.say(PLAIN + b".\r\n")


# §3.4 Own it


async def test_discard_new_a_full_stream_refuses_and_forgets_nothing(
    world: World, edge_bus: NatsBus, tmp_path: Path
) -> None:
    assert (await send(edge_bus, tmp_path)).startswith("250")
    before = await stream(world)
    await world.bus.jetstream().update_stream(before.config.evolve(max_bytes=before.state.bytes + 10))
    try:
        started = time.monotonic()
        assert (await send(edge_bus, tmp_path)).startswith("451 4.3.0")
        assert time.monotonic() - started < 5, "a stream that answers is not asked for a minute"
        full = (await stream(world)).state
        assert (full.first_seq, full.last_seq, full.messages) == (
            before.state.first_seq,
            before.state.last_seq,
            before.state.messages,
        )
    finally:
        await world.bus.jetstream().update_stream(before.config)
    assert (await send(edge_bus, tmp_path)).startswith("250")
    assert (await stream(world)).state.last_seq == before.state.last_seq + 1


async def test_a_missing_puback_is_published_again_with_the_same_id(
    world: World, nats: "Nats", proxy: LossyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One 250, one message on the stream."""
    monkeypatch.setattr("postbus.bus.nats.PUBACK_SECONDS", PUBACK_SECONDS)
    before = (await stream(world)).state.last_seq
    async with connected(nats, "smtp-edge", proxy.port) as bus:
        await bus.publish_mail(accepted_mail(queue_id(), forward_path("alice@demo.example", world.alice)))
        proxy.loses_answers = True
        sending = asyncio.create_task(send(bus, tmp_path))
        while not proxy.lost_octets:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
        assert (await stream(world)).state.last_seq == before + 2
        assert not sending.done()
        proxy.loses_answers = False
        assert (await sending).startswith("250")
    assert (await stream(world)).state.last_seq == before + 2


async def test_a_puback_that_never_comes_is_451_and_the_message_may_be_there(
    world: World, nats: "Nats", proxy: LossyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postbus.bus.nats.PUBACK_SECONDS", PUBACK_SECONDS)
    monkeypatch.setattr("postbus.bus.nats.REPUBLISH_SECONDS", PUBACK_SECONDS)
    before = (await stream(world)).state.last_seq
    async with connected(nats, "smtp-edge", proxy.port) as bus:
        await bus.publish_mail(accepted_mail(queue_id(), forward_path("alice@demo.example", world.alice)))
        proxy.loses_answers = True
        assert (await send(bus, tmp_path)).startswith("451 4.3.0")
        proxy.loses_answers = False
    assert (await stream(world)).state.last_seq == before + 2


async def test_the_replay_window_nothing_above_the_ack_floor_is_trimmed(
    world: World, edge_bus: NatsBus, delivery_bus: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old it is, and whatever behind it is acknowledged."""
    path = forward_path("alice@demo.example", world.alice)
    sequences = [await edge_bus.publish_mail(accepted_mail(queue_id(), path)) for _ in range(5)]
    taken: list[Any] = []
    while len(taken) < 5:
        taken += await delivery_bus.fetch_mail(5, READY_SECONDS)
    for delivery in (taken[0], taken[1], taken[3], taken[4]):
        await delivery.ack()
    assert await delivery_bus.trim_mail() == 0, "younger than 48 h"
    monkeypatch.setattr("postbus.bus.nats.REPLAY_WINDOW_HOURS", -1)
    assert await delivery_bus.trim_mail() == 2
    assert (await stream(world)).state.first_seq == sequences[2]
    assert await delivery_bus.trim_mail() == 0
    await taken[2].ack()
    assert await delivery_bus.trim_mail() == 3


def test_sync_interval_is_always_in_the_running_server(nats: "Nats", tmp_path: Path) -> None:
    """Its configuration is the one that it was started with, and this nats-server understands it as it is meant."""
    pid = server_process(str(nats.server.folder / "nats.conf"))
    started = Path(f"/proc/{pid}").stat().st_mtime
    assert (nats.server.folder / "nats.conf").stat().st_mtime <= started, "changed since"
    config = json.loads((nats.server.folder / "nats.conf").read_bytes())
    config["jetstream"]["store_dir"] = str(tmp_path)
    config |= {"port": allot_port(), "http": f"127.0.0.1:{allot_port()}"}
    (tmp_path / "twin.conf").write_text(json.dumps(config))
    twin = subprocess.Popen(
        [str(nats.server.binary), "--config", str(tmp_path / "twin.conf")], stderr=subprocess.DEVNULL
    )
    try:
        assert ask_monitor(f"http://{config['http']}/varz")["jetstream"]["config"]["sync_always"] is True
    finally:
        twin.terminate()
        twin.wait(READY_SECONDS)


def server_process(config: str) -> int:
    """The nats-server that runs with this configuration."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and (entry / "exe").readlink().name == "nats-server":
                command = (entry / "cmdline").read_text().split("\0")
                if config in command:
                    return int(entry.name)
    raise AssertionError("no nats-server runs with it")


def ask_monitor(url: str) -> Any:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=READY_SECONDS) as answer:
                return json.load(answer)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


# §3.5 Deliver


async def test_an_ack_returns_when_the_bus_has_noted_it(
    world: World, nats: "Nats", edge_bus: NatsBus, proxy: LossyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tells when it does not know."""
    monkeypatch.setattr("postbus.bus.pull.ACK_SECONDS", PUBACK_SECONDS)
    path = forward_path("alice@demo.example", world.alice)
    for _ in range(2):
        last = await edge_bus.publish_mail(accepted_mail(queue_id(), path))
    async with connected(nats, "delivery", proxy.port) as bus:
        first, second = [(await bus.fetch_mail(1, READY_SECONDS))[0] for _ in range(2)]
        await first.ack()
        info = await world.bus.jetstream().consumer_info(STREAM_MAIL, CONSUMER_DELIVERY)
        assert info.ack_floor.stream_seq == last - 1
        proxy.loses_answers = True
        with pytest.raises(MailError) as caught:
            await second.ack()
        assert caught.value.kind is ErrorKind.UNAVAILABLE
        proxy.loses_answers = False


async def test_the_key_one_copy_a_mailbox_whatever_paths_and_however_often(world: World) -> None:
    """Alias, list and catch-all; the same message three times on the stream, beyond the window of its id."""
    alice = forward_path("alice@demo.example", world.alice)
    alias = forward_path("sales@demo.example", world.alice, world.bob)
    members = msgspec.structs.replace(alias.resolution, outcome=Outcome.LIST, bounce_path="team-bounces@demo.example")
    team = msgspec.structs.replace(alias, address="team@demo.example", resolution=members)
    anything = forward_path("anything@demo.example", world.bob)
    name = queue_id()
    mail = accepted_mail(name, alias, team, alice, anything, blob_id=await world.blobs.put(PLAIN))
    mail = msgspec.structs.replace(mail, prefix=f"Received: here id {name}\r\n".encode())
    sequences = [await world.publish(mail) for _ in range(2)]
    await world.finish(action="drain")
    sequences.append(await world.publish(mail))
    await world.finish(action="drain")
    assert await world.stored() == Counter([(name, str(world.alice)), (name, str(world.bob))])
    assert await world.ledger() == dict.fromkeys(sequences, (name, "folder"))


async def test_the_expansion_is_pinned_what_was_resolved_at_rcpt_holds(world: World) -> None:
    """The address belongs to somebody else when the message is delivered."""
    name = queue_id()
    path = forward_path("alice@demo.example", world.alice)
    mail = accepted_mail(name, path, blob_id=await world.blobs.put(PLAIN))
    await world.publish(msgspec.structs.replace(mail, prefix=f"Received: here id {name}\r\n".encode()))
    await world.finish(action="drain", resolves_to={"alice@demo.example": str(world.bob)})
    assert await world.stored() == Counter([(name, str(world.alice))])


async def test_dead_letters_are_kept_whole_and_keep_nobody_up(world: World) -> None:
    """What nobody can read, what breaks on the way, what has lost its mailbox; and a good one between them."""
    blob_id = await world.blobs.put(PLAIN)
    path = forward_path("alice@demo.example", world.alice)
    gone = forward_path("gone@demo.example", new_mailbox_id(9))
    names = [queue_id() for _ in range(3)]
    good, broken, lost = (accepted_mail(name, path, blob_id=blob_id) for name in names)
    good = msgspec.structs.replace(good, prefix=f"Received: here id {names[0]}\r\n".encode())
    lost = msgspec.structs.replace(lost, envelope=msgspec.structs.replace(lost.envelope, forward_paths=(gone,)))
    payloads: list[MailAccepted | bytes] = [
        b"\xff\xffno mail.accepted",
        msgspec.structs.replace(broken, scan=b"\x01"),
        good,
        lost,
    ]
    sequences = [await world.publish(payload) for payload in payloads]
    ending = await asyncio.to_thread(world.run, Trial(servers=world.servers, action="deliver", messages=4))
    assert not ending.killed
    assert await world.stored() == Counter([(names[0], str(world.alice))])
    accounts = await world.ledger()
    assert [accounts[sequence][1] for sequence in sequences] == ["held", "held", "folder", "held"]
    letters = await world.superuser.fetch("SELECT * FROM delivery.dead_letter ORDER BY stream_sequence")
    assert [(row["stream_sequence"], row["queue_id"]) for row in letters] == [
        (sequences[0], ""),
        (sequences[1], names[1]),
        (sequences[3], names[2]),
    ]
    assert letters[0]["payload"] == payloads[0]
    assert letters[2]["reason"] == "gone@demo.example: no_mailbox"
    info = await world.bus.jetstream().consumer_info(STREAM_MAIL, CONSUMER_DELIVERY)
    assert (info.num_ack_pending, info.num_pending) == (0, 0)
