"""Who may do what to which object, and under which condition: over the fake in tests/, over Postgres in integration/.

The site has two domains with one object of every noun in each; `ann` administers the first.
"""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from postbus.contracts import Empty
from postbus.contracts.condition import ANY, Condition, etag_of
from postbus.contracts.directory import (
    Alias,
    Group,
    ListMailboxesRequest,
    PutAliasRequest,
    PutAppRequest,
    PutGroupRequest,
    PutMailboxRequest,
    PutUserRequest,
    User,
)
from postbus.contracts.domains import Domain, ListDomainsRequest, PutDomainRequest
from postbus.contracts.mailing_lists import MailingList, PutListRequest
from postbus.contracts.objects import DeleteRequest, ObjectRequest, PageRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.policy import PutPolicyRequest
from postbus.contracts.standing import Standing, StandingRequest
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import ADMIN, Office, refused

ANN = "ann@a.test"
NOUNS = ("domain", "mailbox", "user", "group", "app", "alias", "list")
PLURALS = {"alias": "aliases", "mailbox": "mailboxes"}
Write = Callable[[Condition], Awaitable[object]]


def name_of(noun: str, domain: str) -> str:
    """The object of that noun in a domain, as it is asked for."""
    label = domain.partition(".")[0]
    names = {"domain": domain, "group": f"staff-{label}", "app": f"shop-{label}"}
    locals_ = {"mailbox": "kim", "user": "kim", "alias": "info", "list": "team"}
    return names.get(noun) or f"{locals_[noun]}@{domain}"


async def put_site(office: Office) -> None:
    """Two domains with one object of every noun in each, and who administers what."""
    for domain in ("a.test", "b.test"):
        label = domain.partition(".")[0]
        await office.put_domain(domain, incoming=True)
        await office.put_mailbox(f"kim@{domain}")
        await office.put_group(f"staff-{label}", f"kim@{domain}", address=f"staff@{domain}")
        await office.put_app(f"shop-{label}", domain)
        await office.put_alias(f"info@{domain}", f"kim@{domain}")
        await office.put_list(f"team@{domain}", f"kim@{domain}")
    await put_user(office, User(username=ANN, admin_of=("a.test",)))
    await put_user(office, User(username="root", superadmin=True))
    await put_user(office, User(username="pat@a.test"))


async def put_user(office: Office, user: User, actor: str = ADMIN) -> User:
    """A user with roles."""
    return (await office.administration.put_user(PutUserRequest(user=user, actor=actor))).user


def writes(office: Office, noun: str, domain: str, actor: str) -> Write:
    """A PUT of that noun's object in a domain, which changes it."""
    admin, name = office.administration, name_of(noun, domain)

    def write(condition: Condition) -> Awaitable[object]:
        kim = f"kim@{domain}"
        match noun:
            case "domain":
                wanted = Domain(name=name, incoming=True, catch_all=(kim,))
                return admin.put_domain(PutDomainRequest(domain=wanted, actor=actor, condition=condition))
            case "mailbox":
                return admin.put_mailbox(
                    PutMailboxRequest(address=name, actor=actor, quota_octets=7, condition=condition)
                )
            case "user":
                user = User(username=name, display_name="Kim", active=True)
                return admin.put_user(
                    PutUserRequest(user=user, actor=actor, password="another one", condition=condition)  # noqa: S106
                )
            case "group":
                group = Group(name=name, members=(kim,), address=f"all@{domain}")
                return admin.put_group(PutGroupRequest(group=group, actor=actor, condition=condition))
            case "app":
                return admin.put_app(PutAppRequest(name=name, actor=actor, active=False, condition=condition))
            case "alias":
                alias = Alias(address=name, mailbox=f"shop-{domain[0]}.app@{domain}")
                return admin.put_alias(PutAliasRequest(alias=alias, actor=actor, condition=condition))
            case _:
                wanted_list = MailingList(address=name, members=(kim, "far@else.test"))
                return admin.put_list(PutListRequest(list=wanted_list, actor=actor, condition=condition))

    return write


async def read(office: Office, noun: str, domain: str, actor: str) -> object:
    """A GET of that object."""
    found: object = await getattr(office.administration, f"get_{noun}")(
        ObjectRequest(name=name_of(noun, domain), actor=actor)
    )
    return found


async def delete(office: Office, noun: str, domain: str, actor: str, condition: Condition = Condition()) -> None:  # noqa: B008
    """A DELETE of that object that is a dry run."""
    request = DeleteRequest(name=name_of(noun, domain), actor=actor, dry_run=True, condition=condition)
    await getattr(office.administration, f"delete_{noun}")(request)


async def listed(office: Office, noun: str, actor: str, domain: str = "") -> list[str]:
    """The names that a list shows."""
    admin, plural = office.administration, PLURALS.get(noun, f"{noun}s")
    if noun == "domain":
        return [each.name for each in (await admin.list_domains(ListDomainsRequest(actor=actor))).domains]
    if noun == "mailbox":
        page = await admin.list_mailboxes(ListMailboxesRequest(actor=actor, domain=domain))
        return [each.address for each in page.mailboxes]
    reply = await getattr(admin, f"list_{plural}")(PageRequest(actor=actor, domain=domain))
    fields = {"user": "username", "group": "name", "app": "name"}
    return [getattr(each, fields.get(noun, "address")) for each in getattr(reply, plural)]


class ScopeContract:
    """Superadmins do everything, domain admins what is of their domains, others nothing."""

    @pytest.mark.parametrize("noun", NOUNS)
    async def test_a_domain_admin_changes_what_is_of_the_own_domain(self, office: Office, noun: str) -> None:
        """Every command of every noun."""
        await put_site(office)
        before = await office.trace()
        await writes(office, noun, "a.test", ANN)(Condition())
        assert (await office.trace())[0] == before[0] + 1
        await read(office, noun, "a.test", ANN)
        shown = await listed(office, noun, ANN)
        assert name_of(noun, "a.test") in shown
        assert name_of(noun, "b.test") not in shown
        assert set(shown) < set(await listed(office, noun, ADMIN))

    @pytest.mark.parametrize("actor", [ANN, "pat@a.test", "nobody@a.test", "", "Admin"])
    @pytest.mark.parametrize("noun", NOUNS)
    async def test_nobody_else_comes_near_an_object(self, office: Office, noun: str, actor: str) -> None:
        """Every command of every noun, for an object that is not the actor's to administer."""
        await put_site(office)
        before = await office.trace()
        with refused(ErrorKind.FORBIDDEN, ""):
            await read(office, noun, "b.test", actor)
        with refused(ErrorKind.FORBIDDEN, ""):
            await delete(office, noun, "b.test", actor)
        with refused(ErrorKind.FORBIDDEN, ""):
            await writes(office, noun, "b.test", actor)(Condition())
        if noun in ("mailbox", "alias", "list", "app"):
            with refused(ErrorKind.FORBIDDEN, ""):
                await listed(office, noun, actor, "b.test")
        if actor != ANN:
            with refused(ErrorKind.FORBIDDEN, ""):
                await listed(office, noun, actor)
        assert await office.trace() == before

    async def test_a_superadmin_by_role_does_everything(self, office: Office) -> None:
        """Until the role ends."""
        await put_site(office)
        for noun in NOUNS:
            await writes(office, noun, "b.test", "root")(Condition())
            assert await listed(office, noun, "root") == await listed(office, noun, ADMIN)
        await put_user(office, User(username="root"))
        for noun in NOUNS:
            with refused(ErrorKind.FORBIDDEN, ""):
                await listed(office, noun, "root")

    async def test_domains_come_and_go_by_superadmins_alone(self, office: Office) -> None:
        """put_domain, delete_domain."""
        await put_site(office)
        with refused(ErrorKind.FORBIDDEN, ""):
            await office.administration.put_domain(PutDomainRequest(domain=Domain(name="c.test"), actor=ANN))
        with refused(ErrorKind.FORBIDDEN, "only a superadmin"):
            await office.administration.delete_domain(DeleteRequest(name="a.test", actor=ANN))

    async def test_no_password_or_role_opens_more(self, office: Office) -> None:
        """put_user, delete_user, put_mailbox with a password."""
        await put_site(office)
        await office.put_mailbox("far@b.test", None, owner=Owner(kind=OwnerKind.USER, name="pat@a.test"))
        await put_user(office, User(username="boss@a.test", superadmin=True))
        await put_user(office, User(username="tim@a.test"))
        await office.put_mailbox("boss@a.test", None, owner=Owner(kind=OwnerKind.USER, name="boss@a.test"))
        before = await office.trace()
        kim = User(username="kim@a.test")
        for user, field in (
            (msgspec.structs.replace(kim, superadmin=True), "superadmin"),
            (msgspec.structs.replace(kim, admin_of=("a.test",)), "superadmin"),
            (User(username="boss@a.test"), "superadmin"),
            (User(username="pat@a.test"), "username: pat@a.test opens mailboxes of other domains"),
            (User(username=ANN, admin_of=("a.test", "b.test")), "superadmin"),
            (User(username="plain"), "username"),
        ):
            with refused(ErrorKind.FORBIDDEN, field):
                await put_user(office, user, ANN)
        for name in ("boss@a.test", "pat@a.test", ANN, "root"):
            with refused(ErrorKind.FORBIDDEN, ""):
                await office.administration.delete_user(DeleteRequest(name=name, actor=ANN))
        request = PutMailboxRequest(address="boss@a.test", actor=ANN, password="another one")  # noqa: S106
        with refused(ErrorKind.FORBIDDEN, "superadmin"):
            await office.administration.put_mailbox(request)
        assert await office.trace() == before
        await put_user(office, User(username="tim@a.test", active=False), ANN)

    async def test_groups_open_nothing_of_others(self, office: Office) -> None:
        """put_group, delete_group."""
        await put_site(office)
        await office.put_group("wide", address="wide@a.test")
        await office.put_mailbox("secret@b.test", None, owner=Owner(kind=OwnerKind.GROUP, name="wide"))
        before = await office.trace()
        for group in (
            Group(name="wide", members=("pat@a.test",), address="wide@a.test"),
            Group(name="staff-b", members=(ANN,), address="staff@a.test"),
            Group(name="staff-a", members=("kim@b.test",), address="staff@a.test"),
            Group(name="fresh"),
            Group(name="staff-a", address="staff@b.test"),
        ):
            with refused(ErrorKind.FORBIDDEN, ""):
                await office.administration.put_group(PutGroupRequest(group=group, actor=ANN))
        for name in ("wide", "staff-b", "none"):
            with refused(ErrorKind.FORBIDDEN, ""):
                await office.administration.delete_group(DeleteRequest(name=name, actor=ANN))
        assert await office.trace() == before

    async def test_nothing_of_others_is_pointed_to_or_given_away(self, office: Office) -> None:
        """Owners, targets of aliases, catch-all, addresses of apps."""
        await put_site(office)
        admin, before = office.administration, await office.trace()
        for attempt in (
            lambda: admin.put_alias(PutAliasRequest(alias=Alias(address="x@a.test", mailbox="kim@b.test"), actor=ANN)),
            lambda: admin.put_domain(
                PutDomainRequest(domain=Domain(name="a.test", catch_all=("kim@b.test",)), actor=ANN)
            ),
            lambda: admin.put_app(PutAppRequest(name="shop-a", actor=ANN, address="x@b.test")),
            lambda: admin.put_app(PutAppRequest(name="fresh", actor=ANN, domain="b.test")),
        ):
            with refused(ErrorKind.FORBIDDEN, ""):
                await attempt()
        for owner in (
            Owner(kind=OwnerKind.USER, name="root"),
            Owner(kind=OwnerKind.USER, name="kim@b.test"),
            Owner(kind=OwnerKind.USER, name="nobody"),
            Owner(kind=OwnerKind.GROUP, name="staff-b"),
            Owner(kind=OwnerKind.GROUP, name="none"),
        ):
            with refused(ErrorKind.FORBIDDEN, "owner"):
                await admin.put_mailbox(PutMailboxRequest(address="x@a.test", actor=ANN, owner=owner))
        assert await office.trace() == before
        for owner in (Owner(kind=OwnerKind.GROUP, name="staff-a"), Owner(kind=OwnerKind.USER, name="kim@a.test")):
            await admin.put_mailbox(PutMailboxRequest(address="x@a.test", actor=ANN, owner=owner))

    async def test_users_are_seen_by_name_and_by_what_they_own(self, office: Office) -> None:
        """list_users, get_user; everybody sees himself."""
        await put_site(office)
        await put_user(office, User(username="plain"))
        assert "plain" not in await listed(office, "user", ANN)
        await office.put_mailbox("p@a.test", None, owner=Owner(kind=OwnerKind.USER, name="plain"))
        assert "plain" in await listed(office, "user", ANN)
        admin = office.administration
        assert (await admin.get_user(ObjectRequest(name="plain", actor=ANN))).username == "plain"
        assert (await admin.get_user(ObjectRequest(name="pat@a.test", actor="pat@a.test"))).username == "pat@a.test"
        with refused(ErrorKind.FORBIDDEN, "name"):
            await admin.get_user(ObjectRequest(name=ANN, actor="pat@a.test"))

    async def test_a_standing_says_what_is_administered_and_opened(self, office: Office) -> None:
        """find_standing."""
        await put_site(office)
        await office.put_mailbox("box@b.test", None, owner=Owner(kind=OwnerKind.GROUP, name="staff-a"))
        find = office.administration.find_standing
        assert await find(StandingRequest(actor=ADMIN)) == Standing(actor=ADMIN, superadmin=True)
        assert await find(StandingRequest(actor=ANN)) == Standing(actor=ANN, domains=("a.test",))
        opened = ("box@b.test", "kim@a.test")
        assert await find(StandingRequest(actor="kim@a.test")) == Standing(actor="kim@a.test", mailboxes=opened)
        await put_user(office, User(username="root", superadmin=True, active=False))
        for actor in ("root", "nobody", ""):
            with refused(ErrorKind.FORBIDDEN, "there is no active user"):
                await find(StandingRequest(actor=actor))

    async def test_a_user_with_a_role_outlives_the_own_mailbox(self, office: Office) -> None:
        """delete_mailbox; delete_domain ends the roles in it."""
        await put_site(office)
        await office.put_mailbox(ANN, None)
        assert await office.delete("mailbox", ANN) == (f"mailbox {ANN}",)
        await office.put_domain("c.test")
        await put_user(office, User(username="tim", admin_of=("c.test",)))
        await office.delete("domain", "c.test")
        assert await office.get("user", "tim") == User(username="tim")

    async def test_roles_are_checked(self, office: Office) -> None:
        """put_user: domains that are there, no second administrator by name."""
        await office.put_domain("a.test")
        put = await put_user(
            office, User(username="tim", admin_of=("A.test", "a.test"), recovery_address="Tim@else.test")
        )
        assert put == User(username="tim", admin_of=("a.test",), recovery_address="Tim@else.test")
        assert await office.get("user", "tim") == put
        with refused(ErrorKind.NOT_FOUND, "admin_of"):
            await put_user(office, User(username="tim", admin_of=("b.test",)))
        with refused(ErrorKind.INVALID, "username"):
            await put_user(office, User(username="Admin"))
        with refused(ErrorKind.INVALID, "recovery_address"):
            await put_user(office, User(username="tim", recovery_address="nowhere"))


class ConditionContract:
    """If-Match and plans, of every noun."""

    @pytest.mark.parametrize("noun", NOUNS)
    async def test_a_change_is_made_only_to_what_was_read(self, office: Office, noun: str) -> None:
        """put and delete with if_match."""
        await put_site(office)
        found = await read(office, noun, "a.test", ADMIN)
        assert isinstance(found, msgspec.Struct)
        etag, write = etag_of(found), writes(office, noun, "a.test", ADMIN)
        before = await office.trace()
        with refused(ErrorKind.CHANGED, "if_match"):
            await write(Condition(if_match=("0" * 24,)))
        if noun not in ("domain", "user", "group"):  # a dry run says first what still needs them
            with refused(ErrorKind.CHANGED, "if_match"):
                await delete(office, noun, "a.test", ADMIN, Condition(if_match=("x",)))
        assert await office.trace() == before
        await write(Condition(if_match=("x", etag)))
        if noun != "user":  # the second time it is the password alone, which no etag tells
            with refused(ErrorKind.CHANGED, "if_match"):
                await write(Condition(if_match=(etag,)))
        await write(Condition(if_match=(ANY,)))
        fresh = MailingList(address="fresh@a.test")
        with refused(ErrorKind.CHANGED, "if_match: it is not there"):
            await office.administration.put_list(
                PutListRequest(list=fresh, actor=ADMIN, condition=Condition(if_match=(ANY,)))
            )

    @pytest.mark.parametrize("noun", NOUNS)
    async def test_a_plan_says_what_would_be_and_leaves_no_trace(self, office: Office, noun: str) -> None:
        """put with plan."""
        await put_site(office)
        found, before = await read(office, noun, "a.test", ADMIN), await office.trace()
        ensured = list(office.accounts.ensured)
        planned = await writes(office, noun, "a.test", ADMIN)(Condition(plan=True))
        assert await office.trace() == before
        assert await read(office, noun, "a.test", ADMIN) == found
        assert office.accounts.ensured == ensured
        done = await writes(office, noun, "a.test", ADMIN)(Condition())
        assert planned == done
        assert (await office.trace())[0] == before[0] + 1

    async def test_a_plan_of_a_new_object_makes_nothing(self, office: Office) -> None:
        """Mailboxes and apps, which have their part in the mail store."""
        await put_site(office)
        before, ensured = await office.trace(), list(office.accounts.ensured)
        admin, plan = office.administration, Condition(plan=True)
        mailbox = PutMailboxRequest(address="new@a.test", actor=ADMIN, password="secret", condition=plan)  # noqa: S106
        assert (await admin.put_mailbox(mailbox)).created
        reply = await admin.put_app(PutAppRequest(name="new", domain="a.test", actor=ADMIN, condition=plan))
        assert (reply.created, reply.credential) == (True, "")
        with refused(ErrorKind.NOT_FOUND, "admin_of"):
            user = User(username="x", admin_of=("none.test",))
            await admin.put_user(PutUserRequest(user=user, actor=ADMIN, condition=plan))
        assert await office.trace() == before
        assert office.accounts.ensured == ensured
        for noun, name in (("mailbox", "new@a.test"), ("app", "new"), ("user", "new@a.test")):
            with refused(ErrorKind.NOT_FOUND, "name"):
                await office.get(noun, name)

    async def test_a_policy_is_replaced_only_where_it_is_the_one_that_was_read(self, office: Office) -> None:
        """put_policy."""
        found = (await office.administration.find_policy(Empty())).policy
        wanted = msgspec.structs.replace(found, required_score=9.0)
        plan = PutPolicyRequest(policy=wanted, actor=ADMIN, condition=Condition(plan=True))
        assert (await office.administration.put_policy(plan)).policy == wanted
        assert (await office.administration.find_policy(Empty())).policy == found
        condition = Condition(if_match=(etag_of(found),))
        request = PutPolicyRequest(policy=wanted, actor=ADMIN, condition=condition)
        assert (await office.administration.put_policy(request)).policy == wanted
        with refused(ErrorKind.CHANGED, "if_match"):
            await office.administration.put_policy(request)
