"""Imports and exports of mailboxes: over the fake in tests/, over Postgres in integration/."""

from hypothesis import strategies as st

from postbus.contracts.bulk import (
    ExportMailboxesRequest,
    ImportMailboxesReply,
    ImportMailboxesRequest,
    MailboxRow,
)
from postbus.contracts.directory import User
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import ADMIN, Office, refused
from postbus.testing.directory_office_contract import events_of
from postbus.testing.directory_office_roles import put_user
from postbus.testing.directory_office_settings import put_domain

KIM = Owner(kind=OwnerKind.USER, name="kim")
LEE = Owner(kind=OwnerKind.USER, name="lee")
STAFF = Owner(kind=OwnerKind.GROUP, name="staff")
SHOP = Owner(kind=OwnerKind.APP, name="shop")


def row(address: str, *aliases: str, owner: Owner = KIM, active: bool = True) -> MailboxRow:
    """A row of an import."""
    return MailboxRow(address=address, owner=owner, aliases=aliases, active=active)


async def put_owners(office: Office) -> None:
    """Domains and owners, no mailboxes but the app's."""
    for domain in ("a.test", "b.test"):
        await office.put_domain(domain)
    await office.put_user("kim", "pass phrase")
    await office.put_user("lee")
    await office.put_group("staff", "kim", address="staff@a.test")
    await office.put_app("shop", "a.test")


async def bring(
    office: Office, *rows: MailboxRow, actor: str = ADMIN, atomic: bool = False, plan: bool = False
) -> ImportMailboxesReply:
    """An import."""
    request = ImportMailboxesRequest(rows=rows, actor=actor, atomic=atomic, plan=plan)
    return await office.administration.import_mailboxes(request)


async def take(office: Office, domain: str = "", actor: str = ADMIN, limit: int = 2) -> tuple[MailboxRow, ...]:
    """An export, page by page."""
    rows: list[MailboxRow] = []
    after = ""
    while True:
        page = await office.administration.export_mailboxes(
            ExportMailboxesRequest(actor=actor, domain=domain, after=after, limit=limit)
        )
        rows.extend(page.rows)
        after = page.next_after
        if not after:
            return tuple(rows)


def told(reply: ImportMailboxesReply) -> list[str]:
    """The results in short."""
    return [
        f"{each.action.value} {each.kind.value}: {each.detail}" if each.kind else each.action.value
        for each in reply.results
    ]


class BulkContract:
    """The MailboxImporter."""

    async def test_rows_become_mailboxes_with_their_aliases(self, office: Office) -> None:
        """import_mailboxes, export_mailboxes."""
        await put_owners(office)
        await events_of(office)
        rows = (
            row("Kim@A.test", "k@a.test", "info@b.test", "kim-*@a.test", "k@A.test"),
            row("team@b.test", owner=STAFF, active=False),
            row("shop.app@a.test", "order@a.test", owner=SHOP),
        )
        reply = await bring(office, *rows)
        assert (told(reply), reply.written) == (["created", "created", "changed"], True)
        assert await take(office) == (
            row("kim@a.test", "info@b.test", "k@a.test", "kim-*@a.test"),
            row("shop.app@a.test", "order@a.test", owner=SHOP),
            row("team@b.test", owner=STAFF, active=False),
        )
        assert await take(office, "b.test") == (row("team@b.test", owner=STAFF, active=False),)
        (event,) = await events_of(office)
        assert (event.summary, event.detail) == ("mailboxes imported by admin", "created=2, changed=1")
        assert office.told[-1].domains == ("a.test", "b.test")
        assert len(set(office.accounts.ensured)) == 3

        before = await office.trace()
        again = await bring(office, *rows)
        assert (told(again), again.written) == (["unchanged"] * 3, True)
        assert await office.trace() == before
        reply = await bring(office, row("kim@a.test", "k@a.test", owner=LEE))
        assert told(reply) == ["changed"]
        assert (await take(office))[0] == row("kim@a.test", "k@a.test", owner=LEE)

    async def test_a_refused_row_keeps_no_other_out(self, office: Office) -> None:
        """import_mailboxes."""
        await put_owners(office)
        await put_domain(office, "c.test", alias_of="a.test")
        await office.put_list("team@a.test", "kim@a.test")
        await office.put_mailbox("old@a.test")
        await office.put_alias("taken@a.test", "old@a.test")
        reply = await bring(
            office,
            row("a b@a.test"),
            row("kim@none.test"),
            row("x@a.test", owner=Owner(kind=OwnerKind.USER, name="nobody")),
            row("x@a.test", owner=Owner(kind=OwnerKind.GROUP, name="nobody")),
            row("x@a.test", owner=SHOP),
            row("x@c.test"),
            row("team@a.test"),
            row("x@a.test", "taken@a.test"),
            row("x@a.test", "staff@a.test"),
            row("x@a.test", "x@a.test"),
            row("x@a.test", "x@none.test"),
            row("x@a.test", "bad+@a.test"),
            row("shop.app@a.test"),
            row("x@a.test", *(f"n{number}@a.test" for number in range(1001))),
            row("good@a.test", "better@a.test"),
        )
        assert told(reply) == [
            "refused invalid: address: malformed local part",
            "refused not_found: address: there is no domain none.test here",
            "refused not_found: owner: there is no user nobody here",
            "refused not_found: owner: there is no group nobody here",
            "refused conflict: owner: an app has the mailbox that was made with it, and no other",
            "refused conflict: address: c.test is an alias of a.test: make it there",
            "refused conflict: address: already taken by a list",
            "refused conflict: aliases: taken@a.test is an alias of old@a.test",
            "refused conflict: aliases: staff@a.test: already taken by a group",
            "refused conflict: aliases: x@a.test: already taken by a mailbox",
            "refused not_found: aliases: there is no domain none.test here",
            "refused invalid: aliases: bad+@a.test: + separates the detail of a sub-address",
            "refused conflict: owner: the mailbox is of app shop and goes with it",
            "refused invalid: aliases: at most 1000 of one mailbox",
            "created",
        ]
        assert reply.written
        assert [each.address for each in await take(office)] == ["good@a.test", "old@a.test", "shop.app@a.test"]

    async def test_an_atomic_import_and_a_plan_write_nothing(self, office: Office) -> None:
        """import_mailboxes."""
        await put_owners(office)
        before, made = await office.trace(), len(office.accounts.ensured)
        rows = (row("kim@a.test", "k@a.test"), row("lee@none.test"))
        reply = await bring(office, *rows, atomic=True)
        assert ([each.partition(" ")[0] for each in told(reply)], reply.written) == (["created", "refused"], False)
        reply = await bring(office, rows[0], atomic=True, plan=True)
        assert (told(reply), reply.written) == (["created"], False)
        assert (await office.trace(), len(office.accounts.ensured)) == (before, made)
        assert [each.address for each in await take(office)] == ["shop.app@a.test"]
        reply = await bring(office, rows[0], atomic=True)
        assert (told(reply), reply.written) == (["created"], True)
        assert len(await take(office)) == 2

    async def test_names_that_a_row_gives_up_are_free_for_the_next(self, office: Office) -> None:
        """import_mailboxes: an alias moves, an alias becomes a mailbox."""
        await put_owners(office)
        await bring(office, row("kim@a.test", "one@a.test", "two@a.test"))
        moved = (row("kim@a.test"), row("lee@a.test", "one@a.test", owner=LEE), row("two@a.test", owner=LEE))
        assert told(await bring(office, *moved)) == ["changed", "created", "created"]
        assert (await take(office, "a.test", limit=10)) == (
            moved[0],
            moved[1],
            row("shop.app@a.test", owner=SHOP),
            moved[2],
        )
        reply = await bring(office, row("kim@a.test", "one@a.test"), row("lee@a.test", owner=LEE))
        assert [each.partition(" ")[0] for each in told(reply)] == ["refused", "changed"]

    async def test_a_domains_quota_counts_row_by_row(self, office: Office) -> None:
        """import_mailboxes."""
        await put_owners(office)
        await put_domain(office, "q.test", quota_octets=100, default_quota_octets=40)
        reply = await bring(office, *(row(f"{name}@q.test") for name in "abc"))
        assert told(reply)[:2] == ["created", "created"]
        assert told(reply)[2].startswith("refused conflict: quota_octets: the mailboxes of q.test would have 120")

    async def test_a_domain_admin_brings_in_what_is_of_his_domains(self, office: Office) -> None:
        """import_mailboxes, export_mailboxes."""
        await put_owners(office)
        await office.put_user("kim@a.test", "pass phrase")
        await put_user(office, User(username="ann@a.test", admin_of=("a.test",)))
        own = Owner(kind=OwnerKind.USER, name="kim@a.test")
        rows = (
            row("kim@a.test", owner=own),
            row("kim@b.test", owner=own),
            row("lee@a.test", owner=LEE),
            row("x@a.test", "x@b.test", owner=own),
            row("team@a.test", owner=STAFF),
        )
        reply = await bring(office, *rows, actor="ann@a.test")
        assert told(reply) == [
            "created",
            "refused forbidden: address: ann@a.test does not administer b.test",
            "refused forbidden: owner: ann@a.test does not administer user lee",
            "refused forbidden: aliases: ann@a.test does not administer b.test",
            "created",
        ]
        assert {each.address for each in await take(office, actor="ann@a.test")} == {
            "kim@a.test",
            "shop.app@a.test",
            "team@a.test",
        }
        for attempt in (bring(office, rows[0], actor="kim"), take(office, actor="kim")):
            with refused(ErrorKind.FORBIDDEN, "only administrators may do this"):
                await attempt
        with refused(ErrorKind.FORBIDDEN, "domain"):
            await take(office, "b.test", actor="ann@a.test")


NAMES = st.sampled_from(["kim", "lee", "info", "team", "a.b", "x-1", "staff", "shop.app", "Kim", "b+d", ""])
STARS = st.sampled_from(["kim", "info", "sales", "x-1", "s*", "*.x", "**", "team", "one", "two"])
DOMAINS = st.sampled_from(["a.test", "b.test", "B.test", "none.test"])
OWNERS = st.sampled_from([KIM, LEE, STAFF, SHOP, Owner(kind=OwnerKind.USER, name="nobody")])
ALIASES = st.lists(st.builds(lambda name, domain: f"{name}@{domain}", STARS, DOMAINS), max_size=3)
ROWS = st.lists(
    st.builds(
        lambda name, domain, owner, aliases, active: row(f"{name}@{domain}", *aliases, owner=owner, active=active),
        NAMES,
        DOMAINS,
        OWNERS,
        ALIASES,
        st.booleans(),
    ),
    max_size=12,
)
"""Imports with all that can be wrong about them, over what `put_owners` puts."""


async def check_export_is_import(source: Office, target: Office) -> None:
    """What an export says makes an equal directory of an empty one, and changes nothing where it came from."""
    await put_owners(target)
    exported = await take(source)
    assert all(each.kind is None for each in (await bring(target, *exported, atomic=True)).results)
    assert await take(target) == exported
    before = await source.trace()
    assert {each.action.value for each in (await bring(source, *exported)).results} <= {"unchanged"}
    assert await source.trace() == before
