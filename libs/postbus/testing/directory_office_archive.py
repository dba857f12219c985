"""Other addresses of mailboxes, and the archive: over the fake in tests/, over Postgres in integration/."""

from typing import Any

import msgspec

from postbus.contracts.directory import User
from postbus.contracts.events import Event
from postbus.contracts.mailbox_life import (
    ArchivedMailbox,
    FolderUsage,
    ListArchivedRequest,
    MailboxUsage,
    PurgeMailboxRequest,
    RenameMailboxRequest,
    RestoreMailboxRequest,
    UsageRequest,
)
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.objects import DeleteRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.policy import Policy, PutPolicyRequest
from postbus.core.errors import ErrorKind
from postbus.core.ids import new_mailbox_id
from postbus.testing.directory_office import ADMIN, Office, refused
from postbus.testing.directory_office_contract import events_of
from postbus.testing.directory_office_roles import put_user
from postbus.testing.directory_office_settings import put_domain, put_mailbox

STAFF = Owner(kind=OwnerKind.GROUP, name="staff")


async def rename(office: Office, address: str, new: str, **fields: Any) -> Mailbox:
    """A mailbox under another address."""
    request = RenameMailboxRequest(address=address, new_address=new, **{"actor": ADMIN, **fields})
    return (await office.administration.rename_mailbox(request)).mailbox


async def archived(office: Office, **fields: Any) -> tuple[ArchivedMailbox, ...]:
    """Deleted mailboxes."""
    request = ListArchivedRequest(**{"actor": ADMIN, **fields})
    return (await office.administration.list_archived(request)).mailboxes


async def restore(office: Office, mailbox_id: str, **fields: Any) -> Mailbox:
    """A deleted mailbox, back again."""
    request = RestoreMailboxRequest(mailbox_id=mailbox_id, **{"actor": ADMIN, **fields})
    return (await office.administration.restore_mailbox(request)).mailbox


async def purge(office: Office, mailbox_id: str, **fields: Any) -> ArchivedMailbox:
    """A deleted mailbox that is given up."""
    request = PurgeMailboxRequest(mailbox_id=mailbox_id, **{"actor": ADMIN, **fields})
    return (await office.administration.purge_mailbox(request)).mailbox


class ArchiveContract:
    """The MailboxLife."""

    async def test_a_renamed_mailbox_keeps_all_it_has(self, office: Office) -> None:
        """rename_mailbox."""
        await office.put_domain("a.test")
        await office.put_domain("b.test")
        before = (await office.put_mailbox("kim@a.test")).mailbox
        await office.put_mailbox("lee@a.test")
        await office.put_alias("info@a.test", "kim@a.test")
        await office.put_domain("a.test", catch_all=("kim@a.test",))
        await events_of(office)
        office.accounts.used[before.mailbox_id] = 3000
        now = await rename(office, "Kim@a.test", "Chief@B.test")
        assert now == msgspec.structs.replace(before, address="chief@b.test", used_octets=3000)
        assert await office.get("mailbox", "chief@b.test") == now
        alias: Any = await office.get("alias", "info@a.test")
        domain: Any = await office.get("domain", "a.test")
        assert (alias.mailbox, domain.catch_all) == ("chief@b.test", ("chief@b.test",))
        (event,) = await events_of(office)
        assert event.summary == "mailbox kim@a.test renamed to chief@b.test by admin"
        assert set(office.told[-1].addresses) == {"kim@a.test", "chief@b.test"}
        assert (await office.put_mailbox("kim@a.test", None)).created  # the user of that name is there still
        again = await rename(office, "chief@b.test", "boss@a.test", keep_alias=True)
        alias = await office.get("alias", "chief@b.test")
        assert (again.mailbox_id, alias.mailbox) == (before.mailbox_id, "boss@a.test")

    async def test_what_a_mailbox_cant_be_renamed_to(self, office: Office) -> None:
        """rename_mailbox."""
        await put_domain(office, "a.test")
        await put_domain(office, "q.test", quota_octets=100)
        await office.put_mailbox("kim@a.test")
        await office.put_mailbox("lee@a.test")
        await office.put_app("shop", "a.test")
        before = await office.trace()
        for address, new, kind, detail in (
            ("none@a.test", "x@a.test", ErrorKind.NOT_FOUND, "address: there is no mailbox none@a.test"),
            ("kim@a.test", "x@none.test", ErrorKind.NOT_FOUND, "address: there is no domain none.test"),
            ("kim@a.test", "lee@a.test", ErrorKind.CONFLICT, "address: already taken by a mailbox"),
            ("kim@a.test", "kim@a.test", ErrorKind.INVALID, "new_address"),
            ("kim@a.test", "a b@a.test", ErrorKind.INVALID, "address"),
            ("kim@a.test", "kim.app@a.test", ErrorKind.INVALID, "address"),
            ("kim@a.test", "kim@q.test", ErrorKind.CONFLICT, "quota_octets"),
            ("shop.app@a.test", "shop@a.test", ErrorKind.CONFLICT, "address: it is the mailbox of app shop"),
        ):
            with refused(kind, detail):
                await rename(office, address, new)
        assert await office.trace() == before
        assert await office.get("mailbox", "kim@a.test")

    async def test_a_deleted_mailbox_comes_back_as_it_was(self, office: Office) -> None:
        """delete_mailbox, list_archived, restore_mailbox."""
        await put_domain(office, "a.test", default_quota_octets=500)
        await office.put_user("kim", "pass phrase")
        await office.put_group("staff", "kim")
        await office.put_mailbox("team@a.test", None, owner=STAFF, quota_octets=70)
        before = await put_mailbox(office, "team@a.test", pop3=True)
        await office.put_alias("info@a.test", "team@a.test")
        office.accounts.used[before.mailbox_id] = 2000
        assert await office.delete("mailbox", "team@a.test") == ("mailbox team@a.test", "alias info@a.test")
        (found,) = await archived(office)
        assert found == ArchivedMailbox(
            mailbox_id=before.mailbox_id,
            address="team@a.test",
            deleted_ms=found.deleted_ms,
            owner=STAFF,
            messages=2,
            octets=2000,
        )
        assert await archived(office, domain="a.test") == await archived(office, address="Team@a.test") == (found,)
        assert await archived(office, address="other@a.test") == ()
        await events_of(office)
        now = await restore(office, before.mailbox_id)
        assert now == msgspec.structs.replace(before, used_octets=2000)
        assert await archived(office) == ()
        assert await office.get("mailbox", "team@a.test") == now
        assert [event.summary for event in await events_of(office)] == ["mailbox team@a.test restored by admin"]
        with refused(ErrorKind.NOT_FOUND, "mailbox_id: there is no archived mailbox"):
            await restore(office, before.mailbox_id)

    async def test_a_mailbox_comes_back_elsewhere_and_for_others(self, office: Office) -> None:
        """restore_mailbox."""
        await office.put_domain("a.test")
        await office.put_user("lee")
        mailbox_id = (await office.put_mailbox("kim@a.test")).mailbox.mailbox_id
        await office.delete("mailbox", "kim@a.test")
        await office.put_mailbox("kim@a.test", "another pass phrase")
        lee = Owner(kind=OwnerKind.USER, name="lee")
        shop = Owner(kind=OwnerKind.APP, name="shop")
        nobody = Owner(kind=OwnerKind.USER, name="nobody")
        for fields, kind, detail in (
            ({}, ErrorKind.CONFLICT, "address: already taken by a mailbox"),
            ({"address": "x@none.test"}, ErrorKind.NOT_FOUND, "address: there is no domain"),
            ({"address": "a b@a.test"}, ErrorKind.INVALID, "address"),
            ({"address": "old@a.test", "owner": nobody}, ErrorKind.NOT_FOUND, "owner: there is no user nobody"),
            ({"address": "old@a.test", "owner": shop}, ErrorKind.CONFLICT, "owner: an app has"),
        ):
            with refused(kind, detail):
                await restore(office, mailbox_id, **fields)
        with refused(ErrorKind.INVALID, "mailbox_id"):
            await restore(office, "nonsense")
        now = await restore(office, mailbox_id, address="old@a.test", owner=lee)
        assert (now.mailbox_id, now.address, now.owner) == (mailbox_id, "old@a.test", lee)

    async def test_what_is_given_up_is_purged_and_not_restored(self, office: Office) -> None:
        """purge_mailbox, delete_mailbox with purge, due_purges, end_archived."""
        await office.put_domain("a.test")
        kept, first, second = [(await office.put_mailbox(f"{name}@a.test")).mailbox.mailbox_id for name in "abc"]
        for mailbox_id in (kept, first, second):
            office.accounts.used[mailbox_id] = 2000
        for name in "ab":
            await office.delete("mailbox", f"{name}@a.test")
        assert await office.repository.due_purges(None, 10) == ()
        before = await office.trace()
        planned = await purge(office, first, dry_run=True)
        assert (planned.address, planned.messages, await office.trace()) == ("b@a.test", 2, before)
        await purge(office, first)
        again = await office.trace()
        await purge(office, first)
        assert await office.trace() == again
        request = DeleteRequest(name="c@a.test", actor=ADMIN, purge=True)
        deleted = (await office.administration.delete_mailbox(request)).deleted
        assert deleted == ("mailbox c@a.test", "user c@a.test", "its mail: 2 messages of 2000 octets")
        assert {each.mailbox_id for each in await office.repository.due_purges(None, 10)} == {first, second}
        with refused(ErrorKind.CONFLICT, "mailbox_id: its mail is being purged"):
            await restore(office, first)
        event = Event(event_id="1", type=(await events_of(office))[0].type, at_ms=1, service="directory", summary="x")
        assert await office.repository.end_archived(first, event)
        assert not await office.repository.end_archived(first, event)
        assert not await office.repository.end_archived(kept, event)
        assert len(await events_of(office)) == 1
        assert {each.mailbox_id for each in await archived(office)} == {kept, second}

    async def test_retention_gives_up_what_is_old(self, office: Office) -> None:
        """list_archived and due_purges with archive_days."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        await office.delete("mailbox", "kim@a.test")
        policy = Policy(archive_days=30)
        await office.administration.put_policy(PutPolicyRequest(policy=policy, actor=ADMIN))
        (found,) = await archived(office)
        assert found.purge_ms == found.deleted_ms + 30 * 86_400_000
        assert await office.repository.due_purges(found.deleted_ms, 10) == ()
        (due,) = await office.repository.due_purges(found.deleted_ms + 1000, 10)
        assert (due.mailbox_id, due.purging) == (found.mailbox_id, True)
        with refused(ErrorKind.INVALID, "archive_days"):
            await office.administration.put_policy(PutPolicyRequest(policy=Policy(archive_days=-1), actor=ADMIN))

    async def test_usage_is_told_by_folder(self, office: Office) -> None:
        """get_usage."""
        await put_domain(office, "a.test", default_quota_octets=9000)
        mailbox = (await office.put_mailbox("kim@a.test")).mailbox
        office.accounts.used[mailbox.mailbox_id] = 3000
        usage = await office.administration.get_usage(UsageRequest(address="KIM@a.test", actor=ADMIN))
        assert usage == MailboxUsage(
            address="kim@a.test",
            messages=3,
            octets=3000,
            folders=(FolderUsage(name="INBOX", messages=3, unseen=0, octets=3000),),
            quota_octets=9000,
        )
        with refused(ErrorKind.NOT_FOUND, "name"):
            await office.administration.get_usage(UsageRequest(address="none@a.test", actor=ADMIN))

    async def test_pages_of_the_archive(self, office: Office) -> None:
        """list_archived."""
        await office.put_domain("a.test")
        for name in "abcd":
            await office.put_mailbox(f"{name}@a.test")
            await office.delete("mailbox", f"{name}@a.test")
        everything = await archived(office)
        assert len(everything) == 4
        first = await office.administration.list_archived(ListArchivedRequest(actor=ADMIN, limit=3))
        rest = await office.administration.list_archived(ListArchivedRequest(actor=ADMIN, after=first.next_after))
        assert (first.mailboxes + rest.mailboxes, rest.next_after) == (everything, "")
        with refused(ErrorKind.INVALID, "after"):
            await archived(office, after="nonsense")

    async def test_a_domain_admin_has_the_own_archive(self, office: Office) -> None:
        """All of the MailboxLife."""
        for domain in ("a.test", "b.test"):
            await office.put_domain(domain)
            await office.put_mailbox(f"kim@{domain}")
            await office.put_mailbox(f"lee@{domain}")
            await office.delete("mailbox", f"lee@{domain}")
        await put_user(office, User(username="ann@a.test", admin_of=("a.test",)))
        own, other = [(await archived(office, domain=domain))[0] for domain in ("a.test", "b.test")]
        assert await archived(office, actor="ann@a.test") == (own,)
        await office.put_user("lee@a.test")
        await office.put_user("lee@b.test")
        theirs = Owner(kind=OwnerKind.USER, name="lee@b.test")
        admin = office.administration
        for attempt in (
            lambda: archived(office, actor="ann@a.test", domain="b.test"),
            lambda: rename(office, "kim@a.test", "kim2@b.test", actor="ann@a.test"),
            lambda: rename(office, "kim@b.test", "kim2@a.test", actor="ann@a.test"),
            lambda: restore(office, other.mailbox_id, actor="ann@a.test"),
            lambda: restore(office, new_mailbox_id(1), actor="ann@a.test"),
            lambda: restore(office, own.mailbox_id, address="lee@b.test", actor="ann@a.test"),
            lambda: restore(office, own.mailbox_id, owner=theirs, actor="ann@a.test"),
            lambda: purge(office, other.mailbox_id, actor="ann@a.test"),
            lambda: admin.get_usage(UsageRequest(address="kim@b.test", actor="ann@a.test")),
            lambda: archived(office, actor="lee@a.test"),
        ):
            with refused(ErrorKind.FORBIDDEN, ""):
                await attempt()
        await rename(office, "kim@a.test", "kim2@a.test", actor="ann@a.test")
        assert (await restore(office, own.mailbox_id, actor="ann@a.test")).address == "lee@a.test"
