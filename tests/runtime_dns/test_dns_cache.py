"""The resolver's cache, its shared queries and its door for blocking libraries."""

import asyncio

import pytest

from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import (
    BlockingResolver,
    DnsAnswer,
    DnsResolver,
    DnsStatus,
    HostRecord,
    RecordType,
    normalize_name,
    reverse_name,
)
from postbus.testing.dns import FakeResolver


class ManualClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


class ScriptedUpstream:
    """Answers with what the test set; a gate holds queries back."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, RecordType]] = []
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.status: DnsStatus | None = DnsStatus.ANSWER
        self.ttl = 60.0

    async def ask(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        self.asked.append((name, record_type))
        self.started.set()
        await self.gate.wait()
        if self.status is None:
            return None
        records = (HostRecord("192.0.2.1"),) if self.status is DnsStatus.ANSWER else ()
        return DnsAnswer(name=name, record_type=record_type, status=self.status, records=records, ttl_seconds=self.ttl)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def upstream() -> ScriptedUpstream:
    return ScriptedUpstream()


@pytest.fixture
def resolver(clock: ManualClock, upstream: ScriptedUpstream) -> DnsResolver:
    return DnsResolver(clock=clock, upstream=upstream, max_entries=3)


async def test_an_answer_is_cached_for_its_ttl(
    resolver: DnsResolver, upstream: ScriptedUpstream, clock: ManualClock
) -> None:
    first = await resolver.resolve("Example.COM.", RecordType.A)
    clock.seconds += 59
    assert await resolver.resolve("example.com", RecordType.A) == first
    assert resolver.cached("example.com", RecordType.A) == first
    assert len(upstream.asked) == 1
    clock.seconds += 2
    assert resolver.cached("example.com", RecordType.A) is None
    await resolver.resolve("example.com", RecordType.A)
    assert len(upstream.asked) == 2


@pytest.mark.parametrize(
    ("status", "ttl", "held_seconds"),
    [
        (DnsStatus.ANSWER, 0.0, 5.0),
        (DnsStatus.ANSWER, 86400.0, 3600.0),
        (DnsStatus.NXDOMAIN, 86400.0, 300.0),
        (DnsStatus.NODATA, 20.0, 20.0),
    ],
)
async def test_ttls_are_bounded(
    resolver: DnsResolver,
    upstream: ScriptedUpstream,
    clock: ManualClock,
    status: DnsStatus,
    ttl: float,
    held_seconds: float,
) -> None:
    upstream.status, upstream.ttl = status, ttl
    assert (await resolver.resolve("example.com", RecordType.A)).status is status
    clock.seconds += held_seconds - 0.5
    assert resolver.cached("example.com", RecordType.A) is not None
    clock.seconds += 1
    assert resolver.cached("example.com", RecordType.A) is None


async def test_a_failing_server_is_unavailable_and_remembered_briefly(
    resolver: DnsResolver, upstream: ScriptedUpstream, clock: ManualClock
) -> None:
    upstream.status = None
    for _ in range(2):
        with pytest.raises(MailError) as caught:
            await resolver.resolve("example.com", RecordType.A)
        assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert len(upstream.asked) == 1
    clock.seconds += 3
    upstream.status = DnsStatus.ANSWER
    assert (await resolver.resolve("example.com", RecordType.A)).hosts() == ("192.0.2.1",)


async def test_the_same_question_is_asked_once(resolver: DnsResolver, upstream: ScriptedUpstream) -> None:
    upstream.gate.clear()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(resolver.resolve("example.com", RecordType.A)) for _ in range(5)]
        await upstream.started.wait()
        upstream.gate.set()
    assert len(upstream.asked) == 1
    assert {task.result().status for task in tasks} == {DnsStatus.ANSWER}


async def test_a_caller_who_gives_up_does_not_take_the_query_away(
    resolver: DnsResolver, upstream: ScriptedUpstream
) -> None:
    upstream.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await resolver.resolve("example.com", RecordType.A)
    async with asyncio.TaskGroup() as group:
        patient = group.create_task(resolver.resolve("example.com", RecordType.A))
        await asyncio.sleep(0)
        upstream.gate.set()
    assert patient.result().status is DnsStatus.ANSWER
    assert len(upstream.asked) == 1


async def test_close_ends_the_queries_under_way(resolver: DnsResolver, upstream: ScriptedUpstream) -> None:
    upstream.gate.clear()
    waiting = asyncio.ensure_future(resolver.resolve("example.com", RecordType.A))
    await upstream.started.wait()
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_cache_is_bounded(resolver: DnsResolver) -> None:
    for number in range(5):
        await resolver.resolve(f"host{number}.example", RecordType.A)
    assert resolver.cached("host0.example", RecordType.A) is None
    assert resolver.cached("host4.example", RecordType.A) is not None


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "x" * 64 + ".example", ".".join(["abcdefgh"] * 30), "b\u00fc\ud800.example"]
)
def test_what_is_no_name_is_invalid(name: str) -> None:
    with pytest.raises(MailError) as caught:
        normalize_name(name)
    assert caught.value.kind is ErrorKind.INVALID


def test_names_are_lower_case_a_labels() -> None:
    assert normalize_name("B\u00dccher.Example.") == "xn--bcher-kva.example"


def test_reverse_names() -> None:
    assert reverse_name("192.0.2.1") == "1.2.0.192.in-addr.arpa"
    assert reverse_name("2001:db8::1").endswith(".8.b.d.0.1.0.0.2.ip6.arpa")


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.1:0", ":53x"])
def test_a_malformed_server_setting_is_refused(server: str) -> None:
    with pytest.raises(MailError):
        DnsResolver(server)


@pytest.mark.parametrize("ready", [True, False])
async def test_blocking_libraries_ask_from_their_thread(ready: bool) -> None:
    fake = FakeResolver(ready=ready).add_address("example.com", "192.0.2.7")
    clock = SystemClock()
    blocking = BlockingResolver(fake, asyncio.get_running_loop(), clock.monotonic() + 5, clock)
    answer = await asyncio.to_thread(blocking.resolve, "example.com", RecordType.A)
    assert answer.hosts() == ("192.0.2.7",)


async def test_blocking_libraries_end_at_the_deadline(resolver: DnsResolver, upstream: ScriptedUpstream) -> None:
    upstream.gate.clear()
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    for deadline in (clock.monotonic() - 1, clock.monotonic() + 0.02):
        blocking = BlockingResolver(resolver, loop, deadline, clock)
        with pytest.raises(MailError) as caught:
            await asyncio.to_thread(blocking.resolve, "example.com", RecordType.A)
        assert caught.value.kind is ErrorKind.UNAVAILABLE
    await resolver.close()


async def test_the_fake_tells_missing_names_from_missing_records() -> None:
    fake = FakeResolver().add_txt("a.b.example", "x").add_names("alias.example", RecordType.CNAME, "a.b.example")
    fake.fail("broken.example").authenticate(["a.b.example"])
    assert (await fake.resolve("b.example", RecordType.TXT)).status is DnsStatus.NODATA
    assert (await fake.resolve("c.example", RecordType.TXT)).status is DnsStatus.NXDOMAIN
    assert (await fake.resolve("alias.example", RecordType.TXT)).texts() == (b"x",)
    assert (await fake.resolve("a.b.example", RecordType.TXT)).authenticated
    with pytest.raises(MailError):
        await fake.resolve("broken.example", RecordType.MX)
