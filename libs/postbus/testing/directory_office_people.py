"""What the administrator's commands do to users, groups and apps; run as `directory_office_contract` is."""

from postbus.contracts.directory import App, Group, User
from postbus.contracts.objects import PageRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import ADMIN, Office, refused


class UserCommandsContract:
    """The UserAdmin."""

    async def test_a_user_is_what_was_put_last(self, office: Office) -> None:
        """put_user, get_user; a password that is not given stays."""
        put = await office.put_user("Kim", "secret of kim", display_name="Kim Ö.")
        assert (put.user, put.created) == (User(username="kim", display_name="Kim Ö."), True)
        before = await office.trace()
        for password in (None, "secret of kim"):
            assert not (await office.put_user("kim", password, display_name="Kim Ö.")).created
        assert await office.trace() == before
        assert (await office.put_user("kim", active=False)).user == User(username="kim", active=False)
        assert await office.get("user", "KIM") == User(username="kim", active=False)
        stored = await office.repository.load_password("kim")
        assert stored is not None
        assert stored.secret_hash == "plain:secret of kim"  # noqa: S105
        await office.put_user("kim", "another secret", active=False)
        assert (await office.trace())[0] == before[0] + 2

    async def test_a_user_without_a_password_has_none(self, office: Office) -> None:
        """put_user."""
        await office.put_user("kim")
        assert await office.repository.load_password("kim") is None
        assert await office.repository.load_password("lee") is None

    async def test_users_come_in_pages(self, office: Office) -> None:
        """list_users, in octet order."""
        for name in ("zoe", "kim@a.test", "kim", "kim.b", "kim-b"):
            await office.put_user(name)
        first = await office.administration.list_users(PageRequest(actor=ADMIN, limit=3))
        rest = await office.administration.list_users(PageRequest(actor=ADMIN, limit=3, after=first.next_after))
        assert [each.username for each in first.users] == ["kim", "kim-b", "kim.b"]
        assert [each.username for each in rest.users] == ["kim@a.test", "zoe"]
        assert rest.next_after == ""

    async def test_a_user_goes_when_he_owns_nothing(self, office: Office) -> None:
        """delete_user: CONFLICT names mailboxes; memberships end."""
        await office.put_domain("a.test")
        await office.put_user("kim", "secret")
        await office.put_user("lee")
        for name in ("staff", "board"):
            await office.put_group(name, "kim", "lee")
        for number in range(7):
            await office.put_mailbox(f"m{number}@a.test", None, owner=Owner(kind=OwnerKind.USER, name="kim"))
        with refused(ErrorKind.CONFLICT, "name: kim owns 7 mailboxes: m0@a.test, m1@a.test"):
            await office.delete("user", "kim")
        for number in range(1, 7):
            await office.delete("mailbox", f"m{number}@a.test")
        with refused(ErrorKind.CONFLICT, "name: kim owns 1 mailbox: m0@a.test"):
            await office.delete("user", "kim", dry_run=True)
        await office.delete("mailbox", "m0@a.test")
        expected = ("user kim", "membership in group board", "membership in group staff")
        before = await office.trace()
        assert await office.delete("user", "kim", dry_run=True) == expected
        assert await office.trace() == before
        assert await office.delete("user", "kim") == expected
        assert await office.get("group", "staff") == Group(name="staff", members=("lee",))
        for verb in (office.get, office.delete):
            with refused(ErrorKind.NOT_FOUND, "name: there is no user kim"):
                await verb("user", "kim")
        await office.put_user("kim")
        assert await office.repository.load_password("kim") is None


class GroupCommandsContract:
    """The GroupAdmin."""

    async def test_a_group_is_what_was_put_last(self, office: Office) -> None:
        """put_group, get_group; members in order, each once."""
        await office.put_domain("a.test")
        for name in ("kim", "lee", "pat"):
            await office.put_user(name)
        put = await office.put_group("Staff", "lee", "KIM", "lee", address="Staff@a.test")
        assert (put.group, put.created) == (Group(name="staff", members=("kim", "lee"), address="staff@a.test"), True)
        before = await office.trace()
        assert not (await office.put_group("staff", "kim", "lee", address="staff@a.test")).created
        assert await office.trace() == before
        await office.put_group("staff", "pat", address="crew@a.test")
        assert await office.get("group", "STAFF") == Group(name="staff", members=("pat",), address="crew@a.test")
        await office.put_mailbox("staff@a.test")
        await office.put_group("staff")
        assert await office.get("group", "staff") == Group(name="staff")
        await office.put_mailbox("crew@a.test")

    async def test_members_and_domain_must_be_there(self, office: Office) -> None:
        """put_group: NOT_FOUND, and nothing is written."""
        await office.put_user("kim")
        before = await office.trace()
        with refused(ErrorKind.NOT_FOUND, "members: there is no user lee"):
            await office.put_group("staff", "kim", "lee")
        with refused(ErrorKind.NOT_FOUND, "address: there is no domain b.test"):
            await office.put_group("staff", "kim", address="staff@b.test")
        assert await office.trace() == before

    async def test_an_address_is_one_thing_only(self, office: Office) -> None:
        """put_group: CONFLICT, at creation and later."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        await office.put_group("board", address="board@a.test")
        await office.put_group("staff")
        for name, kind in (("kim", "a mailbox"), ("board", "a group")):
            for group in ("staff", "another"):
                with refused(ErrorKind.CONFLICT, f"address: already taken by {kind}"):
                    await office.put_group(group, address=f"{name}@a.test")

    async def test_groups_come_in_pages(self, office: Office) -> None:
        """list_groups."""
        for name in ("c", "a", "b"):
            await office.put_group(name)
        first = await office.administration.list_groups(PageRequest(actor=ADMIN, limit=2))
        rest = await office.administration.list_groups(PageRequest(actor=ADMIN, limit=2, after=first.next_after))
        assert [each.name for each in first.groups + rest.groups] == ["a", "b", "c"]
        assert (first.next_after, rest.next_after) == ("b", "")

    async def test_a_group_goes_when_it_owns_nothing(self, office: Office) -> None:
        """delete_group."""
        await office.put_domain("a.test")
        await office.put_group("staff", address="staff@a.test")
        await office.put_mailbox("team@a.test", None, owner=Owner(kind=OwnerKind.GROUP, name="staff"))
        with refused(ErrorKind.CONFLICT, "name: staff owns 1 mailbox: team@a.test"):
            await office.delete("group", "staff")
        await office.delete("mailbox", "team@a.test")
        before = await office.trace()
        expected = ("group staff", "its address staff@a.test")
        assert await office.delete("group", "staff", dry_run=True) == expected
        assert await office.trace() == before
        assert await office.delete("group", "staff") == expected
        with refused(ErrorKind.NOT_FOUND, "name: there is no group staff"):
            await office.get("group", "staff")
        await office.put_mailbox("staff@a.test")


class AppCommandsContract:
    """The AppAdmin."""

    async def test_an_app_has_a_mailbox_and_a_credential_that_is_told_once(self, office: Office) -> None:
        """put_app."""
        await office.put_domain("a.test")
        put = await office.put_app("Shop", "A.test")
        assert (put.app, put.created) == (App(name="shop", address="shop.app@a.test"), True)
        before = await office.trace()
        again = await office.put_app("shop")
        assert (again.app, again.created, again.credential) == (put.app, False, "")
        assert await office.trace() == before
        assert await self._credential_is(office, put.credential)
        rotated = await office.put_app("shop", rotate=True)
        assert not await self._credential_is(office, put.credential)
        assert await self._credential_is(office, rotated.credential)
        off = await office.put_app("shop", active=False)
        assert (off.app.active, off.credential) == (False, "")
        assert await office.get("app", "SHOP") == off.app

    async def test_an_apps_mailbox_moves_with_all_that_leads_to_it(self, office: Office) -> None:
        """put_app with another address."""
        await office.put_domain("a.test")
        await office.put_domain("b.test")
        await office.put_app("shop", "a.test")
        await office.put_alias("orders@b.test", "shop.app@a.test")
        await office.put_domain("b.test", catch_all=("shop.app@a.test",))
        before = await office.repository.load_login("shop.app", "a.test", tag=0)
        moved = await office.put_app("shop", address="Shop@b.test")
        assert moved.app == App(name="shop", address="shop@b.test")
        assert office.told[-1].addresses == ("shop.app@a.test", "shop@b.test")
        after = await office.repository.load_login("shop", "b.test", tag=0)
        assert before is not None
        assert after is not None
        assert after.mailbox.mailbox_id == before.mailbox.mailbox_id
        assert getattr(await office.get("alias", "orders@b.test"), "mailbox", None) == "shop@b.test"
        assert getattr(await office.get("domain", "b.test"), "catch_all", None) == ("shop@b.test",)
        with refused(ErrorKind.INVALID, "domain: "):
            await office.put_app("shop", "a.test")
        await office.put_app("shop", "a.test", address="shop.app@a.test")

    async def test_a_new_app_needs_a_domain_and_a_free_address(self, office: Office) -> None:
        """put_app: nothing is made in the mail store."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        made = list(office.accounts.ensured)
        with refused(ErrorKind.INVALID, "domain: a new app needs one"):
            await office.put_app("shop")
        with refused(ErrorKind.NOT_FOUND, "address: there is no domain b.test"):
            await office.put_app("shop", "b.test")
        with refused(ErrorKind.INVALID, "domain: "):
            await office.put_app("shop", "a.test", address="shop@b.test")
        with refused(ErrorKind.CONFLICT, "address: already taken by a mailbox"):
            await office.put_app("shop", "a.test", address="kim@a.test")
        assert office.accounts.ensured == made
        await office.put_app("shop", "a.test", address="shop@a.test")
        with refused(ErrorKind.CONFLICT, "address: already taken by a mailbox"):
            await office.put_app("shop", address="kim@a.test")

    async def test_apps_come_in_pages(self, office: Office) -> None:
        """list_apps, of all domains or one."""
        for domain in ("a.test", "b.test"):
            await office.put_domain(domain)
        for name, domain in (("x", "b.test"), ("y", "a.test"), ("w", "a.test")):
            await office.put_app(name, domain)
        page = await office.administration.list_apps(PageRequest(actor=ADMIN, limit=2))
        assert ([each.name for each in page.apps], page.next_after) == (["w", "x"], "x")
        page = await office.administration.list_apps(PageRequest(actor=ADMIN, domain="A.test"))
        assert ([each.name for each in page.apps], page.next_after) == (["w", "y"], "")

    async def test_an_app_goes_with_its_mailbox(self, office: Office) -> None:
        """delete_app."""
        await office.put_domain("a.test")
        await office.put_app("shop", "a.test")
        await office.put_alias("orders@a.test", "shop.app@a.test")
        await office.put_domain("a.test", catch_all=("shop.app@a.test",))
        expected = ("app shop", "mailbox shop.app@a.test", "alias orders@a.test", "catch-all entry of a.test")
        before = await office.trace()
        assert await office.delete("app", "shop", dry_run=True) == expected
        assert await office.trace() == before
        assert await office.delete("app", "Shop") == expected
        for noun, name in (("app", "shop"), ("mailbox", "shop.app@a.test"), ("alias", "orders@a.test")):
            with refused(ErrorKind.NOT_FOUND, f"name: there is no {noun} {name}"):
                await office.get(noun, name)
        assert (await office.put_app("shop", "a.test")).created

    async def _credential_is(self, office: Office, credential: str) -> bool:
        login = await office.repository.load_login("shop.app", "a.test", tag=0)
        return login is not None and [each.secret_hash for each in login.credentials] == [office.keys.index(credential)]
