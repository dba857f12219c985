"""Resolve with its cache: how long an answer lives and what drops it."""

import time

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.directory import Outcome, ResolveRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory import ManualClock, MemoryAccounts, MemoryDirectory
from postbus.testing.directory_contract import put, put_domain
from postbusd.directory.resolution import CACHE_SECONDS, MAX_FORWARD_PATHS, CachedResolver


class Site:
    def __init__(self) -> None:
        self.repository = MemoryDirectory()
        self.accounts = MemoryAccounts()
        self.clock = ManualClock()
        self.resolver = CachedResolver(self.repository, self.accounts, self.clock, CollectorRegistry())

    async def outcomes(self, *forward_paths: str, bypass_cache: bool = False) -> list[str]:
        reply = await self.resolver.resolve(ResolveRequest(forward_paths=forward_paths, bypass_cache=bypass_cache))
        assert [each.forward_path for each in reply.resolutions] == list(forward_paths)
        return [each.kind.value if each.kind else each.outcome.value for each in reply.resolutions]


@pytest.fixture
async def site() -> Site:
    site = Site()
    await put_domain(site.repository, "a.test", incoming=True)
    await put(site.repository, "kim@a.test", quota_octets=100)
    return site


async def test_a_batch_costs_one_query_and_a_repeat_none(site: Site) -> None:
    before = site.repository.reads
    paths = ("kim@a.test", "no@a.test", "x@b.test", "kim@a.test", "junk")
    for _ in range(2):
        assert await site.outcomes(*paths) == ["mailbox", "not_found", "remote", "mailbox", "invalid"]
    assert site.repository.reads == before + 1


async def test_an_answer_lives_a_minute(site: Site) -> None:
    assert await site.outcomes("new@a.test") == ["not_found"]
    await put(site.repository, "new@a.test")
    site.clock.advance(CACHE_SECONDS - 1)
    assert await site.outcomes("new@a.test") == ["not_found"]
    assert await site.outcomes("new@a.test", bypass_cache=True) == ["mailbox"]
    await put(site.repository, "new@a.test", active=False)
    site.clock.advance(CACHE_SECONDS)
    assert await site.outcomes("new@a.test") == ["inactive"]


async def test_a_revision_gap_drops_everything(site: Site) -> None:
    assert await site.outcomes("new@a.test") == ["not_found"]
    await put(site.repository, "new@a.test")
    assert await site.outcomes("other@a.test") == ["not_found"]
    assert await site.outcomes("new@a.test") == ["mailbox"]


async def test_an_answer_read_before_a_change_does_not_stay(site: Site) -> None:
    assert await site.outcomes("new@a.test") == ["not_found"]
    site.resolver.cache.advance(99)
    await put(site.repository, "new@a.test")
    assert await site.outcomes("new@a.test") == ["mailbox"]
    await put(site.repository, "new@a.test", active=False)
    assert await site.outcomes("new@a.test") == ["inactive"]


async def test_without_a_database_unknown_answers_are_put_off(site: Site) -> None:
    assert await site.outcomes("kim@a.test") == ["mailbox"]
    site.repository.away = True
    reply = await site.resolver.resolve(ResolveRequest(forward_paths=("kim@a.test", "no@a.test")))
    assert [each.outcome for each in reply.resolutions] == [Outcome.MAILBOX, Outcome.LATER]
    assert reply.resolutions[1].kind is ErrorKind.UNAVAILABLE
    site.repository.away = False
    assert await site.outcomes("no@a.test") == ["not_found"]


async def test_a_full_mailbox_is_refused(site: Site) -> None:
    reply = await site.resolver.resolve(ResolveRequest(forward_paths=("kim@a.test",)))
    site.accounts.used[reply.resolutions[0].targets[0].mailbox_id] = 100
    full = await site.resolver.resolve(ResolveRequest(forward_paths=("kim@a.test",), bypass_cache=True))
    assert (full.resolutions[0].kind, full.resolutions[0].reason) == (ErrorKind.OVER_QUOTA, "mailbox full")
    assert full.resolutions[0].targets[0].over_quota


async def test_the_cache_and_the_request_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MailError) as error:
        await site.outcomes(*["x@b.test"] * (MAX_FORWARD_PATHS + 1))
    assert error.value.kind is ErrorKind.LIMIT
    monkeypatch.setattr("postbusd.directory.resolution.MAX_CACHED", 10)
    await site.outcomes(*[f"{number}@b.test" for number in range(11)])
    assert site.resolver.cache.get("0@b.test", site.clock.monotonic()) is None
    assert site.resolver.cache.get("10@b.test", site.clock.monotonic()) is not None


async def test_a_cached_answer_costs_microseconds(site: Site) -> None:
    request = ResolveRequest(forward_paths=("kim@a.test",))
    await site.resolver.resolve(request)
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(100):
            await site.resolver.resolve(request)
        best = min(best, (time.perf_counter() - started) / 100)
    assert best < 40e-6
