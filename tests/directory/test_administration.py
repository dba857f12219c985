"""The administrator's commands: rules for names, passwords, quotas and actors."""

import pytest

from postbus.contracts.directory import ListMailboxesRequest, PutMailboxRequest
from postbus.contracts.domains import Domain, ListDomainsRequest, PutDomainRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory_contract import make_page
from postbus.testing.directory_office import Office
from postbusd.directory.administration.desk import MAX_PAGE
from postbusd.directory.administration.rules import MAX_QUOTA_OCTETS


@pytest.fixture
async def office() -> Office:
    office = Office()
    await office.put_domain("example.org", incoming=True)
    return office


async def test_a_domain_is_kept_as_a_labels(office: Office) -> None:
    assert (await office.put_domain("BÜCHER.example")).name == "xn--bcher-kva.example"
    assert (await office.put_domain("Example.ORG", incoming=True)).name == "example.org"


@pytest.mark.parametrize(
    "name", ["", "localhost", "a..b", "-a.test", "a_b.test", "1.2.3.4", "x" * 64 + ".test", "a b.c"]
)
async def test_what_is_no_domain_is_refused(office: Office, name: str) -> None:
    with pytest.raises(MailError, match=r"^invalid: name: "):
        await office.put_domain(name)


@pytest.mark.parametrize("name", ["kim", "Kim.O-Neil", "0", "x" * 200, "a.b.c"])
async def test_good_names(office: Office, name: str) -> None:
    written = await office.put_mailbox(f"{name}@Example.org")
    assert written.mailbox.address == f"{name.lower()}@example.org"
    assert office.accounts.ensured == [written.mailbox.mailbox_id]


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
async def test_bad_names_are_refused_before_anything_is_made(office: Office, name: str) -> None:
    with pytest.raises(MailError, match=r"^invalid: address: "):
        await office.put_mailbox(f"{name}@example.org")
    assert office.accounts.ensured == []


@pytest.mark.parametrize("password", ["", "short", "with\0nul", "x" * 257, "é" * 129, "line\nbreak"])
async def test_bad_passwords_are_refused(office: Office, password: str) -> None:
    with pytest.raises(MailError, match=r"^invalid: password: "):
        await office.put_mailbox("kim@example.org", password)


async def test_the_domain_must_exist(office: Office) -> None:
    with pytest.raises(MailError, match=r"^not_found: address: .*other\.test"):
        await office.put_mailbox("kim@other.test")
    assert office.accounts.ensured == []


async def test_a_new_mailbox_needs_a_password_an_old_one_keeps_it(office: Office) -> None:
    with pytest.raises(MailError, match=r"^invalid: password: "):
        await office.put_mailbox("kim@example.org", None)
    first = await office.put_mailbox("kim@example.org")
    again = await office.put_mailbox("kim@example.org", None)
    assert (first.created, again.created, len(office.told)) == (True, False, 2)


async def test_the_same_put_twice_changes_nothing_but_heals_the_store(office: Office) -> None:
    first = await office.put_mailbox("kim@example.org", quota_octets=5)
    again = await office.put_mailbox("KIM@example.org", quota_octets=5)
    assert (again.created, again.mailbox, len(office.told)) == (False, first.mailbox, 2)
    assert office.accounts.ensured == [first.mailbox.mailbox_id] * 2


async def test_a_store_that_is_away_leaves_no_mailbox_behind(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(mailbox_ids: list[str]) -> None:
        raise MailError(ErrorKind.UNAVAILABLE, "away")

    with monkeypatch.context() as patch:
        patch.setattr(office.accounts, "ensure_mailboxes", fail)
        with pytest.raises(MailError, match=r"^unavailable"):
            await office.put_mailbox("kim@example.org")
    assert (await office.repository.list_mailboxes(None, make_page("", 10))).objects == ()
    assert (await office.put_mailbox("kim@example.org")).created


async def test_create_only_refuses_an_existing_one(office: Office) -> None:
    await office.put_mailbox("kim@example.org")
    with pytest.raises(MailError, match=r"^already_exists: address: "):
        await office.administration.put_mailbox(
            PutMailboxRequest(address="kim@example.org", actor="admin", password="secret", create_only=True)
        )


@pytest.mark.parametrize("quota_octets", [-2, MAX_QUOTA_OCTETS + 1])
async def test_quotas_have_bounds(office: Office, quota_octets: int) -> None:
    with pytest.raises(MailError, match=r"^invalid: quota_octets: "):
        await office.put_mailbox("kim@example.org", quota_octets=quota_octets)


async def test_only_a_superadmin_may(office: Office) -> None:
    administration = office.administration
    for attempt in (
        administration.put_domain(PutDomainRequest(domain=Domain(name="x.test"), actor="kim")),
        administration.list_domains(ListDomainsRequest(actor="")),
        administration.put_mailbox(PutMailboxRequest(address="kim@example.org", actor="kim", password="secret")),
        administration.list_mailboxes(ListMailboxesRequest(actor="kim")),
    ):
        with pytest.raises(MailError, match=r"^forbidden"):
            await attempt


async def test_pages_say_where_the_next_one_begins(office: Office) -> None:
    for name in ("c", "a", "b"):
        await office.put_mailbox(f"{name}@example.org")
    first = await office.administration.list_mailboxes(
        ListMailboxesRequest(actor="admin", domain="EXAMPLE.org", limit=2)
    )
    rest = await office.administration.list_mailboxes(ListMailboxesRequest(actor="admin", after=first.next_after))
    assert [each.address for each in first.mailboxes + rest.mailboxes] == [f"{name}@example.org" for name in "abc"]
    assert rest.next_after == ""
    domains = await office.administration.list_domains(ListDomainsRequest(actor="admin"))
    assert (domains.domains, domains.next_after) == ((Domain(name="example.org", incoming=True),), "")
    for limit in (0, MAX_PAGE + 1):
        with pytest.raises(MailError, match=r"^invalid: limit: "):
            await office.administration.list_domains(ListDomainsRequest(actor="admin", limit=limit))


async def test_events_tell_who_and_what_but_no_secret(office: Office) -> None:
    await office.put_mailbox("kim@example.org", "very secret", quota_octets=5)
    told = []

    async def publish(events: object) -> None:
        told.append(repr(events))

    await office.repository.relay_outbox(10, publish)
    assert "mailbox kim@example.org set by admin" in told[0]
    assert "quota_octets=5, new password" in told[0]
    assert "very secret" not in told[0]
