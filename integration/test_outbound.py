"""Mail to other hosts from a whole installation: lists, smart host, hopeless routes. Kills: test_kills_under_load."""

import json
import smtplib
import time
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from postbus.testing.dns_server import LoopbackDns, running_dns
from postbus.testing.installation import Platform, postbus, short_folder, start_platform
from postbus.testing.probes import HEAL_SECONDS
from postbus.testing.sink import Sink, running_sink

REMOTE = "remote.example"


class World(msgspec.Struct, frozen=True, kw_only=True):
    """An installation, a mail server outside, and a DNS."""

    platform: Platform
    sink: Sink
    dns: LoopbackDns

    def submit(self, *recipients: str, owner: int = 0, message_id: str = "") -> str:
        """Sends a message by submission; its Message-ID. Raises smtplib.SMTPException or OSError without a 250."""
        name = message_id or f"{uuid.uuid4()}@demo.example"
        address, password = self.platform.mailboxes[owner]
        tls = self.platform.tls()
        with smtplib.SMTP_SSL(self.platform.host, self.platform.port("submissions"), context=tls, timeout=70) as client:
            client.login(address, password)
            text = (
                f"From: {address}\r\nTo: {recipients[0]}\r\nSubject: {name}\r\nMessage-ID: <{name}>\r\n\r\nHello.\r\n"
            )
            client.sendmail(address, recipients, text)
        return name

    def run(self, *arguments: str) -> Any:
        """A command's JSON."""
        done = postbus(*arguments, "--json", "--data-dir", str(self.platform.data_dir))
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_dns() as dns, running_sink() as sink, short_folder() as folder:
        dns.add(REMOTE, "MX", f"10 mx.{REMOTE}.")
        dns.add(f"mx.{REMOTE}", "A", "127.0.0.1")
        dns.add("inside.example", "MX", "10 mx.inside.example.")
        dns.add("mx.inside.example", "A", "10.1.2.3")
        dns.add("nullmx.example", "MX", "0 .")
        platform = start_platform(
            folder,
            "--resolver",
            f"127.0.0.1:{dns.port}",
            environment={
                "POSTBUS_DELIVERY_MX_PORT": str(sink.port),
                "POSTBUS_DELIVERY_EGRESS_ALLOW": "127.0.0.0/8",
                "POSTBUS_DELIVERY_RETRY_SECONDS": "1",
                "POSTBUS_DELIVERY_LEASE_GRACE_SECONDS": "1",
            },
        )
        yield World(platform=platform, sink=sink, dns=dns)


def test_a_message_for_here_and_there_is_in_both_places(world: World) -> None:
    name = world.submit(f"x@{REMOTE}", world.platform.mailboxes[1][0])
    world.sink.wait({name}, HEAL_SECONDS)
    world.platform.wait_message(name, 1)
    content = world.sink.contents[name]
    assert content.count(b"DKIM-Signature:") == 2
    assert b"Return-Path" not in content
    assert b"Delivered-To" not in content


def test_a_list_reaches_its_members_here_and_there(world: World) -> None:
    data = ("--data-dir", str(world.platform.data_dir))
    local = world.platform.mailboxes[1][0]
    postbus("list", "add", "team@demo.example", "--member", local, "--member", f"far@{REMOTE}", *data)
    name = world.submit("team@demo.example")
    world.sink.wait({name}, HEAL_SECONDS)
    assert b"Return-Path: <team-bounces@demo.example>" in world.platform.wait_message(name, 1)
    (entry,) = [each for each in world.run("queue", "list", "--finished")["entries"] if each["message_id"] == name]
    assert (entry["recipient"], entry["reverse_path"]) == (f"far@{REMOTE}", "team-bounces@demo.example")
    postbus("list", "delete", "team@demo.example", "--yes", *data)


@pytest.mark.parametrize(
    ("domain", "status"), [("nullmx.example", "5.1.10"), ("nowhere.invalid", "5.1.2"), ("refusing.example", "5.1.1")]
)
def test_what_can_never_be_delivered_comes_back_at_once(world: World, domain: str, status: str) -> None:
    world.dns.add("refusing.example", "A", "127.0.0.1")
    world.sink.answer = lambda address: "550 5.1.1 no" if address.endswith("refusing.example") else "250 ok"
    name = world.submit(f"x@{domain}", owner=1)
    report = wait_report(world, name)
    assert f"Status: {status}".encode() in report
    assert f"x@{domain}".encode() in report


def wait_report(world: World, message_id: str) -> bytes:
    """The DSN about a message."""
    deadline = time.monotonic() + HEAL_SECONDS
    while time.monotonic() < deadline:
        with world.platform.reader(1) as client:
            client.select("INBOX", readonly=True)
            found = client.uid("SEARCH", "TEXT", f'"{message_id}"', "HEADER", "Auto-Submitted", "auto-replied")[1][0]
            if found:
                answer: Any = client.uid("FETCH", found.split()[-1].decode(), "(BODY.PEEK[])")[1]
                return bytes(answer[0][1])
        time.sleep(0.2)
    raise AssertionError(f"no report about {message_id}")


def test_private_addresses_are_not_spoken_to(world: World) -> None:
    name = world.submit("x@inside.example")
    (entry,) = [each for each in world.run("queue", "list", "--finished")["entries"] if each["message_id"] == name]
    assert entry["remote_host"] == ""
    queue_id = entry["queue_id"]
    postbus("queue", "cancel", queue_id, "--yes", "--data-dir", str(world.platform.data_dir), check=False)


def test_a_smart_host_takes_all_that_leaves(world: World) -> None:
    data = ("--data-dir", str(world.platform.data_dir))
    with running_sink() as smart:
        postbus(
            "domain", "set", "demo.example", "--relay", f"127.0.0.1:{smart.port}", "--relay-security", "none", *data
        )
        try:
            name = world.submit("somebody@elsewhere.example")
            smart.wait({name}, HEAL_SECONDS)
        finally:
            postbus("domain", "set", "demo.example", "--no-relay", *data)
    assert name not in world.sink.messages
