"""Authenticate for every kind of owner: a user's mailboxes, a group's, an app's."""

import hashlib
import hmac

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.app_passwords import Access
from postbus.contracts.logins import AuthenticateReply, AuthenticateRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory import KEYS, ManualClock, PlainHasher
from postbus.testing.directory_sites import Site
from postbusd.directory.login import PasswordAuthenticator
from postbusd.directory.passwords import CredentialKeys, prepare_password
from postbusd.directory.ports import MAX_CANDIDATES

MEMBERS = 500
CREDENTIAL = "f3m2-k7qz-x1"


class Office:
    """A site that people log in to."""

    def __init__(self) -> None:
        self.site = Site("a.test")
        self.hasher = PlainHasher()
        self.clock = ManualClock()
        self.authenticator = PasswordAuthenticator(
            self.site.directory, self.hasher, KEYS, self.clock, CollectorRegistry()
        )

    async def login(self, username: str, password: str) -> AuthenticateReply:
        return await self.authenticator.authenticate(
            AuthenticateRequest(username=username, password=password, access=Access.IMAP, client_address="192.0.2.1")
        )

    async def refusal(self, username: str, password: str) -> ErrorKind:
        with pytest.raises(MailError) as error:
            await self.login(username, password)
        return error.value.kind

    async def change(self) -> None:
        """What a wake-up does after a change."""
        self.authenticator.cache.advance(self.site.directory.number)


@pytest.fixture
def office() -> Office:
    office = Office()
    site = office.site
    for name in ("kim", "lee"):
        site.put_user(name, f"{name} opens")
    site.put_mailbox("kim@a.test", owner=Owner(kind=OwnerKind.USER, name="kim"), quota_octets=7)
    site.put_mailbox("kim.private@a.test", owner=Owner(kind=OwnerKind.USER, name="kim"))
    site.put_group("staff", "kim", "lee")
    site.put_mailbox("team@a.test", owner=Owner(kind=OwnerKind.GROUP, name="staff"))
    site.put_app("shop", "shop.app@a.test", CREDENTIAL)
    return office


async def test_a_user_opens_each_own_mailbox_with_one_password(office: Office) -> None:
    first, second = await office.login("kim@a.test", "kim opens"), await office.login("kim.private@a.test", "kim opens")
    assert (first.address, first.member, first.quota_octets) == ("kim@a.test", "kim", 7)
    assert (second.address, second.member) == ("kim.private@a.test", "kim")
    assert await office.refusal("kim@a.test", "lee opens") is ErrorKind.UNAUTHENTICATED
    assert await office.refusal("kim", "kim opens") is ErrorKind.UNAUTHENTICATED


async def test_a_groups_mailbox_opens_for_each_member_and_says_who_it_was(office: Office) -> None:
    for name in ("kim", "lee"):
        reply = await office.login("team@a.test", f"{name} opens")
        assert (reply.address, reply.member) == ("team@a.test", name)
    assert (await office.login("team@a.test", "lee opens")).member == "lee"
    assert office.hasher.verifications <= 2 * 2


async def test_a_member_who_left_opens_nothing_from_the_next_revision(office: Office) -> None:
    await office.login("team@a.test", "lee opens")
    office.site.put_group("staff", "kim")
    await office.change()
    assert await office.refusal("team@a.test", "lee opens") is ErrorKind.UNAUTHENTICATED


async def test_a_guess_at_a_large_groups_mailbox_costs_eight_hashes_at_most(office: Office) -> None:
    for number in range(MEMBERS):
        office.site.put_user(f"crew{number}", f"password {number}")
    office.site.put_group("crew", *[f"crew{number}" for number in range(MEMBERS)])
    office.site.put_mailbox("crew@a.test", owner=Owner(kind=OwnerKind.GROUP, name="crew"))
    costs = []
    for number in range(5):
        before = office.hasher.verifications
        assert await office.refusal("crew@a.test", f"guess {number}") is ErrorKind.UNAUTHENTICATED
        costs.append(office.hasher.verifications - before)
    assert max(costs) <= MAX_CANDIDATES
    assert min(costs) >= 1
    before = office.hasher.verifications
    office.clock.advance(3600)
    assert (await office.login("crew@a.test", "password 321")).member == "crew321"
    assert office.hasher.verifications - before <= MAX_CANDIDATES


async def test_a_member_whose_tag_is_unknown_is_tried(office: Office) -> None:
    office.site.put_user("lee", "lee opens", tagged=False)
    assert (await office.login("team@a.test", "lee opens")).member == "lee"
    assert await office.refusal("team@a.test", "nobody opens") is ErrorKind.UNAUTHENTICATED


async def test_inactive_is_told_to_who_knows_the_password(office: Office) -> None:
    office.site.put_user("lee", "lee opens", active=False)
    for _ in ("hashed", "remembered"):
        assert await office.refusal("team@a.test", "lee opens") is ErrorKind.INACTIVE
    assert await office.refusal("team@a.test", "guess") is ErrorKind.UNAUTHENTICATED
    assert (await office.login("team@a.test", "kim opens")).member == "kim"
    office.site.put_user("kim", "kim opens", active=False)
    await office.change()
    assert await office.refusal("kim@a.test", "kim opens") is ErrorKind.INACTIVE
    office.site.put_app("shop", "shop.app@a.test", CREDENTIAL, active=False)
    await office.change()
    assert await office.refusal("shop.app@a.test", CREDENTIAL) is ErrorKind.INACTIVE
    assert await office.refusal("shop.app@a.test", "guess") is ErrorKind.UNAUTHENTICATED


async def test_of_two_members_with_one_password_the_active_one_is_told(office: Office) -> None:
    office.site.put_user("abe", "kim opens", active=False)
    office.site.put_group("staff", "abe", "kim")
    assert (await office.login("team@a.test", "kim opens")).member == "kim"


async def test_an_app_logs_in_by_its_credential_without_slow_hashing(office: Office) -> None:
    reply = await office.login("shop.app@a.test", CREDENTIAL)
    assert (reply.address, reply.member) == ("shop.app@a.test", "")
    assert await office.refusal("shop.app@a.test", "guess") is ErrorKind.UNAUTHENTICATED
    assert await office.refusal("shop.app@a.test", KEYS.index(CREDENTIAL)) is ErrorKind.UNAUTHENTICATED
    assert office.hasher.verifications == 0


async def test_a_domain_without_incoming_mail_still_lets_its_users_in(office: Office) -> None:
    office.site.put_domain("a.test", incoming=False)
    assert (await office.login("kim@a.test", "kim opens")).address == "kim@a.test"


def test_the_digests_depend_on_the_master_key_and_the_purpose() -> None:
    other = CredentialKeys(bytes(31) + b"\1")
    assert KEYS.index("x") != other.index("x")
    assert [KEYS.tag(str(number)) for number in range(20)] != [other.tag(str(number)) for number in range(20)]
    assert KEYS.index("x") != hmac.digest(bytes(32), b"x", hashlib.sha256).hex()
    assert len(KEYS.index("x")) == 64
    assert {KEYS.tag(str(number)) for number in range(5000)} == set(range(256))
    assert KEYS.tag(prepare_password("e\u0301")) == KEYS.tag(prepare_password("\u00e9"))
