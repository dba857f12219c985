"""FindRoute: the nearest of our domains, its relay with the password, and what a cache may hold on to."""

import pytest

from postbus.contracts.directory import FindRouteRequest, Route
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer
from postbus.testing.directory import ManualClock
from postbus.testing.directory_sites import Site
from postbusd.directory.routes import CACHE_SECONDS, CachedRoutes, relay_owner

RELAY = Relay(host="smart.test", port=587, security=RelaySecurity.STARTTLS, username="us")
SEALER = Sealer(bytes(32))


class Ways:
    def __init__(self) -> None:
        self.site = Site("a.test", "b.a.test", "plain.test")
        self.site.put_domain("a.test", incoming=False, relay=RELAY)
        self.site.directory.relay_passwords["a.test"] = SEALER.seal(b"pass\xc3\xa9", relay_owner("a.test"))
        self.clock = ManualClock()
        self.routes = CachedRoutes(self.site.directory, SEALER, self.clock)

    async def find(self, domain: str) -> Route:
        return await self.routes.find_route(FindRouteRequest(domain=domain))


@pytest.fixture
def ways() -> Ways:
    return Ways()


async def test_the_nearest_of_our_domains_gives_relay_and_signature(ways: Ways) -> None:
    for name in ("a.test", "mail.A.test", "x.y.a.test"):
        route = await ways.find(name)
        assert (route.signing_domain, route.relay and route.relay.password) == ("a.test", "passé")
        assert route.relay is not None
        assert (route.relay.host, route.relay.username) == ("smart.test", "us")
    for name, signing_domain in (("b.a.test", "b.a.test"), ("x.b.a.test", "b.a.test"), ("plain.test", "plain.test")):
        assert (await ways.find(name)).signing_domain == signing_domain
        assert (await ways.find(name)).relay is None


@pytest.mark.parametrize("name", ["c.test", "aa.test", "test", "", "not a domain", "[192.0.2.1]"])
async def test_foreign_names_have_the_way_by_mx_and_no_signature(ways: Ways, name: str) -> None:
    route = await ways.find(name)
    assert (route.relay, route.signing_domain) == (None, "")


async def test_an_answer_is_kept_until_a_newer_revision_or_a_minute(ways: Ways) -> None:
    await ways.find("a.test")
    reads = ways.site.directory.reads
    await ways.find("A.test")
    assert ways.site.directory.reads == reads
    ways.site.put_domain("a.test", relay=None)
    assert (await ways.find("a.test")).relay is not None
    ways.routes.advance(ways.site.directory.number)
    assert (await ways.find("a.test")).relay is None
    ways.site.put_domain("a.test", relay=RELAY)
    ways.clock.advance(CACHE_SECONDS)
    assert (await ways.find("a.test")).relay is not None
    ways.site.put_domain("a.test", relay=None)
    ways.routes.clear()
    assert (await ways.find("a.test")).relay is None


async def test_a_newer_revision_seen_in_one_answer_drops_the_others(ways: Ways) -> None:
    await ways.find("a.test")
    ways.site.put_domain("a.test", relay=None)
    await ways.find("plain.test")
    assert (await ways.find("a.test")).relay is None


async def test_the_cache_is_bounded(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postbusd.directory.routes.MAX_CACHED", 2)
    for name in ("a.test", "b.test", "c.test"):
        await ways.find(name)
    reads = ways.site.directory.reads
    await ways.find("c.test")
    assert ways.site.directory.reads == reads
    await ways.find("a.test")
    assert ways.site.directory.reads == reads + 1


async def test_a_password_sealed_for_another_domain_or_key_delays(ways: Ways) -> None:
    ways.site.directory.relay_passwords["a.test"] = SEALER.seal(b"x", relay_owner("plain.test"))
    with pytest.raises(MailError) as error:
        await ways.find("a.test")
    assert error.value.kind is ErrorKind.UNAVAILABLE


async def test_an_absent_database_is_unavailable(ways: Ways) -> None:
    ways.site.directory.away = True
    with pytest.raises(MailError) as error:
        await ways.find("a.test")
    assert error.value.kind is ErrorKind.UNAVAILABLE
