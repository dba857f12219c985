"""Directories for tests of the reading side: filled by hand, or drawn by Hypothesis."""

from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from postbus.contracts.directory import (
    Alias,
    App,
    Group,
    User,
)
from postbus.contracts.domains import Domain
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.mailing_lists import MailingList
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.ids import MailboxId
from postbus.testing.directory import KEYS, MemoryDirectory
from postbus.testing.directory_tables import StoredPassword

V = TypeVar("V")
OURS = ("a.test", "b.test", "sub.a.test")
ALIAS = "d.test"
"""Of the first one."""
FOREIGN = "c.test"
NAMES = ("ann", "bob", "ann.b", "x-1", "nan")
WILDCARDS = ("*", "a*", "*b", "a*b", "a**b", "*n*", "ann+*", "*+news", "*-1", "b*")
USERS = ("kim", "lee", "pat")
GROUPS = ("staff", "board")


class Site:
    """A directory that is filled by hand; names without a domain are of the first one."""

    def __init__(self, *domains: str) -> None:
        self.directory = MemoryDirectory()
        self.used: dict[MailboxId, int] = {}
        for name in domains:
            self.put_domain(name)

    def put_domain(self, name: str, *, incoming: bool = True, **fields: Any) -> None:
        """A domain, receiving unless told otherwise."""
        self._put(self.directory.domains, name, Domain(name=name, incoming=incoming, **fields))

    def put_user(
        self, username: str, password: str = "", *, active: bool = True, tagged: bool = True, superadmin: bool = False
    ) -> None:
        """A user, whose hash is PlainHasher's."""
        self._put(self.directory.users, username, User(username=username, active=active, superadmin=superadmin))
        if password:
            tag = KEYS.tag(password) if tagged else None
            self.directory.passwords[username] = StoredPassword(secret_hash=f"plain:{password}", tag=tag)

    def put_group(self, name: str, *members: str, address: str = "") -> None:
        """A group of users."""
        self._put(self.directory.groups, name, Group(name=name, members=members, address=address))

    def put_app(self, name: str, address: str, credential: str, *, active: bool = True) -> None:
        """An app with its mailbox."""
        self._put(self.directory.apps, name, App(name=name, address=address, active=active))
        self.directory.credentials[name] = KEYS.index(credential)
        self.put_mailbox(address, owner=Owner(kind=OwnerKind.APP, name=name))

    def put_mailbox(
        self, address: str, *, owner: Owner | None = None, used_octets: int = 0, **fields: Any
    ) -> MailboxId:
        """A mailbox; without an owner its user is made, named by the address."""
        number = len(self.directory.mailboxes)
        mailbox_id = MailboxId(f"00000000-0000-7000-8000-{number:012x}")
        if owner is None:
            owner = Owner(kind=OwnerKind.USER, name=address)
            self.directory.users.setdefault(address, User(username=address))
        mailbox = Mailbox(mailbox_id=mailbox_id, address=address, owner=owner, **fields)
        self._put(self.directory.mailboxes, address, mailbox)
        self.used[mailbox_id] = used_octets
        return mailbox_id

    def put_alias(self, address: str, mailbox: str) -> None:
        """An alias, or a wildcard."""
        self._put(self.directory.aliases, address, Alias(address=address, mailbox=mailbox))

    def put_list(
        self,
        address: str,
        *members: str,
        active: bool = True,
        members_only: bool = False,
        groups: tuple[str, ...] = (),
    ) -> None:
        """A list; its members are folded where we serve their domain, as the administrator's command does."""
        ours = self.directory.domains
        folded = tuple(each.lower() if each.rpartition("@")[2] in ours else each for each in members)
        made = MailingList(address=address, members=folded, active=active, members_only=members_only, groups=groups)
        self._put(self.directory.lists, address, made)

    def _put(self, table: dict[str, V], name: str, value: V) -> None:
        table[name] = value
        self.directory.number += 1


@st.composite
def sites(draw: st.DrawFn) -> Site:
    """Directories of a few domains, where every address is one thing only."""
    site = Site()
    for name in draw(st.permutations(OURS)):
        site.put_domain(
            name,
            incoming=draw(st.booleans() | st.just(True)),
            masquerading=draw(st.booleans()),
            suspended=draw(st.sampled_from((False, False, False, True))),
            default_quota_octets=draw(st.sampled_from((None, None, 100))),
        )
    site.put_domain(
        ALIAS,
        incoming=draw(st.booleans() | st.just(True)),
        alias_of="a.test",
        suspended=draw(st.just(False) | st.booleans()),
    )
    for name in USERS:
        site.put_user(name, active=draw(st.booleans() | st.just(True)), superadmin=draw(st.just(False) | st.booleans()))
    kinds = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(OURS)),
            st.sampled_from(("mailbox", "mailbox", "mailbox", "alias", "group", "list", "list")),
            max_size=12,
        )
    )
    of_kind = {
        kind: [f"{name}@{domain}" for (name, domain), each in kinds.items() if each == kind]
        for kind in ("mailbox", "alias", "group", "list")
    }
    _draw_groups(draw, site, of_kind["group"])
    _draw_mailboxes(draw, site, of_kind["mailbox"])
    if of_kind["mailbox"]:
        _draw_aliases(draw, site, of_kind["alias"])
    named = [f"{name}@{domain}" for name, domain in kinds] or addresses()
    for address in of_kind["list"]:
        member = st.sampled_from(named) | st.sampled_from(addresses())
        members = draw(st.lists(member, unique_by=str.lower, max_size=4))
        known = sorted(site.directory.groups)
        groups = tuple(sorted(draw(st.lists(st.sampled_from(known), unique=True, max_size=2)))) if known else ()
        active = draw(st.booleans() | st.just(True))
        site.put_list(address, *members, active=active, members_only=draw(st.booleans()), groups=groups)
    _draw_grants(draw, site)
    return site


def addresses() -> list[str]:
    """All that a drawn directory may know, and some that none does."""
    details = ("", "+news", "+News+x", "-bounces")
    names = [name + detail for name in NAMES for detail in details] + ["postmaster", "abuse", "nobody", "annb", "b-1"]
    return [f"{name}@{domain}" for name in names for domain in (*OURS, ALIAS, FOREIGN)]


def paths_of(site: Site) -> list[str]:
    """What stands in a directory: all its addresses, and its lists' bounces."""
    tables = site.directory
    groups = [group.address for group in tables.groups.values() if group.address]
    bounces = [address.replace("@", "-bounces@") for address in tables.lists]
    return [*tables.mailboxes, *(each for each in tables.aliases if "*" not in each), *groups, *tables.lists, *bounces]


def _draw_groups(draw: st.DrawFn, site: Site, with_address: list[str]) -> None:
    for name, address in zip(GROUPS, [*with_address, "", ""], strict=False):
        site.put_group(name, *draw(st.lists(st.sampled_from(USERS), unique=True)), address=address)


def _draw_mailboxes(draw: st.DrawFn, site: Site, of_mailboxes: list[str]) -> None:
    owners = [Owner(kind=OwnerKind.USER, name=name) for name in USERS]
    owners += [Owner(kind=OwnerKind.GROUP, name=name) for name in GROUPS]
    for address in of_mailboxes:
        site.put_mailbox(
            address,
            active=draw(st.booleans() | st.just(True)),
            owner=draw(st.sampled_from(owners)),
            quota_octets=draw(st.sampled_from([None, 0, 100])),
            used_octets=draw(st.sampled_from([0, 99, 100, 101])),
        )
    for name in OURS:
        if of_mailboxes:
            catch_all = tuple(
                draw(st.just([]) | st.lists(st.sampled_from(of_mailboxes), unique=True, min_size=1, max_size=3))
            )
            domain = msgspec.structs.replace(site.directory.domains[name], catch_all=catch_all)
            site.directory.domains[name] = domain


def _draw_grants(draw: st.DrawFn, site: Site) -> None:
    paths = paths_of(site)
    for mailbox in list(site.directory.mailboxes.values()):
        send_as = draw(st.just([]) | st.lists(st.sampled_from(paths), unique=True, max_size=2))
        site.directory.mailboxes[mailbox.address] = msgspec.structs.replace(mailbox, send_as=tuple(send_as))


def _draw_aliases(draw: st.DrawFn, site: Site, of_aliases: list[str]) -> None:
    mailboxes = st.sampled_from(list(site.directory.mailboxes))
    for address in of_aliases:
        site.put_alias(address, draw(mailboxes))
    for name, domain in draw(
        st.lists(st.tuples(st.sampled_from(WILDCARDS), st.sampled_from(OURS)), unique=True, max_size=4)
    ):
        site.put_alias(f"{name}@{domain}", draw(mailboxes))
