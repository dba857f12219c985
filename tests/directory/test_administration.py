"""The administrator's commands: rules for names, passwords, quotas and actors."""

import pytest

from postbus.contracts.directory import (
    Domain,
    ListDomainsRequest,
    ListMailboxesRequest,
    PutDomainRequest,
    PutMailboxRequest,
)
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory import ManualClock, MemoryAccounts, MemoryDirectory, PlainHasher
from postbusd.directory.administration import MAX_PAGE, MAX_QUOTA_OCTETS, Administration
from postbusd.directory.administration_values import MailboxWritten


class Site:
    def __init__(self) -> None:
        self.repository = MemoryDirectory()
        self.accounts = MemoryAccounts()
        self.hasher = PlainHasher()
        self.administration = Administration(self.repository, self.accounts, self.hasher, ManualClock())

    async def put_domain(self, name: str, *, incoming: bool = False) -> Domain:
        request = PutDomainRequest(domain=Domain(name=name, incoming=incoming), actor="admin")
        return (await self.administration.put_domain(request)).domain

    async def put(
        self, address: str, password: str | None = "secret", quota_octets: int | None = None
    ) -> MailboxWritten:
        return await self.administration.put_mailbox(
            PutMailboxRequest(address=address, actor="admin", password=password, quota_octets=quota_octets)
        )


@pytest.fixture
async def site() -> Site:
    site = Site()
    await site.put_domain("example.org", incoming=True)
    return site


async def test_a_domain_is_kept_as_a_labels(site: Site) -> None:
    assert (await site.put_domain("BÜCHER.example")).name == "xn--bcher-kva.example"
    assert (await site.put_domain("Example.ORG", incoming=True)).name == "example.org"


@pytest.mark.parametrize(
    "name", ["", "localhost", "a..b", "-a.test", "a_b.test", "1.2.3.4", "x" * 64 + ".test", "a b.c"]
)
async def test_what_is_no_domain_is_refused(site: Site, name: str) -> None:
    with pytest.raises(MailError, match=r"^invalid: name: "):
        await site.put_domain(name)


@pytest.mark.parametrize("name", ["kim", "Kim.O-Neil", "0", "x" * 200, "a.b.c"])
async def test_good_names(site: Site, name: str) -> None:
    written = await site.put(f"{name}@Example.org")
    assert written.mailbox.address == f"{name.lower()}@example.org"
    assert site.accounts.ensured == [written.mailbox.mailbox_id]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".a",
        "a.",
        "a..b",
        "a+b",
        "a_b",
        "é",
        "x" * 201,
        "shop.app",
        "Shop.APP",
        "postmaster",
        "Abuse",
        '"a b"',
        "a\0",
    ],
)
async def test_bad_names_are_refused_before_anything_is_made(site: Site, name: str) -> None:
    with pytest.raises(MailError, match=r"^invalid: address: "):
        await site.put(f"{name}@example.org")
    assert site.accounts.ensured == []


@pytest.mark.parametrize("password", ["", "short", "with\0nul", "x" * 257, "é" * 129, "line\nbreak"])
async def test_bad_passwords_are_refused(site: Site, password: str) -> None:
    with pytest.raises(MailError, match=r"^invalid: password: "):
        await site.put("kim@example.org", password)


async def test_the_domain_must_exist(site: Site) -> None:
    with pytest.raises(MailError, match=r"^not_found: address: .*other\.test"):
        await site.put("kim@other.test")
    assert site.accounts.ensured == []


async def test_a_new_mailbox_needs_a_password_an_old_one_keeps_it(site: Site) -> None:
    with pytest.raises(MailError, match=r"^invalid: password: "):
        await site.put("kim@example.org", None)
    first = await site.put("kim@example.org")
    again = await site.put("kim@example.org", None)
    assert (first.created, again.created, again.changed) == (True, False, False)


async def test_the_same_put_twice_changes_nothing_but_heals_the_store(site: Site) -> None:
    first = await site.put("kim@example.org", quota_octets=5)
    again = await site.put("KIM@example.org", quota_octets=5)
    assert (again.changed, again.revision, again.mailbox) == (False, first.revision, first.mailbox)
    assert site.accounts.ensured == [first.mailbox.mailbox_id] * 2


async def test_a_store_that_is_away_leaves_no_mailbox_behind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(mailbox_id: str) -> None:
        raise MailError(ErrorKind.UNAVAILABLE, "away")

    with monkeypatch.context() as patch:
        patch.setattr(site.accounts, "ensure_mailbox", fail)
        with pytest.raises(MailError, match=r"^unavailable"):
            await site.put("kim@example.org")
    assert (await site.repository.list_mailboxes("", "", 10)).mailboxes == ()
    assert (await site.put("kim@example.org")).created


async def test_create_only_refuses_an_existing_one(site: Site) -> None:
    await site.put("kim@example.org")
    with pytest.raises(MailError, match=r"^already_exists: address: "):
        await site.administration.put_mailbox(
            PutMailboxRequest(address="kim@example.org", actor="admin", password="secret", create_only=True)
        )


@pytest.mark.parametrize("quota_octets", [-1, MAX_QUOTA_OCTETS + 1])
async def test_quotas_have_bounds(site: Site, quota_octets: int) -> None:
    with pytest.raises(MailError, match=r"^invalid: quota_octets: "):
        await site.put("kim@example.org", quota_octets=quota_octets)


async def test_only_a_superadmin_may(site: Site) -> None:
    administration = site.administration
    for attempt in (
        administration.put_domain(PutDomainRequest(domain=Domain(name="x.test"), actor="kim")),
        administration.list_domains(ListDomainsRequest(actor="")),
        administration.put_mailbox(PutMailboxRequest(address="kim@example.org", actor="kim", password="secret")),
        administration.list_mailboxes(ListMailboxesRequest(actor="kim")),
    ):
        with pytest.raises(MailError, match=r"^forbidden"):
            await attempt


async def test_pages_say_where_the_next_one_begins(site: Site) -> None:
    for name in ("c", "a", "b"):
        await site.put(f"{name}@example.org")
    first = await site.administration.list_mailboxes(ListMailboxesRequest(actor="admin", domain="EXAMPLE.org", limit=2))
    rest = await site.administration.list_mailboxes(ListMailboxesRequest(actor="admin", after=first.next_after))
    assert [each.address for each in first.mailboxes + rest.mailboxes] == [f"{name}@example.org" for name in "abc"]
    assert rest.next_after == ""
    domains = await site.administration.list_domains(ListDomainsRequest(actor="admin"))
    assert (domains.domains, domains.next_after) == ((Domain(name="example.org", incoming=True),), "")
    for limit in (0, MAX_PAGE + 1):
        with pytest.raises(MailError, match=r"^invalid: limit: "):
            await site.administration.list_domains(ListDomainsRequest(actor="admin", limit=limit))


async def test_events_tell_who_and_what_but_no_secret(site: Site) -> None:
    await site.put("kim@example.org", "very secret", quota_octets=5)
    told = []

    async def publish(events: object) -> None:
        told.append(repr(events))

    await site.repository.relay_outbox(10, publish)
    assert "mailbox kim@example.org set by admin" in told[0]
    assert "quota_octets=5, new password" in told[0]
    assert "very secret" not in told[0]
