"""What the writing parts of the directory in memory share: claims of addresses, pages, the end of a write."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import TypeVar

import msgspec

from postbus.contracts.directory import Alias, App, Group
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.mailing_lists import MailingList
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.policy import Policy
from postbus.contracts.standing import ADMINISTRATOR, MAX_OPENED, Standing
from postbus.core.address import Address
from postbus.core.errors import ErrorKind, MailError
from postbus.core.lists import BOUNCES_SUFFIX
from postbus.testing.directory_tables import DirectoryTables
from postbusd.directory.administration.ports import MAX_PAGE_MEMBERS, Domains
from postbusd.directory.administration.refusals import MAX_NAMED, check_condition, no_such, of_alias_domain, owns, taken
from postbusd.directory.administration.rules import check_granted
from postbusd.directory.administration.scope import domain_of
from postbusd.directory.administration.values import Act, Deleted, Page, PageWanted, Written, describe_deletion
from postbusd.directory.oidc.ports import StoredProvider

T = TypeVar("T")
_TABLES = (dict, list, int, Policy, StoredProvider, NoneType)


class MemoryWrites(DirectoryTables):
    """The base of the writing parts."""

    def close(self, value: T, *, changed: bool, created: bool = False, detail: str = "") -> Written[T]:
        """The end of a write; a plan is taken back."""
        act, before = self._under_way
        event = msgspec.structs.replace(act.event, detail=detail) if detail else act.event
        revision = self.close_write(event, changed)
        if act.condition.plan:
            vars(self).update(before)
        return Written(object=value, changed=changed, created=created, revision=revision, planned=act.condition.plan)

    def close_deletion(self, lines: Sequence[str], *, dry_run: bool) -> Deleted:
        """The end of a deletion."""
        told = tuple(lines)
        event = describe_deletion(self._under_way[0].event, told)
        return Deleted(lines=told, revision=self.close_write(event, changed=not dry_run))

    def begin(self, act: Act, before: msgspec.Struct | None) -> None:
        """The begin of a write to the object that there was. Raises MailError: CHANGED, CONFLICT, FORBIDDEN."""
        if act.standing.actor != ADMINISTRATOR:
            now = self.standing_of(act.standing.actor)
            if (now.superadmin, now.domains) != (act.standing.superadmin, act.standing.domains):
                raise MailError(ErrorKind.CONFLICT, "actor: what it administers was changed meanwhile")
        check_condition(act.condition, before)
        self._under_way = (
            act,
            {name: copy.copy(value) for name, value in vars(self).items() if isinstance(value, _TABLES)},
        )

    def standing_of(self, actor: str) -> Standing:
        """Raises MailError: FORBIDDEN."""
        user = self.users.get(actor)
        if user is None or not user.active:
            raise MailError(ErrorKind.FORBIDDEN, f"there is no active user {actor}")
        return Standing(
            actor=actor,
            superadmin=user.superadmin,
            domains=user.admin_of,
            mailboxes=tuple(sorted(each.address for each in self._opened(actor, by_groups=True))[:MAX_OPENED]),
        )

    def opened_domains(self, username: str, *, by_groups: bool = True) -> frozenset[str]:
        """Of the mailboxes that a user's password opens."""
        return frozenset(domain_of(each.address) for each in self._opened(username, by_groups=by_groups))

    def _opened(self, username: str, *, by_groups: bool) -> list[Mailbox]:
        owners = [Owner(kind=OwnerKind.USER, name=username)]
        if by_groups:
            groups = [each.name for each in self.groups.values() if username in each.members]
            owners += [Owner(kind=OwnerKind.GROUP, name=name) for name in groups]
        return [each for each in self.mailboxes.values() if each.owner in owners]

    def require_domain(self, field: str, domain: str) -> None:
        """Raises MailError: NOT_FOUND."""
        if domain not in self.domains:
            raise no_such(field, "domain", domain)

    def require_free(self, address: Address, *, of_list: bool = False) -> None:
        """Raises MailError: NOT_FOUND (no such domain), CONFLICT (another object's address)."""
        self.require_domain("address", address.domain)
        target = self.domains[address.domain].alias_of
        if target:
            raise of_alias_domain("address", address.domain, target)
        for suffix in ("", BOUNCES_SUFFIX) if of_list else ("",):
            wanted = Address(local_part=address.local_part + suffix, domain=address.domain)
            kind = self.kind_at(str(wanted))
            if kind:
                raise taken(address, wanted, kind)

    @contextlib.contextmanager
    def undone_by_refusal(self) -> Iterator[None]:
        """What the block writes is taken back when it raises."""
        try:
            yield
        except MailError:
            vars(self).update(self._under_way[1])
            raise

    def shown(self, address: str) -> Mailbox:
        """A mailbox with what holds of its quota, and the grants that still stand."""
        mailbox = self.mailboxes[address]
        return msgspec.structs.replace(
            mailbox,
            effective_quota_octets=self.effective_quota(mailbox),
            send_as=tuple(each for each in mailbox.send_as if self.kind_at(each)),
        )

    def require_quota(self, domain: str) -> None:
        """Raises MailError: CONFLICT."""
        quotas = [self.effective_quota(each) or 0 for each in self.mailboxes.values() if is_in((domain,))(each)]
        check_granted(domain, self.domains[domain].quota_octets, sum(quotas), quotas.count(0))

    def mail_hosts(self) -> set[str]:
        """All locations that domains name."""
        return {each.mail_host for each in self.domains.values() if each.mail_host}

    def require_idle(self, name: str, owner: Owner) -> None:
        """Raises MailError: CONFLICT while it owns a mailbox."""
        owned = sorted(each.address for each in self.mailboxes.values() if each.owner == owner)
        if owned:
            raise owns(name, owned[:MAX_NAMED], len(owned))

    def ties_of(self, address: str) -> list[str]:
        """What goes with a mailbox, in words."""
        aliases = sorted(each.address for each in self.aliases.values() if each.mailbox == address)
        catch_all = sorted(each.name for each in self.domains.values() if address in each.catch_all)
        return [f"alias {each}" for each in aliases] + [f"catch-all entry of {each}" for each in catch_all]

    def owner_exists(self, owner: Owner) -> bool:
        """Whether there is such a user, group or app."""
        tables: dict[OwnerKind, Mapping[str, object]] = {
            OwnerKind.USER: self.users,
            OwnerKind.GROUP: self.groups,
            OwnerKind.APP: self.apps,
        }
        return owner.name in tables[owner.kind]


def page_of(
    found: Mapping[str, T],
    wanted: PageWanted,
    is_wanted: Callable[[T], bool] | None = None,
    told: Callable[[T], str] = lambda each: "",
) -> Page[T]:
    """Values by name in octet order, as wanted; the text is in the name or in what else is `told`."""
    text, after, down = wanted.text, wanted.after, wanted.descending
    names = sorted(
        (
            name
            for name, each in found.items()
            if (not after or name < after if down else name > after)
            and (is_wanted is None or is_wanted(each))
            and (text in name or text in told(each).lower())
        ),
        reverse=down,
    )
    return Page(objects=tuple(found[name] for name in names[: wanted.limit]), more=len(names) > wanted.limit)


def cut(page: Page[T], members: Callable[[T], int]) -> Page[T]:
    """The page without what has too many members after the first."""
    total = 0
    for index, each in enumerate(page.objects):
        total += members(each)
        if index and total > MAX_PAGE_MEMBERS:
            return Page(objects=page.objects[:index], more=True)
    return page


def is_in(domains: Domains) -> Callable[[Mailbox | MailingList | Alias | App | Group], bool]:
    """Whether an object's address is in one of these domains; None: in any."""
    return lambda each: domains is None or domain_of(each.address) in domains
