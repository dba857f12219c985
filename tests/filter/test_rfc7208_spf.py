"""SPF through our adapter: what may be checked at all, and the published suite of RFC 7208."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from postbus.core.clock import SystemClock
from postbus.runtime.dns import RecordType, TxtRecord
from postbus.testing.dns import FakeResolver
from postbusd.filter.adapters.pyspf import PyspfEvaluator
from postbusd.filter.spf import SpfIdentity, SpfOutcome, SpfRequest, SpfResult, make_request

SUITE_CASES = 203


async def check(zone: FakeResolver, client_address: str, helo: str, reverse_path: str) -> SpfResult:
    request = make_request(client_address, helo, reverse_path)
    if isinstance(request, SpfOutcome):
        return request.result
    clock = SystemClock()
    with ThreadPoolExecutor(1) as executor:
        return await PyspfEvaluator(zone, executor, clock, "mail.example.org").evaluate(request, 5)


@pytest.mark.parametrize(
    ("helo", "reverse_path", "domain"),
    [
        ("mail.example.com", "localhost", "localhost"),
        ("mail.example.com", "anna@localhost", "localhost"),
        ("mail.example.com", "anna@a..example", ""),
        ("mail.example.com", "anna@", ""),
        ("[192.0.2.1]", "", "[192.0.2.1]"),
        ("", "", ""),
    ],
)
async def test_names_that_cannot_be_checked_are_none(helo: str, reverse_path: str, domain: str) -> None:
    zone = FakeResolver().add_txt("localhost", "v=spf1 +all")
    assert await check(zone, "192.0.2.1", helo, reverse_path) is SpfResult.NONE


def test_the_null_path_is_checked_by_helo() -> None:
    request = make_request("192.0.2.1", "Mail.Example.com", "")
    assert isinstance(request, SpfRequest)
    assert (request.identity, request.domain) == (SpfIdentity.HELO, "mail.example.com")


async def test_results() -> None:
    zone = FakeResolver().add_txt("example.com", "v=spf1 ip4:192.0.2.0/24 a:out.example.com ~all")
    zone.add_address("out.example.com", "2001:db8::7")
    assert await check(zone, "192.0.2.1", "x", "anna@example.com") is SpfResult.PASS
    assert await check(zone, "2001:db8::7", "x", "anna@EXAMPLE.com") is SpfResult.PASS
    assert await check(zone, "198.51.100.1", "x", "anna@example.com") is SpfResult.SOFTFAIL
    assert await check(zone, "198.51.100.1", "x", "anna@example.net") is SpfResult.NONE
    assert await check(zone.fail("example.org"), "198.51.100.1", "x", "a@example.org") is SpfResult.TEMPERROR


async def test_an_international_domain_is_checked_by_its_a_labels() -> None:
    zone = FakeResolver().add_txt("xn--bcher-kva.example", "v=spf1 +all")
    assert await check(zone, "192.0.2.1", "x", "anna@b\u00fccher.example") is SpfResult.PASS


async def test_a_blocked_thread_ends_at_the_deadline() -> None:
    zone = FakeResolver(ready=False).add_txt("example.com", "v=spf1 +all")
    clock = SystemClock()
    request = make_request("192.0.2.1", "x", "anna@example.com")
    assert isinstance(request, SpfRequest)
    with ThreadPoolExecutor(1) as executor:
        late = PyspfEvaluator(zone, executor, clock, "r").evaluate(request, -1)
        assert await late is SpfResult.TEMPERROR


def load_zone(data: dict[str, list[Any]]) -> FakeResolver:
    """A scenario's zone: TXT records may be given as SPF only, as RFC 4408 allowed."""
    zone = FakeResolver()
    for name, entries in data.items():
        kinds = {kind: value for entry in entries if isinstance(entry, dict) for kind, value in entry.items()}
        for entry in entries:
            if entry == "TIMEOUT":
                present = {kind for kind, value in kinds.items() if value != "NONE"}
                zone.fail(name, *(kind for kind in RecordType if kind.value not in present))
                continue
            for kind, value in entry.items():
                add_record(zone, name, "TXT" if kind == "SPF" and "TXT" not in kinds else kind, value)
    return zone


def add_record(zone: FakeResolver, name: str, kind: str, value: Any) -> None:
    if kind == "TXT" and value != "NONE":
        strings = value if isinstance(value, list) else [value]
        zone.add(name, RecordType.TXT, TxtRecord(tuple(text.encode("utf-8") for text in strings)))
    elif kind == "MX":
        zone.add_mx(name, (value[0], value[1]))
    elif kind in {"A", "AAAA"}:
        zone.add_address(name, value)
    elif kind in {"CNAME", "PTR"}:
        zone.add_names(name, RecordType(kind), value)


@pytest.mark.shared
async def test_the_published_suite(suites: Path) -> None:
    differences, count = [], 0
    text = (suites / "spf/rfc7208-tests.yml").read_bytes()
    scenarios = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
    for scenario in scenarios:
        zone = load_zone(scenario["zonedata"])
        for name, case in scenario["tests"].items():
            count += 1
            wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
            result = await check(zone, case["host"], case["helo"], case["mailfrom"])
            if result.value not in wanted:
                differences.append((scenario["description"], name, result.value, wanted))
    assert differences == []
    assert count == SUITE_CASES


@pytest.mark.parametrize("tail", ["exists:" + "%{l}." * 10_000 + "x.test", "exp=" + "%{i}." * 10_000 + "x.test"])
async def test_a_record_of_sixty_thousand_octets_costs_nothing(tail: str) -> None:
    """pyspf would work on it for twenty seconds."""
    zone = FakeResolver().add_txt("example.com", f"v=spf1 {tail} -all").add_txt("example.net", "note " + "x" * 60_000)
    zone.add_txt("example.net", "v=spf1 ip4:192.0.2.1 -all")
    started = time.process_time()
    assert await check(zone, "192.0.2.1", "x", "a.b.c@example.com") is SpfResult.PERMERROR
    assert await check(zone, "192.0.2.1", "x", "a.b.c@example.net") is SpfResult.PASS
    assert time.process_time() - started < 1
