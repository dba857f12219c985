"""App passwords and imported hashes: over the fake in tests/, over Postgres in integration/."""

import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts.app_passwords import (
    Access,
    AddAppPasswordReply,
    AddAppPasswordRequest,
    AppPassword,
    DeleteAppPasswordRequest,
    ListAppPasswordsRequest,
)
from postbus.contracts.directory import PutMailboxRequest, PutUserRequest, User
from postbus.contracts.logins import AuthenticateReply, AuthenticateRequest, ConfirmLoginsRequest, ShownLogin
from postbus.contracts.own_password import ChangePasswordRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.standing import Standing
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory import KEYS, ManualClock
from postbus.testing.directory_office import ADMIN, PASSWORD, Office, refused
from postbus.testing.directory_office_contract import events_of
from postbus.testing.directory_office_roles import ANN, put_site
from postbusd.directory.administration.app_passwords import MAX_APP_PASSWORDS
from postbusd.directory.administration.values import Act
from postbusd.directory.confirming import LoginConfirming
from postbusd.directory.foreign_hashes import sha512_crypt
from postbusd.directory.login import PasswordAuthenticator

KIM = "kim@a.test"
LATER_MS = 4_000_000_000_000


async def add(
    office: Office, name: str, *scopes: Access, username: str = KIM, actor: str = ADMIN, expires_ms: int | None = None
) -> AddAppPasswordReply:
    """An app password."""
    wanted = AppPassword(name=name, scopes=scopes or (Access.IMAP,), expires_ms=expires_ms)
    return await office.administration.add_app_password(
        AddAppPasswordRequest(username=username, actor=actor, app_password=wanted)
    )


async def listed(office: Office, username: str = KIM, actor: str = ADMIN) -> list[str]:
    """Their names."""
    reply = await office.administration.list_app_passwords(ListAppPasswordsRequest(username=username, actor=actor))
    return [each.name for each in reply.app_passwords]


async def delete(
    office: Office, name: str, *, username: str = KIM, actor: str = ADMIN, dry_run: bool = False
) -> AppPassword:
    """Ends one."""
    request = DeleteAppPasswordRequest(username=username, name=name, actor=actor, dry_run=dry_run)
    return (await office.administration.delete_app_password(request)).app_password


class Door:
    """Where people log in."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.clock = ManualClock()
        self.authenticator = PasswordAuthenticator(
            office.repository, office.hasher, KEYS, self.clock, CollectorRegistry()
        )
        self._confirming = LoginConfirming(office.repository, KEYS)

    async def enter(self, username: str, password: str, access: Access = Access.IMAP) -> AuthenticateReply:
        """Raises MailError."""
        return await self.authenticator.authenticate(
            AuthenticateRequest(username=username, password=password, access=access, client_address="192.0.2.1")
        )

    async def is_shut(self, username: str, password: str, access: Access = Access.IMAP) -> bool:
        """Whether the password is a wrong one."""
        try:
            await self.enter(username, password, access)
        except MailError as error:
            return error.kind is ErrorKind.UNAUTHENTICATED
        return False

    async def stands(self, login: AuthenticateReply) -> bool:
        """Whether the session goes on."""
        shown = ShownLogin(mailbox_id=login.mailbox_id, member=login.member, proof=login.proof)
        return (await self._confirming.confirm_logins(ConfirmLoginsRequest(logins=(shown,)))).logins[0].stands


async def change(office: Office, actor: str, current: str, new: str) -> bool:
    """A user's own password."""
    request = ChangePasswordRequest(actor=actor, current_password=current, new_password=new)
    return (await office.administration.change_password(request)).changed


class AppPasswordContract:
    """The AppPasswordAdmin, and logins with them."""

    async def test_one_is_made_told_once_listed_and_deleted(self, office: Office) -> None:
        """add, list, delete; nothing of the secret in events."""
        await put_site(office)
        made = await add(office, " My phone ", Access.SMTP, Access.IMAP, expires_ms=LATER_MS)
        assert made.app_password == AppPassword(
            name="My phone",
            scopes=(Access.IMAP, Access.SMTP),
            expires_ms=LATER_MS,
            created_ms=made.app_password.created_ms,
        )
        assert [len(group) for group in made.secret.split("-")] == [5, 5, 5, 5, 5, 1]
        await add(office, "Laptop")
        assert await listed(office) == ["Laptop", "My phone"]
        before = await office.trace()
        assert await delete(office, "My phone", dry_run=True) == made.app_password
        assert await office.trace() == before
        assert await delete(office, "My phone") == made.app_password
        assert await listed(office) == ["Laptop"]
        told = await events_of(office)
        assert made.secret not in repr(told)
        assert f"app password My phone of user {KIM} deleted by {ADMIN}" in [each.summary for each in told]

    async def test_it_opens_what_its_user_opens_by_its_protocols(self, office: Office) -> None:
        """Own mailboxes and those of groups, without a slow hash."""
        await put_site(office)
        await office.put_mailbox("box@a.test", None, owner=Owner(kind=OwnerKind.GROUP, name="staff-a"))
        secret = (await add(office, "phone", Access.IMAP, Access.SMTP)).secret
        door, slow = Door(office), office.hasher.verifications
        for address in (KIM, "box@a.test"):
            for access in (Access.IMAP, Access.SMTP, Access.IMAP):
                assert (await door.enter(address, secret, access)).member == KIM
            assert (await door.enter(address, secret)).shown == f"{KIM}, app password phone"
            assert await door.is_shut(address, secret, Access.SIEVE)
            assert (await door.enter(address, secret)).member == KIM
        assert office.hasher.verifications == slow
        assert await door.is_shut("kim@b.test", secret)
        assert (await door.enter(KIM, PASSWORD, Access.SIEVE)).shown == KIM
        used = await office.administration.list_app_passwords(ListAppPasswordsRequest(username=KIM, actor=ADMIN))
        assert used.app_passwords[0].last_used_ms is not None

    async def test_it_ends_with_its_time_its_deletion_and_its_user(self, office: Office) -> None:
        """Logins, cached or not, and open sessions."""
        await put_site(office)
        door = Door(office)
        soon = door.clock.now_ms() + 60_000
        brief, long = await add(office, "brief", expires_ms=soon), await add(office, "long")
        session = await door.enter(KIM, long.secret)
        await door.enter(KIM, brief.secret)
        door.clock.advance(61)
        assert await door.is_shut(KIM, brief.secret)
        assert await door.stands(session)
        await office.put_mailbox(KIM, "another password")
        assert await door.stands(session)
        await delete(office, "long")
        assert not await door.stands(session)
        door.authenticator.cache.advance(await office.repository.revision())
        assert await door.is_shut(KIM, long.secret)
        other = await add(office, "other")
        session = await door.enter(KIM, other.secret)
        await office.put_user(KIM, active=False)
        assert not await door.stands(session)
        door.authenticator.cache.advance(await office.repository.revision())
        with refused(ErrorKind.INACTIVE, "this mailbox is not active"):
            await door.enter(KIM, other.secret)

    async def test_what_may_be_made(self, office: Office) -> None:
        """Names, scopes, time, number."""
        await put_site(office)
        for name, scopes, expires_ms, field in (
            ("", (Access.IMAP,), None, "name"),
            ("a/b", (Access.IMAP,), None, "name"),
            ("a\n", (Access.IMAP,), 1, "expires_ms"),
            ("x" * 101, (Access.IMAP,), None, "name"),
        ):
            with refused(ErrorKind.INVALID, field):
                await add(office, name, *scopes, expires_ms=expires_ms)
        request = AddAppPasswordRequest(username=KIM, actor=ADMIN, app_password=AppPassword(name="x", scopes=()))
        with refused(ErrorKind.INVALID, "scopes"):
            await office.administration.add_app_password(request)
        with refused(ErrorKind.NOT_FOUND, "username"):
            await add(office, "x", username="nobody@a.test")
        for number in range(MAX_APP_PASSWORDS):
            await add(office, f"n{number}")
        with refused(ErrorKind.ALREADY_EXISTS, "name"):
            await add(office, "n0")
        with refused(ErrorKind.LIMIT, "name"):
            await add(office, "one more")
        with refused(ErrorKind.NOT_FOUND, "name"):
            await delete(office, "none")

    @pytest.mark.parametrize(("actor", "username"), [(ANN, "kim@b.test"), ("pat@a.test", KIM), (ANN, "root")])
    async def test_nobody_has_those_of_others(self, office: Office, actor: str, username: str) -> None:
        """FORBIDDEN; one's own are one's own, and those of a domain are its admin's."""
        await put_site(office)
        if username != "root":
            await add(office, "theirs", username=username)
        before = await office.trace()
        for attempt in (
            lambda: add(office, "x", username=username, actor=actor),
            lambda: listed(office, username, actor),
            lambda: delete(office, "theirs", username=username, actor=actor),
        ):
            with refused(ErrorKind.FORBIDDEN, ""):
                await attempt()
        assert await office.trace() == before
        await add(office, "own", username="pat@a.test", actor="pat@a.test")
        assert await listed(office, "pat@a.test", "pat@a.test") == ["own"]
        await add(office, "given", actor=ANN)

    async def test_an_imported_hash_is_replaced_at_the_first_login(self, office: Office) -> None:
        """put_user, put_mailbox with a hash; sessions before and after go on."""
        await put_site(office)
        imported = sha512_crypt(b"old secret", "$6$saltstring")
        user = User(username=KIM)
        await office.administration.put_user(PutUserRequest(user=user, actor=ADMIN, password_hash=imported))
        first, second = Door(office), Door(office)
        assert await first.is_shut(KIM, PASSWORD)
        stored = await office.repository.load_password(KIM)
        assert stored is not None
        assert (stored.secret_hash, stored.tag) == (imported, None)
        before = await office.trace()
        session = await first.enter(KIM, "old secret")
        now = await office.repository.load_password(KIM)
        assert now is not None
        assert (now.secret_hash != imported, now.tag) == (True, KEYS.tag("old secret"))
        assert await office.trace() == before
        assert await first.stands(session)
        another = await second.enter(KIM, "old secret")
        assert await second.stands(another)
        assert await office.repository.load_password(KIM) == now
        await office.put_mailbox(KIM, "new secret")
        assert not await first.stands(session)
        assert not await second.stands(another)

    async def test_what_may_be_imported(self, office: Office) -> None:
        """put_mailbox with a hash."""
        await put_site(office)
        imported = "{SSHA}" + "3WlqAsiYBFrFkTSCf0u2dlqIcuxzYWx0"
        with refused(ErrorKind.INVALID, "password_hash"):
            await office.administration.put_mailbox(
                PutMailboxRequest(address=KIM, actor=ADMIN, password_hash="{MD5}x")  # noqa: S106
            )
        with refused(ErrorKind.INVALID, "password_hash: either"):
            await office.administration.put_mailbox(
                PutMailboxRequest(address=KIM, actor=ADMIN, password_hash=imported, password="secret")  # noqa: S106
            )
        request = PutMailboxRequest(address="new@a.test", actor=ADMIN, password_hash=imported)
        assert (await office.administration.put_mailbox(request)).created
        stored = await office.repository.load_password("new@a.test")
        assert stored is not None
        assert stored.secret_hash == imported

    async def test_a_user_changes_the_own_password(self, office: Office) -> None:
        """change_password."""
        await office.put_user("kim", "pass phrase")
        await office.put_user("lee")
        await events_of(office)

        before = await office.trace()
        for actor, current, new, kind, detail in (
            ("kim", "wrong", "another phrase", ErrorKind.FORBIDDEN, "current_password: is another one"),
            ("kim", "\0", "another phrase", ErrorKind.FORBIDDEN, "current_password: is another one"),
            ("kim", "pass phrase", "x", ErrorKind.INVALID, "new_password"),
            ("lee", "", "another phrase", ErrorKind.FORBIDDEN, "current_password: there is none"),
            ("nobody", "x", "another phrase", ErrorKind.FORBIDDEN, ""),
            (ADMIN, "x", "another phrase", ErrorKind.FORBIDDEN, "actor"),
        ):
            with refused(kind, detail):
                await change(office, actor, current, new)
        assert not await change(office, "kim", "pass phrase", "pass phrase")
        assert await office.trace() == before
        assert await change(office, "kim", "pass phrase", "another phrase")
        (event,) = await events_of(office)
        assert event.summary == "password of user kim changed by kim"
        stored = await office.repository.load_password("kim")
        assert stored is not None
        assert await office.hasher.verify(stored.secret_hash, "another phrase")
        with refused(ErrorKind.FORBIDDEN, "current_password"):
            await change(office, "kim", "pass phrase", "a third phrase")
        act = Act(standing=Standing(actor="kim"), event=event)
        with refused(ErrorKind.CONFLICT, "current_password: the password was changed meanwhile"):
            await office.repository.change_password("kim", "another hash", stored, act)

    async def test_guesses_at_the_own_password_are_slowed_down(self, office: Office) -> None:
        """change_password."""
        await office.put_user("kim", "pass phrase")
        for _ in range(6):
            with refused(ErrorKind.FORBIDDEN, "current_password"):
                await change(office, "kim", "wrong", "another phrase")
        with refused(ErrorKind.RATE_LIMITED, "current_password"):
            await change(office, "kim", "pass phrase", "another phrase")
