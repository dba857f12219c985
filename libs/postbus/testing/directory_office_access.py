"""Sign-ins, second factors and forgotten passwords: over the fake in tests/, over Postgres in integration/."""

import base64

import msgspec
import pytest

from postbus.contracts.app_passwords import Access
from postbus.contracts.directory import PutUserRequest, User
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.password_reset import BeginResetReply, BeginResetRequest, FinishResetRequest
from postbus.contracts.second_factor import (
    BeginSecondFactorRequest,
    ConfirmSecondFactorRequest,
    EndSecondFactorRequest,
    SecondFactor,
    SecondFactorRequest,
)
from postbus.contracts.sign_in import ConfirmSignInRequest, SignedIn, SignInMethod, SignInRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory_office import ADMIN, PASSWORD, Office, refused
from postbus.testing.directory_office_app_passwords import KIM, Door, add, change, delete
from postbus.testing.directory_office_contract import events_of
from postbus.testing.directory_office_roles import ANN, put_site
from postbusd.directory.administration.second_factors import RECOVERY_CODES
from postbusd.directory.foreign_hashes import sha512_crypt
from postbusd.directory.throttle import FREE_FAILURES
from postbusd.directory.totp import STEP_SECONDS, code_of, step_at

NETWORK = "192.0.2.1"
NEW = "another password"


async def sign_in(
    office: Office, password: str = PASSWORD, code: str = "", username: str = KIM, network: str = NETWORK
) -> SignedIn:
    """Raises MailError."""
    return await office.administration.sign_in(
        SignInRequest(username=username, password=password, code=code, client_address=network)
    )


async def stands(office: Office, session: SignedIn) -> bool:
    """Whether a session goes on."""
    request = ConfirmSignInRequest(username=session.username, method=session.method, proof=session.proof)
    return (await office.administration.confirm_sign_in(request)).stands


def code_at(office: Office, secret: bytes, steps: int = 0) -> str:
    """What an authenticator app shows, or showed some steps ago."""
    return code_of(secret, step_at(office.clock.now_ms()) + steps)


async def begin_factor(office: Office, actor: str = KIM) -> bytes:
    """The secret of one that is not in force."""
    begun = await office.administration.begin_second_factor(
        BeginSecondFactorRequest(actor=actor, current_password=PASSWORD)
    )
    secret = base64.b32decode(begun.secret)
    assert begun.uri.startswith("otpauth://totp/Postbus:")
    assert f"secret={begun.secret}" in begun.uri
    return secret


async def confirm_factor(office: Office, code: str, actor: str = KIM) -> tuple[str, ...]:
    """Its recovery codes."""
    request = ConfirmSecondFactorRequest(actor=actor, code=code)
    return (await office.administration.confirm_second_factor(request)).recovery_codes


async def end_factor(
    office: Office, actor: str = KIM, username: str = KIM, password: str = "", *, dry_run: bool = False
) -> SecondFactor:
    """What it was."""
    return await office.administration.end_second_factor(
        EndSecondFactorRequest(username=username, actor=actor, current_password=password, dry_run=dry_run)
    )


async def factor_of(office: Office, actor: str = ADMIN, username: str = KIM) -> SecondFactor:
    """Whether there is one."""
    return await office.administration.get_second_factor(SecondFactorRequest(username=username, actor=actor))


class SignInContract:
    """The SignIn."""

    async def test_a_user_signs_in_by_the_password(self, office: Office) -> None:
        """In any case of the name; every wrong pair gets one reply and costs one hash."""
        await put_site(office)
        session = await sign_in(office, username="KIM@A.test")
        assert (session.username, session.method) == (KIM, SignInMethod.PASSWORD)
        assert await stands(office, session)
        assert not await stands(office, msgspec.structs.replace(session, username=ANN))
        replies = set()
        for username, password in ((KIM, "wrong"), ("nobody", PASSWORD), ("pat@a.test", "x"), ("\n", "x")):
            before = office.hasher.verifications
            with pytest.raises(MailError) as refusal:
                await sign_in(office, password, username=username)
            replies.add((refusal.value.kind, refusal.value.detail))
            assert office.hasher.verifications == before + 1
        assert replies == {(ErrorKind.UNAUTHENTICATED, "wrong user name or password")}
        with refused(ErrorKind.UNAUTHENTICATED, "wrong"):
            await sign_in(office, "x\0")

    async def test_it_ends_with_the_password_and_the_user(self, office: Office) -> None:
        """A hash that is made anew ends nothing."""
        await put_site(office)
        user = User(username=KIM)
        imported = sha512_crypt(b"old secret", "$6$saltstring")
        await office.administration.put_user(PutUserRequest(user=user, actor=ADMIN, password_hash=imported))
        first = await sign_in(office, "old secret")
        stored = await office.repository.load_password(KIM)
        assert stored is not None
        assert stored.secret_hash != imported
        assert await stands(office, first)
        assert await change(office, KIM, "old secret", NEW)
        assert not await stands(office, first)
        second = await sign_in(office, NEW)
        await office.put_user(KIM, active=False)
        assert not await stands(office, second)
        with refused(ErrorKind.UNAUTHENTICATED, "wrong"):
            await sign_in(office, "old secret")
        with refused(ErrorKind.INACTIVE, "this user"):
            await sign_in(office, NEW)

    async def test_an_app_password_signs_in_when_it_is_for_the_api(self, office: Office) -> None:
        """By its scopes, until it ends; no slow hash."""
        await put_site(office)
        mail, api = await add(office, "mail"), await add(office, "api", Access.API, Access.IMAP)
        brief = await add(office, "brief", Access.API, expires_ms=office.clock.now_ms() + 1000)
        with refused(ErrorKind.UNAUTHENTICATED, "wrong"):
            await sign_in(office, mail.secret)
        slow = office.hasher.verifications
        session = await sign_in(office, api.secret)
        await sign_in(office, brief.secret)
        assert office.hasher.verifications == slow
        assert session.method is SignInMethod.APP_PASSWORD
        assert await stands(office, session)
        office.clock.advance(1)
        with refused(ErrorKind.UNAUTHENTICATED, "wrong"):
            await sign_in(office, brief.secret)
        await delete(office, "api")
        assert not await stands(office, session)

    async def test_guesses_are_slowed_down_by_their_network(self, office: Office) -> None:
        """And the owner gets in from another one."""
        await put_site(office)
        for number in range(FREE_FAILURES + 1):
            with refused(ErrorKind.UNAUTHENTICATED, "wrong"):
                await sign_in(office, f"guess {number}")
        with refused(ErrorKind.RATE_LIMITED, "password"):
            await sign_in(office)
        await sign_in(office, network="192.0.2.2")


class SecondFactorContract:
    """The SecondFactorAdmin, and logins where one is in force."""

    async def test_it_is_in_force_after_its_first_code(self, office: Office) -> None:
        """begin, begin again, confirm; signing in needs a code that was not shown yet."""
        await put_site(office)
        await begin_factor(office)
        secret = await begin_factor(office)
        await sign_in(office)
        assert await factor_of(office) == SecondFactor(on=False)
        with refused(ErrorKind.FORBIDDEN, "code"):
            await confirm_factor(office, "000000" if code_at(office, secret) != "000000" else "111111")
        recovery = await confirm_factor(office, code_at(office, secret))
        assert len(set(recovery)) == RECOVERY_CODES
        shown = await factor_of(office, KIM)
        assert (shown.on, shown.recovery_codes) == (True, RECOVERY_CODES)
        assert shown.since_ms is not None
        with refused(ErrorKind.UNAUTHENTICATED, "code: the second factor's"):
            await sign_in(office)
        with refused(ErrorKind.UNAUTHENTICATED, "code: is not"):
            await sign_in(office, code=code_at(office, secret))
        office.clock.advance(STEP_SECONDS)
        await sign_in(office, code=f" {code_at(office, secret)[:3]} {code_at(office, secret)[3:]} ")
        with refused(ErrorKind.UNAUTHENTICATED, "code: is not"):
            await sign_in(office, code=code_at(office, secret))
        with refused(ErrorKind.UNAUTHENTICATED, "wrong"):
            await sign_in(office, "wrong", code_at(office, secret, 1))
        with refused(ErrorKind.CONFLICT, "actor"):
            await begin_factor(office)
        with refused(ErrorKind.CONFLICT, "code"):
            await confirm_factor(office, code_at(office, secret, 1))
        told = [each.summary for each in await events_of(office)]
        assert f"second factor of user {KIM} switched on by {KIM}" in told

    async def test_a_recovery_code_opens_once(self, office: Office) -> None:
        """Typed with or without its dashes."""
        await put_site(office)
        secret = await begin_factor(office)
        recovery = await confirm_factor(office, code_at(office, secret))
        await sign_in(office, code=recovery[0].upper().replace("-", " "))
        with refused(ErrorKind.UNAUTHENTICATED, "code"):
            await sign_in(office, code=recovery[0])
        await sign_in(office, code=recovery[1])
        assert (await factor_of(office)).recovery_codes == RECOVERY_CODES - 2

    async def test_mail_programs_need_app_passwords(self, office: Office) -> None:
        """Own mailboxes and a group's; sessions that the password began end."""
        await put_site(office)
        await office.put_mailbox("box@a.test", None, owner=Owner(kind=OwnerKind.GROUP, name="staff-a"))
        secret = (await add(office, "phone", Access.IMAP, Access.API)).secret
        door = Door(office)
        by_password, by_app = await door.enter(KIM, PASSWORD), await door.enter(KIM, secret)
        await confirm_factor(office, code_at(office, await begin_factor(office)))
        assert [await door.stands(by_password), await door.stands(by_app)] == [False, True]
        door.authenticator.cache.advance(await office.repository.revision())
        for address in (KIM, "box@a.test"):
            with refused(ErrorKind.INACTIVE, "with a second factor"):
                await door.enter(address, PASSWORD)
            assert await door.is_shut(address, "wrong")
            await door.enter(address, secret)
        assert (await sign_in(office, secret)).method is SignInMethod.APP_PASSWORD
        await end_factor(office, password=PASSWORD)
        door.authenticator.cache.advance(await office.repository.revision())
        await door.enter(KIM, PASSWORD)

    async def test_it_ends_by_its_user_with_the_password_or_by_an_administrator(self, office: Office) -> None:
        """end_second_factor; a dry run does nothing."""
        await put_site(office)
        with refused(ErrorKind.NOT_FOUND, "username"):
            await end_factor(office, ADMIN)
        await confirm_factor(office, code_at(office, await begin_factor(office)))
        with refused(ErrorKind.FORBIDDEN, "current_password"):
            await end_factor(office, password="wrong")  # noqa: S106
        with refused(ErrorKind.FORBIDDEN, ""):
            await end_factor(office, "pat@a.test")
        with refused(ErrorKind.FORBIDDEN, ""):
            await factor_of(office, "pat@a.test")
        before = await office.trace()
        assert (await end_factor(office, ANN, dry_run=True)).on
        assert await office.trace() == before
        assert (await end_factor(office, ANN)).on
        assert await factor_of(office) == SecondFactor(on=False)
        await sign_in(office)
        for attempt in (begin_factor(office, ADMIN), confirm_factor(office, "1", ADMIN)):
            with refused(ErrorKind.FORBIDDEN, "actor"):
                await attempt
        with refused(ErrorKind.CONFLICT, "code: no second factor"):
            await confirm_factor(office, "123456")
        with refused(ErrorKind.NOT_FOUND, "username"):
            await factor_of(office, username="nobody@a.test")


async def begin_reset(office: Office, username: str = KIM) -> BeginResetReply:
    """What is to be sent."""
    return await office.administration.begin_reset(BeginResetRequest(username=username))


async def finish_reset(office: Office, code: str, password: str = NEW) -> str:
    """Whose password it is."""
    request = FinishResetRequest(code=code, new_password=password)
    return (await office.administration.finish_reset(request)).username


class PasswordResetContract:
    """The PasswordReset."""

    async def put_kim(self, office: Office, *, active: bool = True) -> None:
        """With a recovery address."""
        user = User(username=KIM, recovery_address="Kim@else.example", active=active)
        await office.administration.put_user(PutUserRequest(user=user, actor=ADMIN))

    async def test_a_code_sets_the_password_once(self, office: Office) -> None:
        """begin_reset, finish_reset; sessions end, the second factor stays."""
        await put_site(office)
        await self.put_kim(office)
        recovery = await confirm_factor(office, code_at(office, await begin_factor(office)))
        session = await sign_in(office, code=recovery[0])
        begun = await begin_reset(office, "KIM@a.test")
        assert (begun.recovery_address, begun.username) == ("Kim@else.example", KIM)
        with refused(ErrorKind.INVALID, "new_password"):
            await finish_reset(office, begun.code, "x")
        assert await finish_reset(office, f" {begun.code.upper()} ") == KIM
        assert not await stands(office, session)
        with refused(ErrorKind.UNAUTHENTICATED, "code"):
            await sign_in(office, NEW)
        await sign_in(office, NEW, recovery[1])
        with refused(ErrorKind.UNAUTHENTICATED, "code"):
            await finish_reset(office, begun.code)
        told = await events_of(office)
        assert begun.code not in repr(told)
        assert f"password of user {KIM} reset by the recovery address by {KIM}" in [each.summary for each in told]

    async def test_nothing_is_sent_where_nobody_would_get_it(self, office: Office) -> None:
        """No such user, no address, not active; and not twice within minutes."""
        await put_site(office)
        nothing = BeginResetReply()
        for username in (KIM, "nobody", "\0", "root"):
            assert await begin_reset(office, username) == nothing
        await self.put_kim(office, active=False)
        assert await begin_reset(office) == nothing
        await self.put_kim(office)
        begun = await begin_reset(office)
        assert begun.code
        assert await begin_reset(office) == nothing
        await self.put_kim(office, active=False)
        for code in (begun.code, "", "x", "\ud800", "y" * 500):
            with refused(ErrorKind.UNAUTHENTICATED, "code"):
                await finish_reset(office, code)
