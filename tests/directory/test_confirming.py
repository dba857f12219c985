"""ConfirmLogins: what ends a login, and what does not."""

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.app_passwords import Access
from postbus.contracts.logins import (
    MAX_SHOWN_LOGINS,
    AuthenticateReply,
    AuthenticateRequest,
    ConfirmLoginsRequest,
    ShownLogin,
)
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory import KEYS, ManualClock, PlainHasher
from postbus.testing.directory_sites import Site
from postbusd.directory.confirming import LoginConfirming
from postbusd.directory.login import PasswordAuthenticator


class Office:
    def __init__(self) -> None:
        self.site = Site("a.test")
        for name in ("kim", "lee"):
            self.site.put_user(name, f"{name} opens")
        self.site.put_mailbox("kim@a.test", owner=Owner(kind=OwnerKind.USER, name="kim"), quota_octets=7)
        self.site.put_group("staff", "kim", "lee")
        self.site.put_mailbox("team@a.test", owner=Owner(kind=OwnerKind.GROUP, name="staff"))
        self.site.put_app("shop", "shop.app@a.test", "credential")
        clock = ManualClock()
        self.authenticator = PasswordAuthenticator(self.site.directory, PlainHasher(), KEYS, clock, CollectorRegistry())
        self.confirming = LoginConfirming(self.site.directory, KEYS)

    async def log_in(self, username: str, password: str) -> AuthenticateReply:
        return await self.authenticator.authenticate(
            AuthenticateRequest(username=username, password=password, access=Access.IMAP, client_address="192.0.2.1")
        )

    async def stands(self, login: AuthenticateReply) -> bool:
        shown = ShownLogin(mailbox_id=login.mailbox_id, member=login.member, proof=login.proof)
        reply = await self.confirming.confirm_logins(ConfirmLoginsRequest(logins=(shown,)))
        return reply.logins[0].stands


@pytest.fixture
def office() -> Office:
    return Office()


async def test_a_users_login_ends_with_the_password_the_user_or_the_mailbox(office: Office) -> None:
    site = office.site
    kim = Owner(kind=OwnerKind.USER, name="kim")
    login = await office.log_in("kim@a.test", "kim opens")
    assert await office.stands(login)
    before = site.directory.mailboxes["kim@a.test"]
    for change in (
        lambda: site.put_user("kim", "kim is new"),
        lambda: site.put_user("kim", active=False),
        lambda: site.put_mailbox("kim@a.test", owner=kim, active=False),
        lambda: site.directory.mailboxes.pop("kim@a.test"),
    ):
        change()
        assert not await office.stands(login)
        site.put_user("kim", "kim opens")
        site.directory.mailboxes["kim@a.test"] = before
        assert await office.stands(login)


async def test_a_members_login_ends_with_the_membership(office: Office) -> None:
    login = await office.log_in("team@a.test", "lee opens")
    other = await office.log_in("team@a.test", "kim opens")
    office.site.put_group("staff", "kim")
    assert (await office.stands(login), await office.stands(other)) == (False, True)


async def test_an_apps_login_ends_with_its_credential(office: Office) -> None:
    login = await office.log_in("shop.app@a.test", "credential")
    assert await office.stands(login)
    office.site.directory.credentials["shop"] = KEYS.index("another")
    assert not await office.stands(login)


async def test_a_proof_is_of_one_mailbox_and_one_opener(office: Office) -> None:
    kim, team = await office.log_in("kim@a.test", "kim opens"), await office.log_in("team@a.test", "kim opens")
    assert len({kim.proof, team.proof}) == 2
    shown = ShownLogin(mailbox_id=team.mailbox_id, member="kim", proof=kim.proof)
    reply = await office.confirming.confirm_logins(ConfirmLoginsRequest(logins=(shown,)))
    assert not reply.logins[0].stands
    assert "kim opens" not in kim.proof


async def test_the_cached_login_has_the_same_proof(office: Office) -> None:
    assert await office.log_in("kim@a.test", "kim opens") == await office.log_in("kim@a.test", "kim opens")


async def test_requests_are_bounded_and_none_is_fine(office: Office) -> None:
    assert (await office.confirming.confirm_logins(ConfirmLoginsRequest(logins=()))).logins == ()
    login = await office.log_in("kim@a.test", "kim opens")
    shown = ShownLogin(mailbox_id=login.mailbox_id, member=login.member, proof=login.proof)
    with pytest.raises(MailError) as error:
        await office.confirming.confirm_logins(ConfirmLoginsRequest(logins=(shown,) * (MAX_SHOWN_LOGINS + 1)))
    assert error.value.kind is ErrorKind.LIMIT
