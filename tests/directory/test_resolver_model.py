"""Resolve against a model that knows nothing of steps, keys or queries: it looks at everything for every address."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from postbus.contracts.directory import Outcome, ResolveRequest, Via
from postbus.contracts.domains import Domain
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.mailing_lists import MailingList
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.errors import ErrorKind
from postbus.testing.directory import ManualClock, MemoryAccounts
from postbus.testing.directory_sites import Site, addresses, paths_of, sites
from postbusd.directory.resolution import CachedResolver

Picked = tuple[Via, list[tuple[Mailbox, str]]]


def fits(pattern: str, text: str) -> bool:
    """Whether a wildcard matches, by trying every split."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(fits(pattern[1:], text[skipped:]) for skipped in range(len(text) + 1))
    return text[:1] == pattern[0] and fits(pattern[1:], text[1:])


class Model:
    def __init__(self, site: Site) -> None:
        self.used = site.used
        self.domains = site.directory.domains
        self.mailboxes = list(site.directory.mailboxes.values())
        self.aliases = {each.address: self.box(each.mailbox) for each in site.directory.aliases.values()}
        self.lists = site.directory.lists
        self.all_groups = list(site.directory.groups.values())
        self.groups = [each for each in self.all_groups if each.address]
        self.users = site.directory.users

    def target(self, name: str) -> Domain:
        """The domain where the addresses of one are."""
        return self.domains[self.domains[name].alias_of or name]

    def suspended(self, name: str) -> bool:
        return self.domains[name].suspended or self.target(name).suspended

    def active(self, box: Mailbox) -> bool:
        return box.active and not self.domains[box.address.rpartition("@")[2]].suspended

    def quota(self, box: Mailbox) -> int | None:
        default = self.domains[box.address.rpartition("@")[2]].default_quota_octets
        return (default if box.quota_octets is None else box.quota_octets) or None

    def postmaster(self, domain: Domain) -> Mailbox | None:
        for user in self.users.values():
            if user.superadmin and user.active:
                owner = Owner(kind=OwnerKind.USER, name=user.username)
                own = [each for each in self.mailboxes if each.owner == owner and self.active(each)]
                if own:
                    return own[0]
        there = [each for each in self.mailboxes if each.address.endswith(f"@{domain.name}") and self.active(each)]
        return there[0] if there else None

    def box(self, address: str) -> Mailbox:
        return next(each for each in self.mailboxes if each.address == address)

    def catch_all(self, domain: Domain) -> Picked | None:
        active = [self.box(each) for each in sorted(domain.catch_all) if self.active(self.box(each))]
        return (Via.CATCH_ALL, [(each, "") for each in active]) if active else None

    def pick(self, local_part: str, domain: Domain) -> Picked | MailingList | None:
        """What the address is, catch-all included."""
        name = local_part.lower()
        address = f"{name}@{domain.name}"
        is_bounces = name.endswith("-bounces") and f"{name[: -len('-bounces')]}@{domain.name}" in self.lists
        if name in ("postmaster", "abuse") or is_bounces:
            box = self.postmaster(domain)
            if box is not None:
                return Via.SYSTEM, [(box, "")]
        found = self.named(local_part, address, domain)
        if found is not None:
            via, box, detail = found
            return (via, [(box, detail)]) if self.active(box) else self.catch_all(domain) or (via, [])
        for group in self.groups:
            if group.address == address:
                return Via.GROUP, [(box, "") for name in sorted(group.members) for box in self.oldest(name)]
        return self.lists[address] if address in self.lists else self.catch_all(domain)

    def named(self, local_part: str, address: str, domain: Domain) -> tuple[Via, Mailbox, str] | None:
        name = local_part.lower()
        exact = [each for each in self.mailboxes if each.address == address]
        if exact:
            return Via.MAILBOX, exact[0], ""
        if address in self.aliases:
            return Via.ALIAS, self.aliases[address], ""
        wild = [each.partition("@")[0] for each in self.aliases if "*" in each and each.endswith(f"@{domain.name}")]
        wild = [each for each in wild if fits(each, name)]
        if wild:
            most = max(len(each.replace("*", "")) for each in wild)
            wild = [each for each in wild if len(each.replace("*", "")) == most]
            fewest = min(each.count("*") for each in wild)
            best = min(each for each in wild if each.count("*") == fewest)
            return Via.WILDCARD, self.aliases[f"{best}@{domain.name}"], ""
        if "+" in name[1:]:
            base = f"{name[: name.index('+')]}@{domain.name}"
            detail = local_part[local_part.index("+") + 1 :]
            for each in self.mailboxes:
                if each.address == base:
                    return Via.SUB_ADDRESS, each, detail
            if base in self.aliases:
                return Via.SUB_ADDRESS, self.aliases[base], detail
        return None

    def oldest(self, username: str) -> list[Mailbox]:
        if not self.users[username].active:
            return []
        owner = Owner(kind=OwnerKind.USER, name=username)
        return [each for each in self.mailboxes if each.owner == owner and self.active(each)][:1]

    def is_full(self, mailbox: Mailbox) -> bool:
        quota = self.quota(mailbox)
        return quota is not None and self.used[mailbox.mailbox_id] >= quota

    def members(self, mailing_list: MailingList, seen: set[str]) -> tuple[dict[str, Mailbox], set[str]]:
        """Mailboxes and foreign addresses behind a list."""
        boxes: dict[str, Mailbox] = {}
        remotes: set[str] = set()
        users = {user for group in self.all_groups if group.name in mailing_list.groups for user in group.members}
        boxes |= {box.address: box for user in users for box in self.oldest(user)}
        for member in mailing_list.members:
            local_part, _, name = member.partition("@")
            if name not in self.domains or not self.domains[name].incoming:
                remotes.add(member)
                continue
            picked = self.pick(local_part, self.target(name))
            if isinstance(picked, MailingList):
                if picked.active and picked.address not in seen:
                    seen.add(picked.address)
                    more, others = self.members(picked, seen)
                    boxes |= more
                    remotes |= others
            elif picked is not None:
                boxes |= {box.address: box for box, _ in picked[1]}
        return boxes, remotes

    def masquerading(self, address: str) -> str:
        """The domain of the address where its mailboxes may send as all of it."""
        name = address.rpartition("@")[2].lower()
        if name not in self.domains or self.suspended(name) or not self.target(name).masquerading:
            return ""
        return self.target(name).name

    def senders(self, address: str) -> set[str]:
        """Mailboxes that may send as the address by a grant."""
        local_part, _, name = address.lower().rpartition("@")
        if name not in self.domains or self.suspended(name):
            return set()
        named = f"{local_part}@{self.target(name).name}"
        return {each.mailbox_id for each in self.mailboxes if named in each.send_as}

    def resolve(self, address: str) -> tuple[object, ...]:
        """outcome, kind, via, {mailbox: detail}, remotes."""
        local_part, _, name = address.partition("@")
        name = name.lower()
        if name not in self.domains:
            return Outcome.REMOTE, None, Via.NONE, {}, set()
        picked = self.pick(local_part, self.target(name))
        incoming = self.domains[name].incoming
        if self.suspended(name) and (not isinstance(picked, tuple) or picked[0] is not Via.SYSTEM):
            return self.refused(Via.NONE, {}, ErrorKind.INACTIVE if incoming else ErrorKind.REJECTED_POLICY)
        if isinstance(picked, MailingList):
            return self.resolve_list(picked) if incoming else self.refused(Via.LIST, set())
        if picked is None:
            return self.refused(Via.NONE, {}, ErrorKind.NOT_FOUND if incoming else ErrorKind.REJECTED_POLICY)
        via, boxes = picked
        targets = {box.address: detail for box, detail in boxes}
        if not incoming:
            return self.refused(via, targets)
        if not boxes:
            return self.refused(via, {}, ErrorKind.INACTIVE)
        if all(self.is_full(box) for box, _ in boxes):
            return self.refused(via, targets, ErrorKind.OVER_QUOTA)
        return Outcome.MAILBOX, None, via, targets, set()

    def resolve_list(self, mailing_list: MailingList) -> tuple[object, ...]:
        if not mailing_list.active:
            return self.refused(Via.LIST, set(), ErrorKind.INACTIVE)
        boxes, remotes = self.members(mailing_list, {mailing_list.address})
        if not boxes and not remotes:
            return self.refused(Via.LIST, set(), ErrorKind.INACTIVE)
        if not remotes and all(self.is_full(box) for box in boxes.values()):
            return self.refused(Via.LIST, set(boxes), ErrorKind.OVER_QUOTA)
        return Outcome.LIST, None, Via.LIST, set(boxes), remotes

    def refused(self, via: Via, targets: object, kind: ErrorKind = ErrorKind.REJECTED_POLICY) -> tuple[object, ...]:
        return Outcome.REJECT, kind, via, targets, set()


@given(site=sites(), others=st.lists(st.sampled_from(addresses()), min_size=1, max_size=12), upper=st.booleans())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_resolver_agrees_with_the_model(site: Site, others: list[str], upper: bool) -> None:
    asked = [*others, *paths_of(site)]
    paths = tuple(each.upper() for each in asked) if upper else tuple(asked)
    accounts = MemoryAccounts()
    accounts.used = site.used
    resolver = CachedResolver(site.directory, accounts, ManualClock(), CollectorRegistry())
    reply = asyncio.run(resolver.resolve(ResolveRequest(forward_paths=paths)))
    model = Model(site)
    for path, answer in zip(paths, reply.resolutions, strict=True):
        told = {target.address: target.detail for target in answer.targets}
        targets: object = set(told) if answer.via is Via.LIST else told
        got = (answer.outcome, answer.kind, answer.via, targets, set(answer.remotes))
        assert got == model.resolve(path), path
        assert answer.forward_path == path
        assert answer.masquerading_domain == model.masquerading(path)
        assert set(answer.senders) == model.senders(path)
        assert len(told) == len(answer.targets), "each mailbox once"
        for target in answer.targets:
            box = model.box(target.address)
            assert target.over_quota is model.is_full(box)
            quota = model.quota(box)
            free = None if quota is None else max(0, quota - site.used[box.mailbox_id])
            assert (target.free_octets, target.quota_octets, target.mailbox_id) == (
                free,
                quota,
                box.mailbox_id,
            )
