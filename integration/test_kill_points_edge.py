"""smtp-edge dies by SIGKILL at every await of a session, also between PubAck and 250 (promises 1 and 2).

What a client saw acknowledged is on the stream once. What it did not may be there too: then its second try is another
message, with another queue_id, and both are delivered once.
"""

import asyncio
import smtplib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from postbus.bus.codec import decode_value
from postbus.bus.subjects import STREAM_MAIL
from postbus.contracts.events import MailAccepted
from postbus.testing.delivery_world import World, opened_world, passed
from postbus.testing.edge_trial import EdgeTrial
from postbus.testing.kill_points import Zygote
from postbus.testing.mail import PLAIN
from postbus.testing.postfix import free_port

if TYPE_CHECKING:
    from postbus.testing.installation import Database, Nats

EDGE = "postbus.testing.edge_trial:run_trial"
START_SECONDS = 20.0


@pytest.fixture
async def world(database: "Database", nats: "Nats", zygote: Zygote, tmp_path: Path) -> AsyncIterator[World]:
    async with opened_world(database, nats, zygote, tmp_path) as world:
        yield world


def send(port: int, reverse_path: str) -> str:
    """One message; the last reply, or nothing when the connection broke."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client = smtplib.SMTP("127.0.0.1", port, "client.example", timeout=START_SECONDS)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.005)
        except (OSError, smtplib.SMTPException):
            return ""
    try:
        client.ehlo()
        client.docmd(f"MAIL FROM:<{reverse_path}>")
        client.docmd("RCPT TO:<alice@demo.example>")
        code, text = client.data(PLAIN)
    except (OSError, smtplib.SMTPException):
        return ""
    finally:
        client.close()
    return f"{code} {text.decode()}"


async def accepted_since(world: World, first: int) -> dict[str, list[str]]:
    """queue_ids of the stream by reverse_path, from that sequence on."""
    api = world.bus.jetstream()
    last = (await api.stream_info(STREAM_MAIL)).state.last_seq
    found: dict[str, list[str]] = defaultdict(list)
    for sequence in range(first, last + 1):
        message = await api.get_msg(STREAM_MAIL, sequence)
        accepted = decode_value(message.data or b"", MailAccepted)
        found[accepted.envelope.reverse_path].append(accepted.queue_id)
    return found


async def test_a_session(world: World) -> None:
    first = (await world.bus.jetstream().stream_info(STREAM_MAIL)).state.last_seq + 1
    trial = EdgeTrial(
        data_dir=world.servers.data_dir,
        secrets_dir=world.servers.secrets_dir,
        nats_url=world.servers.nats_url,
        port=free_port(),
        mailbox_id=str(world.alice),
    )
    places, replies = await kill_sessions(world, trial)
    assert passed(places) >= {"_greet", "answer_mail", "receive", "put", "publish_mail"}
    found = await accepted_since(world, first)
    for name, reply in replies.items():
        assert len(found[name]) == 1 if reply.startswith("250") else len(found[name]) <= 1
    unseen = {name for name, reply in replies.items() if not reply and found[name]}
    assert unseen, "nobody died between PubAck and 250"

    again = [name for name, reply in replies.items() if not reply]
    live = msgspec.structs.replace(trial, sessions=len(again))
    serving = asyncio.create_task(asyncio.to_thread(world.zygote.run, EDGE, msgspec.msgpack.encode(live)))
    for name in again:
        assert (await asyncio.to_thread(send, trial.port, name)).startswith("250")
    await serving
    found = await accepted_since(world, first)
    assert {name: len(ids) for name, ids in found.items() if ids} == {name: 1 + (name in unseen) for name in replies}
    queue_ids = [queue_id for ids in found.values() for queue_id in ids]
    assert len(set(queue_ids)) == len(queue_ids)
    await world.finish(action="drain")
    assert await world.stored() == Counter((queue_id, str(world.alice)) for queue_id in queue_ids)


async def kill_sessions(world: World, trial: EdgeTrial) -> tuple[list[str], dict[str, str]]:
    """One client a process, each with a reverse_path of its own, until one process is not killed; the replies."""
    places: list[str] = []
    replies: dict[str, str] = {}
    order = msgspec.msgpack.encode(trial)
    while True:
        name = f"n{len(places)}@elsewhere.example"
        ending, replies[name] = await asyncio.gather(
            asyncio.to_thread(world.zygote.run, EDGE, order, places), asyncio.to_thread(send, trial.port, name)
        )
        if not ending.killed:
            return places, replies
        places.append(ending.place)
