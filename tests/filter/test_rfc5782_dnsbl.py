"""DNSBLs: who is refused at connect, who scores, and which answers are no listing."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from postbus.contracts.filter import CheckConnectionReply, CheckConnectionRequest, Verdict
from postbus.contracts.policy import Dnsbl, DnsblMode, Policy
from postbus.runtime.dns import RecordType
from postbus.testing.filter_bench import FilterBench, SilentResolver, names
from postbusd.filter.settings import FilterSettings

REFUSING = Dnsbl(zone="bl.test", mode=DnsblMode.REFUSE, lookup_url="https://bl.test/?ip={address}")
SCORING = Dnsbl(zone="psbl.test", score=3.5)
LISTED = "198.51.101.7"
LISTED_6 = "2a00:1450::7"
REVERSE_6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.5.4.1.0.0.a.2"


@pytest.fixture
async def bench() -> AsyncIterator[FilterBench]:
    with ThreadPoolExecutor(2) as executor:
        bench = FilterBench(executor)
        bench.policy.policy = Policy(dnsbls=(REFUSING, SCORING))
        yield bench


async def connect(bench: FilterBench, address: str) -> CheckConnectionReply:
    return await bench.service().check_connection(CheckConnectionRequest(client_address=address))


def count(bench: FilterBench, result: str) -> float | None:
    return bench.registry.get_sample_value("postbus_filter_dnsbl_total", {"result": result})


@pytest.mark.parametrize(
    ("address", "reverse"),
    [(LISTED, "7.101.51.198"), (f"::ffff:{LISTED}", "7.101.51.198"), (LISTED_6, REVERSE_6)],
)
async def test_a_listed_client_is_refused_and_told_where_to_ask(bench: FilterBench, address: str, reverse: str) -> None:
    bench.zone.add_address(f"{reverse}.bl.test", "127.0.0.4")
    reply = await connect(bench, address)
    assert reply.verdict is Verdict.REJECT
    assert reply.reply_text == f"{address} is listed at bl.test, see https://bl.test/?ip={address}"
    assert count(bench, "listed") == 1
    assert bench.registry.get_sample_value("postbus_filter_connections_total", {"verdict": "reject"}) == 1


async def test_a_list_that_scores_refuses_nobody_and_counts_at_the_message(bench: FilterBench) -> None:
    bench.zone.add_address("7.101.51.198.psbl.test", "127.0.0.2")
    assert (await connect(bench, LISTED)).verdict is Verdict.ACCEPT
    reply = await bench.check(client_address=LISTED)
    assert "DNSBL_PSBL_TEST" in names(reply)
    assert [(hit.score, hit.detail) for hit in reply.tests if hit.name == "DNSBL_PSBL_TEST"] == [(3.5, "psbl.test")]
    assert b"DNSBL_PSBL_TEST" in reply.prefix
    assert "DNSBL_PSBL_TEST" not in names(await bench.check(client_address="198.51.101.8"))
    assert "DNSBL_PSBL_TEST" not in names(await bench.check(client_address=LISTED, authenticated_as="a@demo.example"))


@pytest.mark.parametrize("code", ["127.255.255.254", "127.255.255.255", "192.0.2.99", "8.8.4.4"])
async def test_an_answer_that_is_no_listing(bench: FilterBench, code: str) -> None:
    bench.zone.add_address("7.101.51.198.bl.test", code)
    assert (await connect(bench, LISTED)).verdict is Verdict.ACCEPT
    assert count(bench, "error") == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "fd00::1", "fe80::1", "unix", ""])
async def test_private_addresses_are_nobodys_business(bench: FilterBench, address: str) -> None:
    await connect(bench, address)
    await bench.check(client_address=address)
    assert not [name for name, _ in bench.zone.queries if name.endswith((".bl.test", ".psbl.test"))]


async def test_a_silent_list_stops_nothing_and_is_told_once(
    bench: FilterBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.zone.fail("7.101.51.198.bl.test", RecordType.A)
    bench.zone.fail("8.101.51.198.bl.test", RecordType.A)
    service = bench.service()
    for address in (LISTED, "198.51.101.8"):
        reply = await service.check_connection(CheckConnectionRequest(client_address=address))
        assert reply.verdict is Verdict.ACCEPT
    assert count(bench, "silent") == 2
    assert [each.message for each in caplog.records].count("filter.dnsbl.broken") == 1
    await service.check_connection(CheckConnectionRequest(client_address="198.51.101.9"))
    assert "8.101.51.198.bl.test" in {name for name, _ in bench.zone.queries}
    never = bench.service(FilterSettings(connection_seconds=0.05, check_seconds=0.05), resolver=SilentResolver())
    reply = await never.check_connection(CheckConnectionRequest(client_address=LISTED))
    assert reply.verdict is Verdict.ACCEPT


async def test_an_alternate_mx_is_not_refused(bench: FilterBench) -> None:
    bench.zone.add_address("7.101.51.198.bl.test", "127.0.0.4").add_address("in.filter.test", LISTED)
    for entries, verdict in (
        (("198.51.101.0/24",), Verdict.ACCEPT),
        (("2001:db8::/32", "in.filter.test"), Verdict.ACCEPT),
        (("198.51.102.0/24", "other.test"), Verdict.REJECT),
    ):
        bench.policy.alternate_mx = entries
        assert (await connect(bench, LISTED)).verdict is verdict
