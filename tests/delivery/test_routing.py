"""From a next hop to addresses: preference, null MX, ourselves, literals, and what strangers may not lead us to."""

import random
from ipaddress import ip_network

import pytest

from postbus.contracts.relays import Relay
from postbus.core.egress import is_allowed
from postbus.runtime.dns import RecordType
from postbus.testing.dns import FakeResolver
from postbusd.delivery.outbound.routing import MAX_ADDRESSES, Road, Router
from postbusd.delivery.outbound.values import NextHop, Outcome
from postbusd.delivery.settings import DeliverySettings

PEER = NextHop(domain="peer.example")


def make_router(dns: FakeResolver, *allow: str, own: tuple[tuple[str, int], ...] = (), seed: int = 1) -> Router:
    return Router(
        resolver=dns,
        mail_host="Mail.Demo.Example",
        mx_port=25,
        egress_allow=tuple(ip_network(text) for text in allow),
        random=random.Random(seed),
        own_endpoints=own,
    )


async def find(dns: FakeResolver, next_hop: NextHop = PEER, *allow: str, seed: int = 1) -> list[str]:
    road = await make_router(dns, *allow, seed=seed).find(next_hop)
    assert road.answer is None
    return [f"{endpoint.host} {endpoint.address} {endpoint.port}" for endpoint in road.endpoints]


def status(road: Road) -> tuple[Outcome, str]:
    assert road.answer is not None
    assert road.endpoints == ()
    return road.answer.outcome, road.answer.status


async def test_mxs_by_preference_with_their_addresses() -> None:
    dns = FakeResolver().add_mx("peer.example", (20, "b.peer.example"), (10, "a.peer.example"))
    dns.add_address("a.peer.example", "8.0.0.1", "2600::1").add_address("b.peer.example", "8.0.0.2")
    assert await find(dns) == ["a.peer.example 8.0.0.1 25", "a.peer.example 2600::1 25", "b.peer.example 8.0.0.2 25"]


async def test_equal_preferences_take_turns() -> None:
    dns = FakeResolver().add_mx("peer.example", (10, "a.peer.example"), (10, "b.peer.example"), (5, "c.peer.example"))
    dns.add_address("a.peer.example", "8.0.0.1").add_address("b.peer.example", "8.0.0.2")
    dns.add_address("c.peer.example", "8.0.0.3")
    orders = {tuple(line[0] for line in await find(dns, seed=seed)) for seed in range(20)}
    assert orders == {("c", "a", "b"), ("c", "b", "a")}


async def test_no_more_addresses_than_the_limit() -> None:
    dns = FakeResolver().add_mx("peer.example", (10, "a.peer.example"), (20, "b.peer.example"))
    dns.add_address("a.peer.example", *(f"8.0.0.{number}" for number in range(1, 9)), "2600::1")
    found = await find(dns)
    assert len(found) == MAX_ADDRESSES
    assert "a.peer.example 2600::1 25" in found
    assert ("b.peer.example", RecordType.A) not in dns.queries


async def test_without_mx_the_domain_itself() -> None:
    assert await find(FakeResolver().add_address("peer.example", "8.0.0.1")) == ["peer.example 8.0.0.1 25"]


async def test_a_null_mx_is_a_refusal() -> None:
    dns = FakeResolver().add_mx("peer.example", (0, ".")).add_address("peer.example", "8.0.0.1")
    road = await make_router(dns).find(PEER)
    assert status(road) == (Outcome.FAILED, "5.1.10")
    assert road.answer is not None
    assert road.answer.reply.startswith("556 5.1.10 ")


async def test_what_the_dns_does_not_say() -> None:
    assert status(await make_router(FakeResolver()).find(PEER)) == (Outcome.FAILED, "5.1.2")
    assert status(await make_router(FakeResolver().fail("peer.example")).find(PEER)) == (Outcome.DEFERRED, "4.4.3")
    bad = NextHop(domain="a..b")
    assert status(await make_router(FakeResolver()).find(bad)) == (Outcome.FAILED, "5.1.2")
    nothing = FakeResolver().add_txt("peer.example", "no address")
    assert status(await make_router(nothing).find(PEER)) == (Outcome.FAILED, "5.4.4")
    gone = FakeResolver().add_mx("peer.example", (10, "gone.example"), (10, "a..b"))
    assert status(await make_router(gone).find(PEER)) == (Outcome.FAILED, "5.4.4")
    away = FakeResolver().add_mx("peer.example", (10, "gone.example"), (20, "mx.example")).fail("mx.example")
    assert status(await make_router(away).find(PEER)) == (Outcome.DEFERRED, "4.4.3")


async def test_an_mx_that_can_not_be_looked_up_does_not_stop_the_others() -> None:
    dns = FakeResolver().add_mx("peer.example", (10, "a.example"), (20, "b.example")).fail("a.example")
    dns.add_address("b.example", "8.0.0.2")
    assert await find(dns) == ["b.example 8.0.0.2 25"]


async def test_mail_never_goes_to_ourselves_or_behind_us() -> None:
    dns = FakeResolver().add_mx("peer.example", (10, "a.example"), (20, "mail.demo.example"), (30, "c.example"))
    for number, name in enumerate(("a.example", "mail.demo.example", "c.example"), 1):
        dns.add_address(name, f"8.0.0.{number}")
    assert await find(dns) == ["a.example 8.0.0.1 25"]
    own = make_router(dns, own=(("8.0.0.1", 25),))
    assert status(await own.find(PEER)) == (Outcome.FAILED, "5.4.6")
    other_port = make_router(dns, own=(("8.0.0.1", 2525),))
    assert (await other_port.find(PEER)).answer is None
    first = FakeResolver().add_mx("peer.example", (10, "mail.demo.example"), (10, "b.example"), (30, "c.example"))
    first.add_address("b.example", "8.0.0.2").add_address("c.example", "8.0.0.3")
    assert status(await make_router(first).find(PEER)) == (Outcome.FAILED, "5.4.6")


async def test_a_better_mx_that_is_away_is_waited_for() -> None:
    dns = FakeResolver().add_mx("peer.example", (10, "a.example"), (20, "mail.demo.example")).fail("a.example")
    assert status(await make_router(dns).find(PEER)) == (Outcome.DEFERRED, "4.4.3")


@pytest.mark.parametrize(
    ("domain", "endpoint"),
    [("[8.0.0.1]", "8.0.0.1 8.0.0.1 25"), ("[ipv6:2600::1]", "2600::1 2600::1 25")],
)
async def test_address_literals(domain: str, endpoint: str) -> None:
    assert await find(FakeResolver(), NextHop(domain=domain)) == [endpoint]


async def test_an_address_literal_obeys_the_egress_rule() -> None:
    literal = NextHop(domain="[127.0.0.1]")
    assert status(await make_router(FakeResolver()).find(literal)) == (Outcome.FAILED, "5.4.4")
    assert await find(FakeResolver(), literal, "127.0.0.0/8") == ["127.0.0.1 127.0.0.1 25"]


async def test_private_mxs_are_left_out() -> None:
    dns = FakeResolver().add_mx("peer.example", (10, "a.example"), (20, "b.example"))
    dns.add_address("a.example", "10.0.0.1").add_address("b.example", "8.0.0.2")
    assert await find(dns) == ["b.example 8.0.0.2 25"]
    assert await find(dns, PEER, "10.0.0.0/24") == ["a.example 10.0.0.1 25", "b.example 8.0.0.2 25"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
        "100.64.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff0e::1", "fec0::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "2002:7f00:1::1", "64:ff9b::7f00:1", "2001:db8::1", "fe80::1%eth0", "mx.example", "",
    ],
)  # fmt: skip
def test_where_no_stranger_may_send_us(address: str) -> None:
    assert not is_allowed(address, ())


def test_where_they_may() -> None:
    for address in ("8.0.0.1", "2600::1", "::ffff:8.0.0.1", "64:ff9b::800:1"):
        assert is_allowed(address, ())
    assert is_allowed("::ffff:127.0.0.1", (ip_network("127.0.0.0/8"),))
    assert is_allowed("::1", (ip_network("::1/128"),))


async def test_a_smart_host_may_be_anywhere() -> None:
    by_name = NextHop(domain="peer.example", relay=Relay(host="relay.demo.example", port=587))
    dns = FakeResolver().add_address("relay.demo.example", "10.0.0.1", "::1").add_mx("peer.example", (0, "."))
    assert await find(dns, by_name) == ["relay.demo.example 10.0.0.1 587", "relay.demo.example ::1 587"]
    for host in ("127.0.0.1", "[127.0.0.1]"):
        assert await find(dns, NextHop(domain="x", relay=Relay(host=host))) == ["127.0.0.1 127.0.0.1 587"]


async def test_an_unknown_smart_host_only_delays() -> None:
    for dns, code in ((FakeResolver(), "4.4.4"), (FakeResolver().fail("relay.demo.example"), "4.4.3")):
        road = await make_router(dns).find(NextHop(domain="x", relay=Relay(host="relay.demo.example")))
        assert status(road) == (Outcome.DEFERRED, code)
        assert road.answer is not None
        assert road.answer.relay_failed


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "10.0.0.1/24", "here"])
def test_egress_networks_are_checked_with_the_settings(wrong: str) -> None:
    with pytest.raises(ValueError, match="egress_allow: "):
        DeliverySettings(egress_allow=("127.0.0.0/8", wrong))
