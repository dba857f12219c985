"""Authenticate: who gets in, what a guess costs, and that nobody is locked out by others."""

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.app_passwords import Access
from postbus.contracts.logins import AuthenticateReply, AuthenticateRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory import KEYS, ManualClock, MemoryDirectory, PlainHasher
from postbus.testing.directory_contract import put, put_domain
from postbusd.directory.login import CONFIRM_SECONDS, FAILURE_SECONDS, SUCCESS_SECONDS, PasswordAuthenticator
from postbusd.directory.throttle import BUDGET_HASHES, FREE_FAILURES


class Site:
    def __init__(self) -> None:
        self.repository = MemoryDirectory()
        self.hasher = PlainHasher()
        self.clock = ManualClock()
        self.authenticator = PasswordAuthenticator(self.repository, self.hasher, KEYS, self.clock, CollectorRegistry())

    async def login(
        self, password: str, username: str = "kim@a.test", client_address: str = "192.0.2.1"
    ) -> AuthenticateReply:
        return await self.authenticator.authenticate(
            AuthenticateRequest(username=username, password=password, access=Access.IMAP, client_address=client_address)
        )

    async def refusal(
        self, password: str, username: str = "kim@a.test", client_address: str = "192.0.2.1"
    ) -> ErrorKind:
        with pytest.raises(MailError) as error:
            await self.login(password, username, client_address)
        return error.value.kind


@pytest.fixture
async def site() -> Site:
    site = Site()
    await put_domain(site.repository, "a.test")
    await put(site.repository, "kim@a.test", password_hash="plain:secret é", quota_octets=7)
    return site


async def test_the_right_password_gets_in_whatever_the_case_of_the_name(site: Site) -> None:
    reply = await site.login("secret é", "KIM@A.Test")
    assert (reply.address, reply.quota_octets) == ("kim@a.test", 7)
    assert reply.revision == await site.repository.revision()


async def test_another_normal_form_is_the_same_password(site: Site) -> None:
    await site.login("secret\u00a0e\u0301")


async def test_every_wrong_pair_gets_the_same_reply_at_the_same_price(site: Site) -> None:
    details = set()
    for username, password in (("kim@a.test", "wrong"), ("no@a.test", "secret é"), ("kim@b.test", "x"), ("kim", "x")):
        before = site.hasher.verifications
        with pytest.raises(MailError) as error:
            await site.login(password, username)
        details.add((error.value.kind, error.value.detail))
        assert site.hasher.verifications == before + 1
    assert details == {(ErrorKind.UNAUTHENTICATED, "wrong user name or password")}


async def test_a_subaddress_is_no_login_name(site: Site) -> None:
    assert await site.refusal("secret é", "kim+x@a.test") is ErrorKind.UNAUTHENTICATED


async def test_impossible_passwords_cost_no_hash(site: Site) -> None:
    for password in ("", "x\0y", "x" * 257, "\ud800"):
        assert await site.refusal(password) is ErrorKind.UNAUTHENTICATED
    assert site.hasher.verifications == 0


async def test_inactive_is_told_to_the_owner_only(site: Site) -> None:
    await put(site.repository, "kim@a.test", password_hash=None, active=False)
    assert await site.refusal("wrong") is ErrorKind.UNAUTHENTICATED
    assert await site.refusal("secret é") is ErrorKind.INACTIVE
    assert await site.refusal("secret é") is ErrorKind.INACTIVE


async def test_a_success_is_remembered_for_five_minutes(site: Site) -> None:
    for _ in range(3):
        await site.login("secret é")
    assert site.hasher.verifications == 1
    site.clock.advance(SUCCESS_SECONDS)
    await site.login("secret é")
    assert site.hasher.verifications == 2


async def test_a_new_password_ends_the_old_one_by_wake_up(site: Site) -> None:
    await site.login("secret é")
    written = await put(site.repository, "kim@a.test", password_hash="plain:other")
    site.authenticator.cache.advance(written.revision)
    assert await site.refusal("secret é") is ErrorKind.UNAUTHENTICATED
    await site.login("other")


async def test_a_lost_wake_up_costs_a_minute_at_most(site: Site) -> None:
    await site.login("secret é")
    await put(site.repository, "kim@a.test", password_hash="plain:other")
    site.clock.advance(CONFIRM_SECONDS)
    assert await site.refusal("secret é") is ErrorKind.UNAUTHENTICATED


async def test_the_same_wrong_password_counts_once_a_minute(site: Site) -> None:
    for _ in range(3 * FREE_FAILURES):
        assert await site.refusal("old") is ErrorKind.UNAUTHENTICATED
    assert site.hasher.verifications == 1
    site.clock.advance(FAILURE_SECONDS)
    assert await site.refusal("old") is ErrorKind.UNAUTHENTICATED
    assert site.hasher.verifications == 2


async def test_failures_block_their_network_for_a_growing_time(site: Site) -> None:
    for number in range(FREE_FAILURES + 1):
        assert await site.refusal(f"guess {number}") is ErrorKind.UNAUTHENTICATED
    waits = []
    for number in range(3):
        with pytest.raises(MailError) as error:
            await site.login("secret é")
        assert error.value.kind is ErrorKind.RATE_LIMITED
        waits.append(error.value.retry.after_seconds or 0)
        site.clock.advance(waits[-1])
        assert await site.refusal(f"later {number}") is ErrorKind.UNAUTHENTICATED
    assert waits == [5, 10, 20]
    await site.login("secret é", client_address="192.0.2.2")


async def test_an_ipv6_network_is_its_64(site: Site) -> None:
    for number in range(FREE_FAILURES + 1):
        await site.refusal(f"guess {number}", client_address=f"2001:db8::{number}")
    assert await site.refusal("secret é", client_address="2001:db8::ffff") is ErrorKind.RATE_LIMITED
    await site.login("secret é", client_address="2001:db8:0:1::1")


async def test_many_networks_can_burn_only_the_accounts_budget(site: Site) -> None:
    await site.login("secret é", client_address="198.51.100.1")
    site.clock.advance(SUCCESS_SECONDS)
    kinds = [await site.refusal(f"guess {number}", client_address=f"192.0.2.{number}") for number in range(100)]
    assert kinds.count(ErrorKind.UNAUTHENTICATED) == BUDGET_HASHES
    assert set(kinds[int(BUDGET_HASHES) :]) == {ErrorKind.RATE_LIMITED}
    await site.login("secret é", client_address="198.51.100.1")
    await site.login("secret é", client_address="192.0.2.200")


async def test_without_a_database_only_remembered_logins_work(site: Site) -> None:
    await site.login("secret é")
    site.repository.away = True
    site.clock.advance(CONFIRM_SECONDS)
    await site.login("secret é")
    assert await site.refusal("other") is ErrorKind.UNAVAILABLE
    site.clock.advance(SUCCESS_SECONDS)
    assert await site.refusal("secret é") is ErrorKind.UNAVAILABLE
