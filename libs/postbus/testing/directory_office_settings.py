"""Settings of domains and mailboxes: over the fake in tests/, over Postgres in integration/."""

from typing import Any

import pytest

from postbus.contracts.directory import (
    DOMAINS_QUOTA,
    Addresses,
    ListMailboxesRequest,
    PutMailboxRequest,
    User,
)
from postbus.contracts.domains import Domain, ListDomainsRequest, PutDomainRequest
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.objects import PageRequest
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import ADMIN, Office, refused
from postbus.testing.directory_office_roles import ANN, put_user


async def put_domain(office: Office, name: str, actor: str = ADMIN, **fields: Any) -> Domain:
    """A domain with settings."""
    domain = Domain(name=name, **fields)
    return await office.administration.put_domain(PutDomainRequest(domain=domain, actor=actor))


async def put_mailbox(office: Office, address: str, actor: str = ADMIN, **fields: Any) -> Mailbox:
    """A mailbox that is there already, with settings."""
    request = PutMailboxRequest(address=address, actor=actor, **fields)
    return (await office.administration.put_mailbox(request)).mailbox


class SettingsContract:
    """Alias domains, suspension, quotas, POP3, send-as."""

    async def test_an_alias_domain_has_no_objects_of_its_own(self, office: Office) -> None:
        """put_domain with alias_of, and every write of an address."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        put = await put_domain(office, "b.test", incoming=True, alias_of="A.test")
        assert put == Domain(name="b.test", incoming=True, alias_of="a.test") == await office.get("domain", "b.test")
        for attempt in (
            lambda: office.put_mailbox("kim@b.test"),
            lambda: office.put_alias("info@b.test", "kim@a.test"),
            lambda: office.put_list("team@b.test", "kim@a.test"),
            lambda: office.put_group("staff", address="staff@b.test"),
            lambda: office.put_app("shop", "b.test"),
        ):
            with refused(ErrorKind.CONFLICT, "address: b.test is an alias of a.test"):
                await attempt()
        with refused(ErrorKind.CONFLICT, "name: 1 mailbox, 1 alias domain in a.test must go first"):
            await office.delete("domain", "a.test")
        assert await office.delete("domain", "b.test") == ("domain b.test",)

    async def test_an_alias_domain_is_of_one_that_is_there_and_is_none_itself(self, office: Office) -> None:
        """put_domain."""
        await office.put_domain("a.test")
        await office.put_domain("c.test")
        await office.put_mailbox("kim@c.test")
        await put_domain(office, "b.test", alias_of="a.test")
        for name, kind, field, fields in (
            ("x.test", ErrorKind.NOT_FOUND, "alias_of", {"alias_of": "none.test"}),
            ("x.test", ErrorKind.CONFLICT, "alias_of", {"alias_of": "b.test"}),
            ("a.test", ErrorKind.CONFLICT, "name: 1 alias domain", {"alias_of": "c.test"}),
            ("c.test", ErrorKind.CONFLICT, "name: 1 mailbox in c.test", {"alias_of": "a.test"}),
            ("a.test", ErrorKind.INVALID, "alias_of", {"alias_of": "a.test"}),
            ("x.test", ErrorKind.INVALID, "masquerading", {"alias_of": "a.test", "masquerading": True}),
            ("x.test", ErrorKind.INVALID, "quota_octets", {"alias_of": "a.test", "quota_octets": 5}),
            ("x.test", ErrorKind.INVALID, "catch_all", {"alias_of": "a.test", "catch_all": ("kim@c.test",)}),
        ):
            with refused(kind, field):
                await put_domain(office, name, **fields)

    async def test_a_domains_quota_bounds_what_its_mailboxes_are_granted(self, office: Office) -> None:
        """put_domain, put_mailbox, put_app."""
        await put_domain(office, "a.test", quota_octets=100, default_quota_octets=40)
        first = (await office.put_mailbox("a@a.test")).mailbox
        assert (first.quota_octets, first.effective_quota_octets) == (None, 40)
        await office.put_app("shop", "a.test")
        before = await office.trace()
        for attempt in (
            lambda: office.put_mailbox("b@a.test"),
            lambda: office.put_mailbox("b@a.test", quota_octets=21),
            lambda: office.put_mailbox("b@a.test", quota_octets=0),
            lambda: office.put_app("more", "a.test"),
            lambda: put_mailbox(office, "a@a.test", quota_octets=61),
            lambda: put_domain(office, "a.test", quota_octets=79, default_quota_octets=40),
            lambda: put_domain(office, "a.test", quota_octets=100, default_quota_octets=51),
            lambda: put_domain(office, "a.test", quota_octets=100),
        ):
            with refused(ErrorKind.CONFLICT, "quota_octets"):
                await attempt()
        assert await office.trace() == before
        assert (await office.get("mailbox", "a@a.test")) == first
        await office.put_mailbox("b@a.test", quota_octets=20)
        await put_domain(office, "a.test", default_quota_octets=1000)
        last = await put_mailbox(office, "b@a.test", quota_octets=DOMAINS_QUOTA)
        assert (last.quota_octets, last.effective_quota_octets) == (None, 1000)
        free = await put_mailbox(office, "b@a.test", quota_octets=0)
        assert (free.quota_octets, free.effective_quota_octets) == (0, None)
        for field in ("quota_octets", "default_quota_octets", "max_message_octets"):
            with refused(ErrorKind.INVALID, field):
                fields: dict[str, Any] = {field: -1}
                await put_domain(office, "a.test", **fields)

    async def test_a_mailbox_keeps_its_switches(self, office: Office) -> None:
        """pop3 and send_as; None leaves them; a grant goes with its address."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        await office.put_mailbox("lee@a.test")
        await office.put_alias("info@a.test", "lee@a.test")
        grants = Addresses(addresses=("LEE@a.test", "info@a.test", "lee@a.test"))
        put = await put_mailbox(office, "kim@a.test", pop3=True, send_as=grants)
        assert (put.pop3, put.send_as) == (True, ("info@a.test", "lee@a.test"))
        assert await put_mailbox(office, "kim@a.test") == put == await office.get("mailbox", "kim@a.test")
        trace = await office.trace()
        assert await put_mailbox(office, "kim@a.test", send_as=grants) == put
        assert await office.trace() == trace
        with refused(ErrorKind.NOT_FOUND, "send_as"):
            await put_mailbox(office, "kim@a.test", send_as=Addresses(addresses=("nobody@a.test",)))
        await office.delete("alias", "info@a.test")
        left = await office.get("mailbox", "kim@a.test")
        assert isinstance(left, Mailbox)
        assert left.send_as == ("lee@a.test",)

    @pytest.mark.parametrize("field", ["alias_of", "suspended", "quota_octets"])
    async def test_what_of_a_domain_only_superadmins_change(self, office: Office, field: str) -> None:
        """put_domain by a domain admin."""
        await office.put_domain("a.test")
        await office.put_domain("c.test")
        await put_user(office, User(username=ANN, admin_of=("a.test",)))
        value = {"alias_of": "c.test", "suspended": True, "quota_octets": 7}[field]
        with refused(ErrorKind.FORBIDDEN, field):
            await put_domain(office, "a.test", ANN, **{field: value})
        assert (await put_domain(office, "a.test", ANN, incoming=True, default_quota_octets=9)).incoming

    async def test_a_domain_admin_grants_what_is_of_the_own_domain(self, office: Office) -> None:
        """put_mailbox with send_as."""
        for domain in ("a.test", "c.test"):
            await office.put_domain(domain)
            await office.put_mailbox(f"kim@{domain}")
        await put_user(office, User(username=ANN, admin_of=("a.test",)))
        with refused(ErrorKind.FORBIDDEN, "send_as"):
            await put_mailbox(office, "kim@a.test", ANN, send_as=Addresses(addresses=("kim@c.test",)))
        await put_mailbox(office, "kim@a.test", ANN, send_as=Addresses(addresses=("kim@a.test",)))

    async def test_lists_are_narrowed_by_a_text_in_the_name(self, office: Office) -> None:
        """All list commands."""
        for domain in ("a.test", "b.test"):
            await office.put_domain(domain)
            await office.put_mailbox(f"kim@{domain}")
            await office.put_mailbox(f"lee@{domain}")
            await office.put_alias(f"kim.info@{domain}", f"lee@{domain}")
            await office.put_list(f"kims@{domain}", f"lee@{domain}")
        await office.put_user("pat", display_name="Kimberly")
        await office.put_group("kims")
        await office.put_app("kim-app", "a.test")

        async def names(plural: str, **fields: Any) -> list[str]:
            requests = {"domains": ListDomainsRequest, "mailboxes": ListMailboxesRequest}
            request = requests.get(plural, PageRequest)(actor=ADMIN, **fields)
            reply = await getattr(office.administration, f"list_{plural}")(request)
            objects = getattr(reply, plural)
            return [getattr(each, "name", "") or getattr(each, "username", "") or each.address for each in objects]

        assert await names("domains", text="B.") == ["b.test"]
        assert await names("mailboxes", text="KIM@") == ["kim@a.test", "kim@b.test"]
        assert await names("mailboxes", text="kim", domain="b.test") == ["kim@b.test"]
        assert await names("mailboxes", text="%") == []
        assert await names("mailboxes", text="e@", limit=1) == ["lee@a.test"]
        assert await names("mailboxes", text="e@", after="lee@a.test") == ["lee@b.test"]
        assert await names("users", text="kim") == ["kim@a.test", "kim@b.test", "pat"]
        assert await names("groups", text="im") == ["kims"]
        assert await names("apps", text="-APP") == ["kim-app"]
        assert await names("aliases", text="info") == ["kim.info@a.test", "kim.info@b.test"]
        assert await names("lists", text="kims@b") == ["kims@b.test"]
        for text in ("a\nb", "x" * 201):
            with refused(ErrorKind.INVALID, "text"):
                await names("mailboxes", text=text)
