"""The policy's rules in the filter: followed as they change, shown, weighed, and never in the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from postbus.contracts.filter import Verdict
from postbus.contracts.policy import Policy
from postbus.testing.filter_bench import MESSAGE, FilterBench, names

LUNCH = "header SUBJECT_HAS_LUNCH Subject =~ /\\blunch\\b/i\ndescribe SUBJECT_HAS_LUNCH I hate lunches\n"


@pytest.fixture
async def bench() -> AsyncIterator[FilterBench]:
    with ThreadPoolExecutor(2) as executor:
        bench = FilterBench(executor)
        watching = asyncio.create_task(bench.rules.run())
        yield bench
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def follow(bench: FilterBench, text: str) -> None:
    """The policy has other rules, and the filter has taken them."""
    bench.reply = Policy(spam_rules=text)
    await bench.policy.check()
    async with asyncio.timeout(10):
        while bench.rules.text != text:
            await asyncio.sleep(0.005)


async def test_they_are_shown_and_weighed_until_they_are_gone(bench: FilterBench) -> None:
    plain = await bench.check()
    await follow(bench, LUNCH)
    reply = await bench.check()
    assert names(reply) == names(plain) | {"SUBJECT_HAS_LUNCH"}
    assert reply.score == pytest.approx(plain.score + 1.0)
    assert b"SUBJECT_HAS_LUNCH" in reply.prefix
    assert [hit.detail for hit in reply.tests if hit.name == "SUBJECT_HAS_LUNCH"] == ["I hate lunches"]
    assert bench.registry.get_sample_value("postbus_filter_rules") == 1
    await follow(bench, LUNCH + "score SUBJECT_HAS_LUNCH 9\n")
    assert (await bench.check()).verdict is Verdict.QUARANTINE
    submitted = await bench.check(authenticated_as="a@demo.example")
    assert "SUBJECT_HAS_LUNCH" not in names(submitted)
    await follow(bench, "")
    assert names(await bench.check()) == names(plain)


async def test_they_know_our_tests_and_may_weigh_them(bench: FilterBench) -> None:
    await follow(bench, "meta LUNCH_BY_PASS SPF_PASS && __LUNCH\nheader __LUNCH Subject =~ /Lunch/\nscore SPF_PASS -3")
    reply = await bench.check()
    weights = {hit.name: hit.score for hit in reply.tests}
    assert weights["SPF_PASS"] == -3.0
    assert weights["LUNCH_BY_PASS"] == 1.0
    assert "__LUNCH" not in weights


async def test_faulty_ones_leave_the_old_ones_running(bench: FilterBench, caplog: pytest.LogCaptureFixture) -> None:
    await follow(bench, LUNCH)
    await follow(bench, "body A /x")
    assert "SUBJECT_HAS_LUNCH" in names(await bench.check())
    assert [each.reason for each in caplog.records if each.message == "filter.rules.faulty"] == [  # type: ignore[attr-defined]
        "line 1: the closing / is missing"
    ]


async def test_a_slow_one_is_switched_off_and_told(bench: FilterBench, caplog: pytest.LogCaptureFixture) -> None:
    await follow(bench, LUNCH + "body EVIL /^(?=a)(a|aa)+$/")
    content = MESSAGE.replace(b"At noon?", b"a" * 5_000 + b"b")
    for _ in range(2):
        assert "SUBJECT_HAS_LUNCH" in names(await bench.check(content))
    assert [each.message for each in caplog.records].count("filter.rule.disabled") == 1
    assert bench.registry.get_sample_value("postbus_filter_rules_disabled") == 1
    await follow(bench, LUNCH)
    assert bench.registry.get_sample_value("postbus_filter_rules_disabled") == 0
