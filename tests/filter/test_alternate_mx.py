"""Mail that an alternate MX passes on is judged by whoever gave it the mail."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from postbus.contracts.filter import CheckMessageReply, Verdict
from postbus.contracts.policy import Dnsbl, DnsblMode, Policy
from postbus.testing.filter_bench import MESSAGE, FilterBench, names
from postbusd.filter.hops import Hop, read_received

FILTER = "198.51.101.7"
OURS = b"Received: from out.example.com (out.example.com [192.0.2.1])\r\n\tby in.filter.test with ESMTPS id 1\r\n"
INNER = b"Received: from in.filter.test ([10.0.0.3]) by out.filter.test; Sun, 22 Nov 2026 12:00:00 +0000\r\n"
FORGED = b"Received: from out.example.com ([192.0.2.1]) by in.filter.test\r\n"


@pytest.fixture
async def bench() -> AsyncIterator[FilterBench]:
    with ThreadPoolExecutor(2) as executor:
        bench = FilterBench(executor)
        bench.zone.add_txt("_dmarc.example.com", "v=DMARC1; p=reject")
        bench.zone.add_address("in.filter.test", FILTER)
        bench.policy.alternate_mx = ("in.filter.test", "203.0.115.0/24")
        yield bench


async def passed_on(bench: FilterBench, received: bytes, address: str = FILTER) -> CheckMessageReply:
    return await bench.check(received + MESSAGE, client_address=address, helo="out.filter.test", client_name="x.test")


async def test_spf_is_of_the_hop_before(bench: FilterBench) -> None:
    for received in (OURS, INNER + OURS, INNER + FORGED.replace(b"192.0.2.1", b"203.0.115.9") + OURS):
        reply = await passed_on(bench, received)
        assert (reply.verdict, reply.spf, reply.dmarc) == (Verdict.ACCEPT, "pass", "pass")
    reply = await passed_on(bench, OURS.replace(b"192.0.2.1", b"198.51.101.99") + FORGED)
    assert (reply.verdict, reply.spf, reply.dmarc) == (Verdict.REJECT, "fail", "fail")


async def test_nobody_else_is_believed(bench: FilterBench) -> None:
    reply = await passed_on(bench, OURS, address="198.51.101.8")
    assert (reply.verdict, reply.spf) == (Verdict.REJECT, "fail")
    bench.policy.alternate_mx = ()
    assert (await passed_on(bench, OURS)).spf == "fail"


@pytest.mark.parametrize("received", [b"", b"Received: by in.filter.test; now\r\n", INNER, INNER * 20])
async def test_a_sender_that_nobody_can_tell_is_not_held_against_the_author(
    bench: FilterBench, received: bytes
) -> None:
    reply = await passed_on(bench, received)
    assert (reply.verdict, reply.spf, reply.dmarc) == (Verdict.ACCEPT, "temperror", "temperror")


async def test_dnsbls_are_asked_about_the_hop_before(bench: FilterBench) -> None:
    bench.policy.policy = Policy(dnsbls=(Dnsbl(zone="bl.test", mode=DnsblMode.REFUSE, score=1.5),))
    bench.zone.add_address("9.101.51.198.bl.test", "127.0.0.2")
    reply = await passed_on(bench, OURS.replace(b"192.0.2.1", b"198.51.101.9"))
    assert "DNSBL_BL_TEST" in names(reply)
    assert "DNSBL_BL_TEST" not in names(await passed_on(bench, OURS))


@pytest.mark.parametrize(
    ("field", "hop"),
    [
        ("from a.test (b.test [192.0.2.1]) by c.test", Hop("192.0.2.1", "a.test")),
        ("from a.test (b.test. [IPv6:2001:DB8::1] (may be forged)) by c.test", Hop("2001:db8::1", "a.test")),
        ("from [192.0.2.1] (port=25 helo=a.test) by c.test", Hop("192.0.2.1", "[192.0.2.1]")),
        ("from a.test ([999.0.2.1]) by c.test", Hop("", "")),
        ("from a.test by c.test ([192.0.2.1])", Hop("", "")),
        ("by c.test with LMTP", Hop("", "")),
        ("from " + "(" * 100_000, Hop("", "")),
        ("", Hop("", "")),
    ],
)
def test_fields_of_many_servers(field: str, hop: Hop) -> None:
    assert read_received(field) == hop
