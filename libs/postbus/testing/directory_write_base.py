"""What the writing parts of the directory in memory share: claims of addresses, pages, the end of a write."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from postbus.contracts.directory import Mailbox, MailingList, Owner, OwnerKind
from postbus.contracts.events import Event
from postbus.core.address import Address
from postbus.core.lists import BOUNCES_SUFFIX
from postbus.testing.directory_tables import DirectoryTables
from postbusd.directory.administration.ports import MAX_PAGE_MEMBERS
from postbusd.directory.administration.refusals import MAX_NAMED, no_such, owns, taken
from postbusd.directory.administration.values import Deleted, Page, Written, describe_deletion

T = TypeVar("T")


class MemoryWrites(DirectoryTables):
    """The base of the writing parts."""

    def close(self, value: T, event: Event, *, changed: bool, created: bool = False) -> Written[T]:
        """The end of a write."""
        return Written(object=value, changed=changed, created=created, revision=self.close_write(event, changed))

    def close_deletion(self, lines: Sequence[str], event: Event, *, dry_run: bool) -> Deleted:
        """The end of a deletion."""
        told = tuple(lines)
        return Deleted(lines=told, revision=self.close_write(describe_deletion(event, told), changed=not dry_run))

    def require_domain(self, field: str, domain: str) -> None:
        """Raises MailError: NOT_FOUND."""
        if domain not in self.domains:
            raise no_such(field, "domain", domain)

    def require_free(self, address: Address, *, of_list: bool = False) -> None:
        """Raises MailError: NOT_FOUND (no such domain), CONFLICT (another object's address)."""
        self.require_domain("address", address.domain)
        for suffix in ("", BOUNCES_SUFFIX) if of_list else ("",):
            wanted = Address(local_part=address.local_part + suffix, domain=address.domain)
            kind = self.kind_at(str(wanted))
            if kind:
                raise taken(address, wanted, kind)

    def kind_at(self, address: str) -> str:
        """What has an address; empty: nothing."""
        local_part, _, domain = address.rpartition("@")
        of_list = f"{local_part.removesuffix(BOUNCES_SUFFIX)}@{domain}"
        if address in self.mailboxes:
            return "mailbox"
        if address in self.aliases:
            return "alias"
        if any(group.address == address for group in self.groups.values()):
            return "group"
        return "list" if address in self.lists or (of_list != address and of_list in self.lists) else ""

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


def page_of(found: Mapping[str, T], after: str, limit: int, is_wanted: Callable[[T], bool] | None = None) -> Page[T]:
    """Values with a name above `after`, in octet order."""
    names = sorted(name for name, each in found.items() if name > after and (is_wanted is None or is_wanted(each)))
    return Page(objects=tuple(found[name] for name in names[:limit]), more=len(names) > limit)


def cut(page: Page[T], members: Callable[[T], int]) -> Page[T]:
    """The page without what has too many members after the first."""
    total = 0
    for index, each in enumerate(page.objects):
        total += members(each)
        if index and total > MAX_PAGE_MEMBERS:
            return Page(objects=page.objects[:index], more=True)
    return page


def is_in(domain: str) -> Callable[[Mailbox | MailingList], bool]:
    """Whether an object's address is in a domain; empty: in any."""
    return lambda each: not domain or each.address.endswith(f"@{domain}")
