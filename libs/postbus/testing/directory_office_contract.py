"""What the administrator's commands do to mailboxes and domains: run over the fake in tests/, over Postgres in
integration/. A subclass gives a fixture `office` with an empty directory. Users, groups, apps, aliases and lists follow
in `directory_office_people` and `directory_office_addresses`.
"""

from collections.abc import Sequence

from postbus.contracts.directory import ListMailboxesRequest, PutMailboxRequest, User
from postbus.contracts.domains import Domain, ListDomainsRequest
from postbus.contracts.events import Event
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import ADMIN, SEALER, Office, refused
from postbusd.directory.routes import relay_owner

RELAY = Relay(host="Smart.test", port=465, security=RelaySecurity.TLS, username="us", password="secret of the host")  # noqa: S106
GROUP = Owner(kind=OwnerKind.GROUP, name="staff")
KIM = Owner(kind=OwnerKind.USER, name="kim")


async def relay_secrets(office: Office, name: str) -> bytes | None:
    """The relay's password as it is kept, opened; None: none is kept."""
    sealed = (await office.repository.find_route([name])).password_sealed
    return SEALER.open(sealed, relay_owner(name)) if sealed else None


async def events_of(office: Office) -> list[Event]:
    """All that wait in the outbox; they are taken from it."""
    told: list[Event] = []

    async def publish(events: Sequence[Event]) -> None:
        told.extend(events)

    await office.repository.relay_outbox(10_000, publish)
    return told


class DomainCommandsContract:
    """The DomainAdmin."""

    async def test_a_domain_has_all_that_was_put_but_the_password(self, office: Office) -> None:
        """put_domain, get_domain, list_domains."""
        await office.put_domain("a.test")
        await office.put_mailbox("zoe@a.test")
        await office.put_mailbox("kim@a.test")
        catch_all = ("zoe@a.test", "KIM@a.test", "zoe@A.test")
        put = await office.put_domain("B.test", incoming=True, catch_all=catch_all, relay=RELAY)
        assert put == Domain(
            name="b.test",
            incoming=True,
            catch_all=("kim@a.test", "zoe@a.test"),
            relay=Relay(host="smart.test", port=465, security=RelaySecurity.TLS, username="us"),
        )
        assert await office.get("domain", "b.TEST") == put
        listed = await office.administration.list_domains(ListDomainsRequest(actor=ADMIN, limit=1, after="a.test"))
        assert (listed.domains, listed.next_after) == ((put,), "")
        assert await relay_secrets(office, "b.test") == b"secret of the host"
        assert "secret" not in repr(await events_of(office))

    async def test_the_same_domain_twice_leaves_no_trace(self, office: Office) -> None:
        """put_domain, the relay's password included, and without it."""
        await office.put_domain("a.test", relay=RELAY)
        before = await office.trace()
        await office.put_domain("a.test", relay=RELAY)
        await office.put_domain(
            "a.test", relay=Relay(host="smart.test", port=465, security=RelaySecurity.TLS, username="us")
        )
        assert await office.trace() == before

    async def test_a_relays_password_stays_with_host_and_username(self, office: Office) -> None:
        """put_domain without a password."""
        kept = Relay(host="smart.test", username="us")
        with refused(ErrorKind.INVALID, "relay.password"):
            await office.put_domain("a.test", relay=kept)
        await office.put_domain("a.test", relay=RELAY)
        await office.put_domain("a.test", relay=kept)
        assert await relay_secrets(office, "a.test") == b"secret of the host"
        for other in (Relay(host="other.test", username="us"), Relay(host="smart.test", username="them")):
            with refused(ErrorKind.INVALID, "relay.password"):
                await office.put_domain("a.test", relay=other)
        await office.put_domain("a.test", relay=Relay(host="smart.test"))
        assert await relay_secrets(office, "a.test") is None
        with refused(ErrorKind.INVALID, "relay.password"):
            await office.put_domain("a.test", relay=kept)
        await office.put_domain("a.test")
        assert await office.get("domain", "a.test") == Domain(name="a.test")

    async def test_catch_all_takes_mailboxes_only(self, office: Office) -> None:
        """put_domain: NOT_FOUND, and nothing is written."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test")
        await office.put_alias("k@a.test", "kim@a.test")
        before = await office.trace()
        for address in ("k@a.test", "nobody@a.test", "kim@b.test"):
            with refused(ErrorKind.NOT_FOUND, f"catch_all: there is no mailbox {address}"):
                await office.put_domain("a.test", incoming=True, catch_all=("kim@a.test", address))
        assert await office.trace() == before
        assert await office.get("domain", "a.test") == Domain(name="a.test")

    async def test_a_domain_goes_when_nothing_lives_in_it(self, office: Office) -> None:
        """delete_domain: CONFLICT says how many of what."""
        await office.put_domain("a.test")
        await office.put_domain("b.test")
        await office.put_mailbox("kim@b.test")
        await office.put_mailbox("zoe@a.test")
        await office.put_alias("k@a.test", "kim@b.test")
        await office.put_alias("k*@a.test", "kim@b.test")
        await office.put_list("all@a.test")
        await office.put_group("staff", address="staff@a.test")
        for dry_run in (True, False):
            with refused(ErrorKind.CONFLICT, "name: 1 mailbox, 2 aliases, 1 list, 1 group address in a.test"):
                await office.delete("domain", "a.test", dry_run=dry_run)
        for noun, name in (
            ("mailbox", "zoe@a.test"),
            ("alias", "k@a.test"),
            ("alias", "k*@a.test"),
            ("list", "all@a.test"),
        ):
            await office.delete(noun, name)
        await office.delete("group", "staff")
        await office.put_domain("a.test", catch_all=("kim@b.test",), relay=RELAY)
        before = await office.trace()
        assert await office.delete("domain", "A.test", dry_run=True) == ("domain a.test",)
        assert await office.trace() == before
        assert await office.delete("domain", "a.test") == ("domain a.test",)
        assert office.told[-1].domains == ("a.test",)
        for verb in (office.get, office.delete):
            with refused(ErrorKind.NOT_FOUND, "name: there is no domain a.test"):
                await verb("domain", "a.test")
        await office.put_domain("a.test")
        assert await relay_secrets(office, "a.test") is None


class MailboxCommandsContract:
    """The MailboxAdmin."""

    async def test_a_mailbox_made_with_a_password_has_a_user_of_its_name(self, office: Office) -> None:
        """put_mailbox without an owner."""
        await office.put_domain("a.test")
        reply = await office.put_mailbox("Kim@a.test", "secret of kim", quota_octets=10)
        own = Owner(kind=OwnerKind.USER, name="kim@a.test")
        assert reply.mailbox == Mailbox(
            mailbox_id=reply.mailbox.mailbox_id,
            address="kim@a.test",
            quota_octets=10,
            effective_quota_octets=10,
            owner=own,
        )
        assert await office.get("user", "kim@a.test") == User(username="kim@a.test")
        office.accounts.used[reply.mailbox.mailbox_id] = 7
        assert getattr(await office.get("mailbox", "KIM@a.test"), "used_octets", None) == 7
        page = await office.administration.list_mailboxes(ListMailboxesRequest(actor=ADMIN))
        assert [each.used_octets for each in page.mailboxes] == [7]

    async def test_what_is_not_named_stays(self, office: Office) -> None:
        """put_mailbox on an existing one; quota 0 is unlimited."""
        await office.put_domain("a.test")
        first = (await office.put_mailbox("kim@a.test", quota_octets=10, active=False)).mailbox
        before = await office.trace()
        assert (await office.put_mailbox("kim@a.test", None)).mailbox == first
        assert (await office.put_mailbox("kim@a.test")).mailbox == first
        assert await office.trace() == before
        changed = (await office.put_mailbox("kim@a.test", None, quota_octets=0, active=True)).mailbox
        assert (changed.mailbox_id, changed.quota_octets, changed.active) == (first.mailbox_id, 0, True)

    async def test_a_password_has_its_tag(self, office: Office) -> None:
        """put_mailbox, put_user: a group's mailbox finds its members' passwords by it."""
        await office.put_domain("a.test")
        await office.put_mailbox("kim@a.test", "secret of kim")
        await office.put_user("lee", "secret of lee")
        for name, password in (("kim@a.test", "secret of kim"), ("lee", "secret of lee")):
            stored = await office.repository.load_password(name)
            assert stored is not None
            assert (stored.secret_hash, stored.tag) == (f"plain:{password}", office.keys.tag(password))

    async def test_an_owner_can_be_given_and_changed(self, office: Office) -> None:
        """put_mailbox: a user, a group."""
        await office.put_domain("a.test")
        await office.put_user("kim", "secret of kim")
        await office.put_group("staff", "kim")
        for owner in (GROUP, KIM):
            assert (await office.put_mailbox("team@a.test", None, owner=owner)).mailbox.owner == owner
        login = await office.repository.load_login("team", "a.test", tag=0)
        assert login is not None
        assert [each.name for each in login.credentials] == ["kim"]
        back = await office.put_mailbox("team@a.test", "secret", owner=Owner(kind=OwnerKind.USER, name="Team@a.test"))
        assert back.mailbox.owner == Owner(kind=OwnerKind.USER, name="team@a.test")

    async def test_owners_must_be_there(self, office: Office) -> None:
        """put_mailbox: NOT_FOUND."""
        await office.put_domain("a.test")
        for owner in (KIM, GROUP):
            with refused(ErrorKind.NOT_FOUND, f"owner: there is no {owner.kind.value} {owner.name}"):
                await office.put_mailbox("team@a.test", None, owner=owner)
        with refused(ErrorKind.NOT_FOUND, "name: "):
            await office.get("mailbox", "team@a.test")

    async def test_a_password_is_set_at_the_owner(self, office: Office) -> None:
        """put_mailbox: INVALID where the mailbox is not of the user of its name."""
        await office.put_domain("a.test")
        await office.put_user("kim", "secret of kim")
        with refused(ErrorKind.INVALID, "password: set it at the owner, user kim"):
            await office.put_mailbox("team@a.test", "secret", owner=KIM)
        await office.put_mailbox("team@a.test", None, owner=KIM)
        with refused(ErrorKind.INVALID, "password: set it at the owner, user kim"):
            await office.put_mailbox("team@a.test", "secret")
        with refused(ErrorKind.INVALID, "password: a new mailbox needs one"):
            await office.put_mailbox("team@a.test", None, owner=Owner(kind=OwnerKind.USER, name="team@a.test"))

    async def test_an_apps_mailbox_stays_the_apps(self, office: Office) -> None:
        """put_mailbox, delete_mailbox: CONFLICT; its quota can be set."""
        await office.put_domain("a.test")
        await office.put_user("kim")
        await office.put_app("shop", "a.test")
        reply = await office.put_mailbox("shop.app@a.test", None, quota_octets=5)
        assert (reply.mailbox.quota_octets, reply.mailbox.owner) == (5, Owner(kind=OwnerKind.APP, name="shop"))
        with refused(ErrorKind.CONFLICT, "owner: "):
            await office.put_mailbox("shop.app@a.test", None, owner=KIM)
        with refused(ErrorKind.CONFLICT, "owner: "):
            await office.put_mailbox("more@a.test", None, owner=Owner(kind=OwnerKind.APP, name="shop"))
        with refused(ErrorKind.CONFLICT, "name: it is the mailbox of app shop"):
            await office.delete("mailbox", "shop.app@a.test")

    async def test_an_address_is_one_thing_only(self, office: Office) -> None:
        """put_mailbox: CONFLICT names what has it; nothing is made in the mail store."""
        await office.put_domain("a.test")
        made = (await office.put_mailbox("kim@a.test")).mailbox.mailbox_id
        await office.put_alias("k@a.test", "kim@a.test")
        await office.put_group("staff", address="staff@a.test")
        await office.put_list("all@a.test")
        before = await office.trace()
        for name, kind in (("k", "an alias"), ("staff", "a group"), ("all", "a list"), ("all-bounces", "a list")):
            with refused(ErrorKind.CONFLICT, f"address: already taken by {kind}"):
                await office.put_mailbox(f"{name}@a.test")
        with refused(ErrorKind.ALREADY_EXISTS, "address: "):
            await office.administration.put_mailbox(
                PutMailboxRequest(address="kim@a.test", actor=ADMIN, password="secret", create_only=True)  # noqa: S106
            )
        assert await office.trace() == before
        assert office.accounts.ensured == [made]

    async def test_a_mailbox_goes_with_all_that_leads_to_it(self, office: Office) -> None:
        """delete_mailbox."""
        await office.put_domain("a.test")
        await office.put_domain("b.test")
        mailbox_id = (await office.put_mailbox("kim@a.test")).mailbox.mailbox_id
        await office.put_mailbox("zoe@a.test")
        await office.put_alias("k@b.test", "kim@a.test")
        await office.put_alias("*m@a.test", "kim@a.test")
        await office.put_alias("z@a.test", "zoe@a.test")
        await office.put_domain("b.test", catch_all=("zoe@a.test", "kim@a.test"))
        expected = (
            "mailbox kim@a.test",
            "alias *m@a.test",
            "alias k@b.test",
            "catch-all entry of b.test",
            "user kim@a.test",
        )
        before = await office.trace()
        assert await office.delete("mailbox", "Kim@a.test", dry_run=True) == expected
        assert await office.trace() == before
        await events_of(office)
        assert await office.delete("mailbox", "kim@a.test") == expected
        assert office.told[-1].addresses == ("kim@a.test",)
        (event,) = await events_of(office)
        assert (event.summary, event.detail) == ("mailbox kim@a.test deleted by admin", ", ".join(expected[1:]))
        for noun, name in (("mailbox", "kim@a.test"), ("user", "kim@a.test"), ("alias", "k@b.test")):
            with refused(ErrorKind.NOT_FOUND, f"name: there is no {noun} {name}"):
                await office.get(noun, name)
        assert await office.get("domain", "b.test") == Domain(name="b.test", catch_all=("zoe@a.test",))
        again = await office.put_mailbox("kim@a.test")
        assert (again.created, again.mailbox.mailbox_id != mailbox_id) == (True, True)

    async def test_a_user_who_has_more_stays(self, office: Office) -> None:
        """delete_mailbox."""
        await office.put_domain("a.test")
        for name in ("kim", "lee", "pat"):
            await office.put_mailbox(f"{name}@a.test")
        await office.put_mailbox("more@a.test", None, owner=Owner(kind=OwnerKind.USER, name="kim@a.test"))
        await office.put_group("staff", "lee@a.test")
        await office.put_user("sam")
        await office.put_mailbox("pat@a.test", None, owner=Owner(kind=OwnerKind.USER, name="sam"))
        for name in ("kim", "lee", "pat"):
            assert await office.delete("mailbox", f"{name}@a.test") == (f"mailbox {name}@a.test",)
            assert await office.get("user", f"{name}@a.test") == User(username=f"{name}@a.test")
