"""What every DirectoryRepository must do: run on the fake in tests/ and on Postgres in integration/.

A subclass gives a fixture `repository` with an empty directory.
"""

from collections.abc import Sequence

import pytest

from postbus.contracts.domains import Domain
from postbus.contracts.events import Event, EventType
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.standing import ADMINISTRATOR, Standing
from postbus.core.address import parse_address
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId, new_uuid7
from postbusd.directory.administration.ports import DirectoryRepository
from postbusd.directory.administration.values import Act, DomainChange, MailboxChange, PageWanted, Written
from postbusd.directory.values import DomainFacts, Found, Key, KeyKind, StoredPassword

HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"


def make_event(summary: str = "changed") -> Event:
    """An event like those of the administration."""
    return Event(event_id=new_uuid7(1), type=EventType.CONFIGURATION, at_ms=1, service="directory", summary=summary)


def make_act(event: Event | None = None) -> Act:
    """The administrator's."""
    return Act(standing=Standing(actor=ADMINISTRATOR, superadmin=True), event=event or make_event())


async def put_domain(
    repository: DirectoryRepository, name: str, *, incoming: bool = False, event: Event | None = None
) -> Written[Domain]:
    """Puts a domain."""
    change = DomainChange(domain=Domain(name=name, incoming=incoming))
    return await repository.put_domain(change, make_act(event))


async def put(
    repository: DirectoryRepository,
    address: str,
    *,
    active: bool | None = None,
    quota_octets: int | None = None,
    password_hash: str | None = HASH,
    create_only: bool = False,
) -> Written[Mailbox]:
    """Puts a mailbox, with a new mailbox_id each time."""
    change = MailboxChange(
        address=parse_address(address),
        new_id=MailboxId(new_uuid7(1_790_000_000_000)),
        password=StoredPassword(secret_hash=password_hash, tag=7) if password_hash is not None else None,
        active=active,
        quota_octets=quota_octets,
        create_only=create_only,
    )
    return await repository.put_mailbox(change, make_act(make_event(f"put {address}")))


async def find(repository: DirectoryRepository, local_part: str, domain: str, *, kind: KeyKind = KeyKind.NAME) -> Found:
    """The answer for one key."""
    key = Key(local_part=local_part, domain=domain, kind=kind)
    return (await repository.find([key]))[1][key]


def make_page(after: str, limit: int, *, descending: bool = False) -> PageWanted:
    """What a list is asked for."""
    return PageWanted(domain="", after=after, limit=limit, text="", descending=descending)


class DirectoryRepositoryContract:
    """The rules of `postbusd.directory.ports`."""

    async def test_a_domain_is_created_then_replaced(self, repository: DirectoryRepository) -> None:
        """put_domain."""
        first = await put_domain(repository, "example.org")
        second = await put_domain(repository, "example.org", incoming=True)
        assert first.changed
        assert second.changed
        assert (await find(repository, "x", "example.org")).domain == DomainFacts(name="example.org", incoming=True)

    async def test_each_change_has_the_next_revision_and_no_change_has_none(
        self, repository: DirectoryRepository
    ) -> None:
        """The revision counts commits that changed something."""
        start = await repository.revision()
        revisions = [
            (await put_domain(repository, "example.org")).revision,
            (await put(repository, "a@example.org")).revision,
            (await put(repository, "a@example.org", active=True, password_hash=None)).revision,
            (await put(repository, "a@example.org", active=False, password_hash=None)).revision,
        ]
        assert revisions == [start + 1, start + 2, start + 2, start + 3]
        assert await repository.revision() == start + 3

    async def test_a_batch_is_answered_key_by_key(self, repository: DirectoryRepository) -> None:
        """find: known, unknown, foreign."""
        await put_domain(repository, "example.org", incoming=True)
        mailbox = (await put(repository, "a@example.org", quota_octets=10)).object
        keys = [
            Key(local_part=name, domain=domain)
            for name, domain in (("a", "example.org"), ("b", "example.org"), ("a", "other.test"))
        ]
        revision, found = await repository.find(keys)
        assert revision == await repository.revision()
        assert [each and each.mailbox_id for each in (found[key].mailbox for key in keys)] == [
            mailbox.mailbox_id,
            None,
            None,
        ]
        assert [found[key].domain is not None for key in keys] == [True, True, False]

    async def test_a_system_key_finds_the_oldest_active_mailbox(self, repository: DirectoryRepository) -> None:
        """postmaster@ and abuse@, with and without a domain."""
        await put_domain(repository, "silent.test")
        await put(repository, "quiet@silent.test")
        await put_domain(repository, "example.org", incoming=True)
        for name in ("off", "zoe", "adam"):
            await put(repository, f"{name}@example.org", active=name != "off")
        for domain in ("example.org", ""):
            found = await find(repository, "postmaster", domain, kind=KeyKind.SYSTEM)
            assert found.mailbox is not None
            assert found.mailbox.address == "zoe@example.org"

    async def test_a_mailbox_keeps_its_identity_and_what_is_not_named(self, repository: DirectoryRepository) -> None:
        """put_mailbox on an existing one."""
        await put_domain(repository, "example.org")
        first = await put(repository, "a@example.org", active=False, quota_octets=5)
        second = await put(repository, "a@example.org", password_hash=None)
        third = await put(repository, "a@example.org", password_hash=None, quota_octets=0)
        assert (first.created, second.created, second.changed) == (True, False, False)
        assert second.object == first.object
        assert (third.object.active, third.object.quota_octets, third.object.effective_quota_octets) == (False, 0, None)

    async def test_refusals_name_the_field(self, repository: DirectoryRepository) -> None:
        """put_mailbox: no domain, no password, there already."""
        await put_domain(repository, "example.org")
        with pytest.raises(MailError, match=r"address: .*other\.test") as unknown:
            await put(repository, "a@other.test")
        with pytest.raises(MailError, match="password: ") as without:
            await put(repository, "a@example.org", password_hash=None)
        await put(repository, "a@example.org")
        with pytest.raises(MailError, match="address: ") as twice:
            await put(repository, "a@example.org", create_only=True)
        kinds = [error.value.kind for error in (unknown, without, twice)]
        assert kinds == [ErrorKind.NOT_FOUND, ErrorKind.INVALID, ErrorKind.ALREADY_EXISTS]

    async def test_a_login_has_the_latest_password(self, repository: DirectoryRepository) -> None:
        """load_login."""
        await put_domain(repository, "example.org")
        await put(repository, "a@example.org")
        written = await put(repository, "a@example.org", password_hash=HASH + "2")
        login = await repository.load_login("a", "example.org", tag=7)
        assert login is not None
        assert (login.mailbox.mailbox_id, login.credentials[0].secret_hash) == (written.object.mailbox_id, HASH + "2")
        assert login.revision == written.revision
        assert await repository.load_login("b", "example.org", tag=7) is None

    async def test_pages_follow_each_other_in_octet_order(self, repository: DirectoryRepository) -> None:
        """list_domains, list_mailboxes."""
        for name in ("b.test", "a-b.test", "a.test"):
            await put_domain(repository, name)
            await put(repository, f"x@{name}")
            await put(repository, f"x.y@{name}")
        domains = await repository.list_domains(None, make_page("", 2))
        assert ([each.name for each in domains.objects], domains.more) == (["a-b.test", "a.test"], True)
        rest = await repository.list_domains(None, make_page("a.test", 2))
        assert ([each.name for each in rest.objects], rest.more) == (["b.test"], False)
        page = await repository.list_mailboxes(None, make_page("", 4))
        expected = ["x.y@a-b.test", "x.y@a.test", "x.y@b.test", "x@a-b.test"]
        assert ([each.address for each in page.objects], page.more) == (expected, True)
        down = await repository.list_mailboxes(None, make_page("", 2, descending=True))
        assert ([each.address for each in down.objects], down.more) == (["x@b.test", "x@a.test"], True)
        down = await repository.list_mailboxes(None, make_page("x@a.test", 4, descending=True))
        assert ([each.address for each in down.objects], down.more) == (["x@a-b.test", *expected[2::-1]], False)
        of_one = await repository.list_mailboxes(("a.test",), make_page("x.y@a.test", 4))
        assert ([each.address for each in of_one.objects], of_one.more) == (["x@a.test"], False)

    async def test_events_are_relayed_once_and_only_of_changes(self, repository: DirectoryRepository) -> None:
        """relay_outbox."""
        relayed: list[str] = []

        async def publish(events: Sequence[Event]) -> None:
            relayed.extend(event.summary for event in events)

        async def fail(events: Sequence[Event]) -> None:
            raise MailError(ErrorKind.UNAVAILABLE, "no bus")

        for summary in ("one", "nothing new"):
            await put_domain(repository, "example.org", event=make_event(summary))
        await put(repository, "a@example.org")
        with pytest.raises(MailError):
            await repository.relay_outbox(10, fail)
        assert [await repository.relay_outbox(1, publish) for _ in range(3)] == [1, 1, 0]
        assert relayed == ["one", "put a@example.org"]
