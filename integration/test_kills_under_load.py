"""Promises 1, 2 and 4 under load: everything is killed in turn by SIGKILL, then all of it at once with the supervisor.

Mail from outside, from one person here to another, and to another host goes on meanwhile. Afterwards every 250 is in
its folder exactly once or has come to the other host, the ledger agrees, and clients were only told to wait. Once as
`up` groups the services, once with a process for each.
"""

import os
import signal
from collections.abc import Iterator

import msgspec
import pytest

from postbus.testing.books import assert_books_agree
from postbus.testing.dns_server import running_dns
from postbus.testing.installation import Platform, postbus, short_folder, start_platform
from postbus.testing.probes import (
    assert_quiet_logs,
    process_ids,
    status,
    wait_new_processes,
    wait_ready,
)
from postbus.testing.sink import Sink, running_sink
from postbus.testing.traffic import Road, Traffic, assert_sent, assert_stored_once

REMOTE = "remote.example"
CONNECTIONS = 4
"""To one destination at a time: what a kill of delivery may double."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """An installation and a mail server outside."""

    platform: Platform
    sink: Sink
    options: tuple[str, ...]
    environment: dict[str, str]


@pytest.fixture(scope="module", params=["grouped", "separate"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with running_dns() as dns, running_sink() as sink, short_folder() as folder:
        dns.add(REMOTE, "MX", f"10 mx.{REMOTE}.")
        dns.add(f"mx.{REMOTE}", "A", "127.0.0.1")
        options = ("--resolver", f"127.0.0.1:{dns.port}", "--workers", request.param)
        environment = {
            "POSTBUS_DELIVERY_MX_PORT": str(sink.port),
            "POSTBUS_DELIVERY_EGRESS_ALLOW": "127.0.0.0/8",
            "POSTBUS_DELIVERY_RETRY_SECONDS": "1",
            "POSTBUS_DELIVERY_LEASE_GRACE_SECONDS": "1",
        }
        platform = start_platform(folder, *options, environment=environment)
        limits = ("--messages-per-hour", "0", "--recipients-per-day", "0")
        postbus("policy", "set", *limits, "--data-dir", str(platform.data_dir))
        yield World(platform=platform, sink=sink, options=options, environment=environment)
        assert_quiet_logs(platform)


def make_traffic(platform: Platform) -> Traffic:
    """From outside to the first mailbox, from the first to the second, from the second to the other host."""
    first, second = (address for address, _ in platform.mailboxes[:2])
    return Traffic(
        platform,
        [
            Road(recipient=first),
            Road(recipient=first),
            Road(recipient=second, owner=0),
            Road(recipient=f"x@{REMOTE}", owner=1),
        ],
    )


def assert_all_there(world: World, traffic: Traffic, doubles: int) -> None:
    """Every promise was kept, and the books say so."""
    traffic.assert_only_delayed()
    for owner in (0, 1):
        wanted = traffic.owned(world.platform.mailboxes[owner][0])
        assert wanted
        assert_stored_once(world.platform, wanted, owner)
    assert_sent(world.sink, traffic.owned(f"x@{REMOTE}"), doubles)
    assert_books_agree(world.platform)


def test_every_process_in_turn(world: World) -> None:
    wait_ready(world.platform)
    traffic = make_traffic(world.platform)
    victims = process_ids(world.platform)
    with traffic.flowing():
        for pid in dict.fromkeys(victims.values()):
            traffic.wait_more()
            os.kill(pid, signal.SIGKILL)
            wait_new_processes(world.platform, pid)
        traffic.wait_more()
    assert_all_there(world, traffic, doubles=3 * CONNECTIONS)


def test_everything_at_once_with_the_supervisor(world: World) -> None:
    platform = world.platform
    wait_ready(platform)
    traffic = make_traffic(platform)
    with traffic.flowing():
        traffic.wait_more()
        for pid in {status(platform)["pid"], *process_ids(platform).values()}:
            os.kill(pid, signal.SIGKILL)
        port_base = str(platform.port("smtp") - 25)
        again = start_platform(
            platform.data_dir, *world.options, "--port-base", port_base, environment=world.environment
        )
        traffic.wait_more()
    assert again.mailboxes == platform.mailboxes
    assert_all_there(world, traffic, doubles=CONNECTIONS)
