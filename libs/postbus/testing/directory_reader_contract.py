"""What every DirectoryReader must do: run on the fake in tests/ and on Postgres in integration/.

A subclass gives a fixture `reader` that holds what `example_site` holds.
"""

import pytest

from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.relays import Relay, RelaySecurity
from postbus.core.ids import MailboxId
from postbus.testing.directory import KEYS
from postbus.testing.directory_sites import Site
from postbusd.directory.passwords import digest_of
from postbusd.directory.ports import MAX_CANDIDATES, DirectoryReader
from postbusd.directory.values import DomainFacts, Found, Key, KeyKind, MailboxFacts, Member

RELAY = Relay(host="smart.test", port=465, security=RelaySecurity.TLS, username="us")
CREWMATES = 30


def example_site() -> Site:
    """A little of everything."""
    site = Site("a.test", "b.test")
    site.put_domain("b.test", incoming=False, relay=RELAY)
    site.directory.relay_passwords["b.test"] = b"sealed"
    for name, active in (("kim", True), ("lee", True), ("pat", False)):
        site.put_user(name, f"{name}'s password", active=active)
        site.put_mailbox(f"{name}@a.test", owner=Owner(kind=OwnerKind.USER, name=name))
    site.put_mailbox("kim2@b.test", quota_octets=10, owner=Owner(kind=OwnerKind.USER, name="kim"))
    site.put_mailbox("off@a.test", active=False, owner=Owner(kind=OwnerKind.USER, name="lee"))
    site.put_group("staff", "pat", "lee", "kim", address="staff@a.test")
    site.put_group("nobody", address="nobody@a.test")
    site.put_mailbox("team@a.test", owner=Owner(kind=OwnerKind.GROUP, name="staff"))
    for number in range(CREWMATES):
        site.put_user(f"crew{number:02}", "same for all", active=number != 0, tagged=number != 1)
    site.put_group("crew", *[f"crew{number:02}" for number in range(CREWMATES)])
    site.put_mailbox("crew@a.test", owner=Owner(kind=OwnerKind.GROUP, name="crew"))
    site.put_app("shop", "shop.app@a.test", "credential of the shop")
    site.put_alias("k@a.test", "kim@a.test")
    for pattern, name in (("*", "lee"), ("s*s", "kim"), ("s**s", "pat"), ("*-news", "pat"), ("a_\\%*", "kim")):
        site.put_alias(f"{pattern}@a.test", f"{name}@a.test")
    site.put_list("all@a.test", "kim@a.test", "Pat@c.test", '"o p"@c.test', "kim2@b.test", members_only=True)
    site.put_list("empty@a.test", active=False)
    site.put_domain("a.test", catch_all=("team@a.test", "off@a.test", "kim2@b.test"))
    return site


async def find(reader: DirectoryReader, local_part: str, domain: str, kind: KeyKind = KeyKind.NAME) -> Found:
    """The answer for one key."""
    key = Key(local_part=local_part, domain=domain, kind=kind)
    return (await reader.find([key]))[1][key]


def address_of(mailbox: MailboxFacts | None) -> str | None:
    """For comparing."""
    return mailbox.address if mailbox is not None else None


class DirectoryReaderContract:
    """The rules of `postbusd.directory.ports.DirectoryReader`."""

    async def test_each_key_of_a_batch_has_its_answer(self, reader: DirectoryReader) -> None:
        """find: every kind of key at once, of one revision."""
        keys = [
            Key(local_part=name, domain=domain, kind=kind)
            for kind in KeyKind
            for name in ("kim", "k", "all", "nothing")
            for domain in ("a.test", "b.test", "c.test", "")
        ]
        revision, found = await reader.find(keys)
        assert revision == await reader.revision()
        assert set(found) == set(keys)
        for key in keys:
            assert found[key] == (await reader.find([key]))[1][key], key

    async def test_a_domain_is_ours_or_not(self, reader: DirectoryReader) -> None:
        """find: domain."""
        assert (await find(reader, "x", "b.test")).domain == DomainFacts(name="b.test", incoming=False)
        assert await find(reader, "x", "c.test") == Found()
        assert (await find(reader, "postmaster", "", KeyKind.SYSTEM)).domain == DomainFacts(
            name="a.test", incoming=True
        )

    async def test_a_name_is_a_mailbox_or_an_alias(self, reader: DirectoryReader) -> None:
        """find: mailbox, alias."""
        kim2 = (await find(reader, "kim2", "b.test")).mailbox
        assert kim2 is not None
        assert (kim2.address, kim2.active, kim2.quota_octets) == ("kim2@b.test", True, 10)
        off = (await find(reader, "off", "a.test")).mailbox
        assert (off is not None, off and off.active) == (True, False)
        for kind in (KeyKind.NAME, KeyKind.BASE):
            found = await find(reader, "k", "a.test", kind)
            assert (found.mailbox, address_of(found.alias)) == (None, "kim@a.test")
        assert (await find(reader, "s*s", "a.test")).alias is None

    async def test_a_base_is_nothing_else(self, reader: DirectoryReader) -> None:
        """find: BASE."""
        for name in ("sales", "staff", "all"):
            found = await find(reader, name, "a.test", KeyKind.BASE)
            assert found == Found(domain=DomainFacts(name="a.test", incoming=True))

    @pytest.mark.parametrize(
        ("name", "mailbox"),
        [
            ("sales", "kim@a.test"),
            ("ss", "kim@a.test"),
            ("s", "lee@a.test"),
            ("x-news", "pat@a.test"),
            ("-news", "pat@a.test"),
            ("s-news", "pat@a.test"),
            ("a_\\%b", "kim@a.test"),
            ("axb", "lee@a.test"),
            ("", "lee@a.test"),
            ("x" * 255, "lee@a.test"),
            ("é", "lee@a.test"),
        ],
    )
    async def test_the_most_specific_wildcard(self, reader: DirectoryReader, name: str, mailbox: str) -> None:
        """find: wildcard."""
        assert address_of((await find(reader, name, "a.test")).wildcard) == mailbox
        assert (await find(reader, name, "b.test")).wildcard is None

    async def test_the_postmaster_mailbox_is_the_oldest_active_one(self, reader: DirectoryReader) -> None:
        """find: SYSTEM, BOUNCES."""
        assert address_of((await find(reader, "abuse", "b.test", KeyKind.SYSTEM)).mailbox) == "kim2@b.test"
        assert address_of((await find(reader, "empty", "a.test", KeyKind.BOUNCES)).mailbox) == "kim@a.test"
        assert (await find(reader, "kim", "a.test", KeyKind.BOUNCES)).mailbox is None

    async def test_a_group_is_its_members_oldest_active_mailboxes(self, reader: DirectoryReader) -> None:
        """find: group; pat is not active, kim has two mailboxes."""
        found = await find(reader, "staff", "a.test")
        assert found.group is not None
        assert [each.address for each in found.group] == ["kim@a.test", "lee@a.test"]
        assert (await find(reader, "nobody", "a.test")).group == ()
        assert (await find(reader, "crew", "a.test")).group is None

    async def test_a_list_names_its_members(self, reader: DirectoryReader) -> None:
        """find: list."""
        found = (await find(reader, "all", "a.test")).list
        assert found is not None
        assert (found.local_part, found.domain, found.active, found.members_only) == ("all", "a.test", True, True)
        assert found.members == (
            Member(local_part="kim", domain="a.test", ours=True),
            Member(local_part="kim2", domain="b.test", ours=False),
            Member(local_part="Pat", domain="c.test", ours=False),
            Member(local_part="o p", domain="c.test", ours=False),
        )
        empty = (await find(reader, "empty", "a.test")).list
        assert empty is not None
        assert (empty.active, empty.members) == (False, ())

    async def test_a_catch_all_is_its_active_mailboxes(self, reader: DirectoryReader) -> None:
        """find: catch_all."""
        found = await find(reader, "anything", "a.test")
        assert [each.address for each in found.catch_all] == ["kim2@b.test", "team@a.test"]
        assert (await find(reader, "anything", "b.test")).catch_all == ()

    async def test_a_users_mailbox_opens_with_the_users_password(self, reader: DirectoryReader) -> None:
        """load_login: whatever the tag."""
        login = await reader.load_login("pat", "a.test", tag=0)
        assert login is not None
        assert (login.mailbox.address, login.owner_kind, login.revision) == (
            "pat@a.test",
            OwnerKind.USER,
            await reader.revision(),
        )
        assert [(each.name, each.secret_hash, each.active) for each in login.credentials] == [
            ("pat", "plain:pat's password", False)
        ]
        assert await reader.load_login("nobody", "a.test", tag=0) is None
        assert await reader.load_login("k", "a.test", tag=0) is None

    async def test_a_groups_mailbox_opens_with_those_whose_tag_fits(self, reader: DirectoryReader) -> None:
        """load_login: active ones first, known tags before unknown, at most MAX_CANDIDATES."""
        team = await reader.load_login("team", "a.test", tag=KEYS.tag("lee's password"))
        assert team is not None
        assert team.owner_kind is OwnerKind.GROUP
        assert "lee" in [each.name for each in team.credentials]
        assert "kim" not in [each.name for each in team.credentials]
        crew = await reader.load_login("crew", "a.test", tag=KEYS.tag("same for all"))
        assert crew is not None
        assert [each.name for each in crew.credentials] == [f"crew{n:02}" for n in range(2, 2 + MAX_CANDIDATES)]
        others = await reader.load_login("crew", "a.test", tag=KEYS.tag("same for all") ^ 1)
        assert others is not None
        assert [each.name for each in others.credentials] == ["crew01"]

    async def test_an_apps_mailbox_opens_with_its_credential(self, reader: DirectoryReader) -> None:
        """load_login: the index, not the credential."""
        login = await reader.load_login("shop.app", "a.test", tag=0)
        assert login is not None
        assert login.owner_kind is OwnerKind.APP
        assert [(each.name, each.secret_hash) for each in login.credentials] == [
            ("shop", KEYS.index("credential of the shop"))
        ]

    async def test_a_mailbox_without_a_password_has_no_credential(self, reader: DirectoryReader) -> None:
        """load_login: crew's own group has members, but nobody's tag fits."""
        login = await reader.load_login("team", "a.test", tag=KEYS.tag("x") ^ 0x55)
        assert login is not None
        assert len(login.credentials) <= 1

    async def test_what_opens_the_mailboxes_of_open_sessions(self, reader: DirectoryReader) -> None:
        """load_openings: in the order asked for; nothing for who is gone, switched off or no member."""
        found: dict[str, MailboxFacts] = {}
        for name, domain in (("kim", "a.test"), ("kim2", "b.test"), ("pat", "a.test"), ("off", "a.test")):
            mailbox = (await find(reader, name, domain)).mailbox
            assert mailbox is not None
            found[name] = mailbox
        for name in ("team", "crew", "shop.app"):
            login = await reader.load_login(name, "a.test", tag=0)
            assert login is not None
            found[name] = login.mailbox
        openers = {
            ("kim2", "kim"): ("plain:kim's password", 10),
            ("kim", "kim"): ("plain:kim's password", None),
            ("kim", "lee"): None,
            ("kim", ""): None,
            ("pat", "pat"): None,
            ("off", "lee"): None,
            ("team", "lee"): ("plain:lee's password", None),
            ("team", "pat"): None,
            ("team", "crew05"): None,
            ("crew", "crew05"): ("plain:same for all", None),
            ("crew", "crew00"): None,
            ("shop.app", ""): (KEYS.index("credential of the shop"), None),
            ("shop.app", "shop"): None,
        }
        gone = MailboxId("00000000-0000-7000-8000-00000000ffff")
        wanted = [(gone, "kim"), *((found[name].mailbox_id, member) for name, member in openers)]
        revision, openings = await reader.load_openings(wanted)
        assert revision == await reader.revision()
        told = [(*each.digests, each.quota_octets) if each is not None else None for each in openings]
        expected = [(digest_of(opener[0]), opener[1]) if opener is not None else None for opener in openers.values()]
        assert told == [None, *expected]

    async def test_the_route_of_the_longest_name_that_is_ours(self, reader: DirectoryReader) -> None:
        """find_route."""
        route = await reader.find_route(["x.b.test", "b.test", "test"])
        assert (route.domain, route.relay, route.password_sealed) == ("b.test", RELAY, b"sealed")
        plain = await reader.find_route(["a.test", "test"])
        assert (plain.domain, plain.relay, plain.password_sealed) == ("a.test", None, b"")
        none = await reader.find_route(["c.test", "test"])
        assert (none.domain, none.revision) == ("", await reader.revision())
