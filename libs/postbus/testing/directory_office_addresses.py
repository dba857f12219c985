"""What the administrator's commands do to aliases and lists; run as `directory_office_contract` is."""

from postbus.contracts.directory import Alias, PutUserRequest, User
from postbus.contracts.mailing_lists import MailingList
from postbus.contracts.objects import PageRequest
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import ADMIN, Office, refused
from postbusd.directory.values import Key


class AliasCommandsContract:
    """The AliasAdmin."""

    async def test_an_alias_leads_to_the_mailbox_put_last(self, office: Office) -> None:
        """put_alias, get_alias: exact ones and wildcards, over domains."""
        for domain in ("a.test", "b.test"):
            await office.put_domain(domain)
        for name in ("kim", "zoe"):
            await office.put_mailbox(f"{name}@a.test")
        for name in ("sales_x", "sales-*"):
            put = await office.put_alias(f"{name.upper()}@B.test", "KIM@a.test")
            assert (put.alias, put.created) == (Alias(address=f"{name}@b.test", mailbox="kim@a.test"), True)
            before = await office.trace()
            assert not (await office.put_alias(f"{name}@b.test", "kim@a.test")).created
            assert await office.trace() == before
            assert not (await office.put_alias(f"{name}@b.test", "zoe@a.test")).created
            assert await office.get("alias", f"{name.upper()}@b.test") == Alias(
                address=f"{name}@b.test", mailbox="zoe@a.test"
            )
        key = Key(local_part="sales-7", domain="b.test")
        found = (await office.repository.find([key]))[1][key].wildcard
        assert found is not None
        assert found.address == "zoe@a.test"

    async def test_domain_and_mailbox_must_be_there(self, office: Office) -> None:
        """put_alias: NOT_FOUND; an alias of an alias is none."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        await office.put_alias("k@a.test", "kim@a.test")
        with refused(ErrorKind.NOT_FOUND, "address: there is no domain b.test"):
            await office.put_alias("k@b.test", "kim@a.test")
        for mailbox in ("k@a.test", "zoe@a.test", "kim@b.test"):
            for address in ("k@a.test", "new@a.test"):
                with refused(ErrorKind.NOT_FOUND, f"mailbox: there is no mailbox {mailbox}"):
                    await office.put_alias(address, mailbox)

    async def test_an_address_is_one_thing_only(self, office: Office) -> None:
        """put_alias: CONFLICT."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        await office.put_group("staff", address="staff@a.test")
        await office.put_list("all@a.test")
        for name, kind in (("kim", "a mailbox"), ("staff", "a group"), ("all", "a list"), ("all-bounces", "a list")):
            with refused(ErrorKind.CONFLICT, f"address: already taken by {kind}"):
                await office.put_alias(f"{name}@a.test", "kim@a.test")

    async def test_aliases_come_in_pages(self, office: Office) -> None:
        """list_aliases: of all domains or of the one that they are in."""
        for domain in ("a.test", "b.test"):
            await office.put_domain(domain)
        await office.put_mailbox("kim@a.test")
        for address in ("z@a.test", "z@b.test", "y*@a.test", "x@a.test"):
            await office.put_alias(address, "kim@a.test")
        page = await office.administration.list_aliases(PageRequest(actor=ADMIN, limit=3))
        assert [each.address for each in page.aliases] == ["x@a.test", "y*@a.test", "z@a.test"]
        rest = await office.administration.list_aliases(PageRequest(actor=ADMIN, limit=3, after=page.next_after))
        assert ([each.address for each in rest.aliases], rest.next_after) == (["z@b.test"], "")
        page = await office.administration.list_aliases(PageRequest(actor=ADMIN, domain="b.test"))
        assert [each.address for each in page.aliases] == ["z@b.test"]

    async def test_an_alias_goes_and_frees_its_address(self, office: Office) -> None:
        """delete_alias."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        await office.put_alias("k@a.test", "kim@a.test")
        before = await office.trace()
        assert await office.delete("alias", "k@a.test", dry_run=True) == ("alias k@a.test",)
        assert await office.trace() == before
        assert await office.delete("alias", "K@a.test") == ("alias k@a.test",)
        assert office.told[-1].addresses == ("k@a.test",)
        for verb in (office.get, office.delete):
            with refused(ErrorKind.NOT_FOUND, "name: there is no alias k@a.test"):
                await verb("alias", "k@a.test")
        await office.put_mailbox("k@a.test")


class ListCommandsContract:
    """The ListAdmin."""

    async def test_a_list_is_what_was_put_last(self, office: Office) -> None:
        """put_list, get_list: members in order, each once, folded where the domain is ours."""
        await office.put_domain("a.test")
        given = ("Kim@a.test", "kim@A.test", "Pat@C.test", "pat@c.test", '"o p"@c.test', "Pat@c.test")
        put = await office.put_list("All@a.test", *given, members_only=True)
        expected = MailingList(
            address="all@a.test", members=("kim@a.test", "Pat@c.test", '"o p"@c.test', "pat@c.test"), members_only=True
        )
        assert (put.list, put.created) == (expected, True)
        assert await office.get("list", "ALL@a.test") == expected
        before = await office.trace()
        assert not (await office.put_list("all@a.test", *reversed(given), members_only=True)).created
        assert await office.trace() == before
        await office.put_list("all@a.test", "zoe@a.test", active=False)
        assert await office.get("list", "all@a.test") == MailingList(
            address="all@a.test", members=("zoe@a.test",), active=False
        )

    async def test_members_are_folded_when_their_domain_becomes_ours(self, office: Office) -> None:
        """put_domain."""
        await office.put_domain("a.test")
        await office.put_list("all@a.test", "Kim@b.test", "KIM@b.test", "Pat@b.test", "pat@b.test", "Zoe@c.test")
        await office.put_domain("b.test")
        found = await office.get("list", "all@a.test")
        assert getattr(found, "members", None) == ("kim@b.test", "pat@b.test", "Zoe@c.test")

    async def test_groups_are_members_by_name(self, office: Office) -> None:
        """put_list: NOT_FOUND; in order, each once; a group that goes leaves its lists."""
        await office.put_domain("a.test")
        for name in ("staff", "board"):
            await office.put_group(name)
        with refused(ErrorKind.NOT_FOUND, "groups: there is no group none"):
            await office.put_list("all@a.test", groups=("staff", "none"))
        with refused(ErrorKind.INVALID, "groups"):
            await office.put_list("all@a.test", groups=("a b",))
        with refused(ErrorKind.INVALID, "groups: at most"):
            await office.put_list("all@a.test", groups=tuple(f"g{number}" for number in range(101)))
        put = await office.put_list("all@a.test", "kim@c.test", groups=("Staff", "board", "staff"))
        assert put.list == MailingList(address="all@a.test", members=("kim@c.test",), groups=("board", "staff"))
        before = await office.trace()
        await office.put_list("all@a.test", "kim@c.test", groups=("staff", "board"))
        assert await office.trace() == before
        assert await office.delete("group", "staff", dry_run=True) == ("group staff", "place in list all@a.test")
        await office.delete("group", "staff")
        assert getattr(await office.get("list", "all@a.test"), "groups", None) == ("board",)
        await office.put_list("all@a.test", "kim@c.test")
        assert getattr(await office.get("list", "all@a.test"), "groups", None) == ()

    async def test_a_domain_admin_gives_a_list_the_own_groups(self, office: Office) -> None:
        """put_list: FORBIDDEN, but for those that it had."""
        for domain in ("a.test", "b.test"):
            await office.put_domain(domain)
            await office.put_group(domain.partition(".")[0], address=f"staff@{domain}")
        await office.put_group("none")
        user = User(username="ann", admin_of=("a.test",))
        await office.administration.put_user(PutUserRequest(user=user, actor=ADMIN))
        await office.put_list("all@a.test", groups=("a",), actor="ann")
        for name in ("b", "none"):
            with refused(ErrorKind.FORBIDDEN, "groups"):
                await office.put_list("all@a.test", groups=("a", name), actor="ann")
        await office.put_list("all@a.test", groups=("a", "b"))
        await office.put_list("all@a.test", "kim@c.test", groups=("a", "b"), actor="ann")

    async def test_a_list_is_no_member_of_itself(self, office: Office) -> None:
        """put_list: INVALID."""
        await office.put_domain("a.test")
        with refused(ErrorKind.INVALID, "members: a list can't be a member of itself"):
            await office.put_list("all@a.test", "kim@a.test", "ALL@a.test")

    async def test_a_list_needs_its_address_and_that_of_its_bounces(self, office: Office) -> None:
        """put_list: NOT_FOUND, CONFLICT."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        await office.put_mailbox("all-bounces@a.test")
        with refused(ErrorKind.NOT_FOUND, "address: there is no domain b.test"):
            await office.put_list("all@b.test")
        with refused(ErrorKind.CONFLICT, "address: already taken by a mailbox"):
            await office.put_list("kim@a.test")
        with refused(ErrorKind.CONFLICT, "address: all-bounces@a.test, where its bounces"):
            await office.put_list("all@a.test")
        await office.delete("mailbox", "all-bounces@a.test")
        await office.put_list("all@a.test")
        with refused(ErrorKind.CONFLICT, "address: already taken by a list"):
            await office.put_list("all-bounces@a.test")

    async def test_lists_come_in_pages(self, office: Office) -> None:
        """list_lists: of all domains or one; a page ends before it has too many members."""
        for domain in ("a.test", "b.test"):
            await office.put_domain(domain)
        for name in ("z@a.test", "y@b.test", "x@a.test"):
            await office.put_list(name, *(f"m{number}@c.test" for number in range(4_000)))
        pages: list[list[tuple[str, int]]] = []
        after = ""
        while not pages or after:
            page = await office.administration.list_lists(PageRequest(actor=ADMIN, after=after))
            pages.append([(each.address, len(each.members)) for each in page.lists])
            after = page.next_after
        assert pages == [[("x@a.test", 4_000), ("y@b.test", 4_000)], [("z@a.test", 4_000)]]
        page = await office.administration.list_lists(PageRequest(actor=ADMIN, domain="b.test"))
        assert [each.address for each in page.lists] == ["y@b.test"]

    async def test_a_list_goes_and_frees_its_addresses(self, office: Office) -> None:
        """delete_list."""
        await office.put_domain("a.test")
        await office.put_list("all@a.test", "kim@c.test")
        before = await office.trace()
        assert await office.delete("list", "all@a.test", dry_run=True) == ("list all@a.test",)
        assert await office.trace() == before
        assert await office.delete("list", "all@a.test") == ("list all@a.test",)
        for verb in (office.get, office.delete):
            with refused(ErrorKind.NOT_FOUND, "name: there is no list all@a.test"):
                await verb("list", "all@a.test")
        for name in ("all", "all-bounces"):
            await office.put_mailbox(f"{name}@a.test")
