"""Domains, aliases and lists of the directory in memory."""

import msgspec

from postbus.contracts.directory import Alias
from postbus.contracts.domains import Domain, SignatureReply
from postbus.contracts.mailing_lists import MailingList
from postbus.core.address import Address, parse_address
from postbus.testing.directory_write_base import MemoryWrites, cut, is_in, page_of
from postbusd.directory.administration.locations import check_mail_hosts
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import conflict, lived_in, no_such
from postbusd.directory.administration.rules import (
    MAX_ALIASES,
    check_domain_change,
    decide_members,
    decide_relay_password,
)
from postbusd.directory.administration.scope import check_list_groups
from postbusd.directory.administration.values import Act, Deleted, DomainChange, ListChange, Page, PageWanted, Written


class MemoryDomains(MemoryWrites):
    """The DomainStore."""

    async def put_domain(self, change: DomainChange, act: Act) -> Written[Domain]:
        """Creates or replaces a domain."""
        self.touch()
        domain = change.domain
        for address in change.catch_all:
            if str(address) not in self.mailboxes:
                raise no_such("catch_all", "mailbox", address)
        before = self.domains.get(domain.name)
        self.begin(act, before)
        check_domain_change(act.standing, before, domain)
        self._check_alias_of(domain)
        sealed_before = self.relay_passwords.get(domain.name, b"")
        sealed = decide_relay_password(change, before, sealed_before)
        with self.undone_by_refusal():
            self.domains[domain.name] = domain
            self.require_quota(domain.name)
            check_mail_hosts(self.mail_hosts())
        self.relay_passwords[domain.name] = sealed
        if before is None:
            self._fold_members()
        changed = before != domain or sealed != sealed_before
        return self.close(domain, changed=changed, created=before is None)

    async def find_signature(self, name: str) -> SignatureReply:
        """Of a domain, ours or not."""
        self.touch()
        domain = self.domains.get(name)
        return SignatureReply(signature=domain.signature if domain is not None else None, revision=self.number)

    async def get_domain(self, name: str) -> Domain:
        """One domain."""
        self.touch()
        self.require_domain("name", name)
        return self.domains[name]

    async def list_domains(self, domains: Domains, wanted: PageWanted) -> Page[Domain]:
        """Domains by name, as wanted."""
        self.touch()
        return page_of(self.domains, wanted, lambda each: domains is None or each.name in domains)

    async def delete_domain(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a domain that nothing lives in."""
        self.touch()
        self.require_domain("name", name)
        self.begin(act, self.domains[name])
        residents = self._residents(name)
        if any(residents.values()):
            raise lived_in(name, residents)
        if not dry_run:
            del self.domains[name]
            self.relay_passwords.pop(name, None)
            for user in list(self.users.values()):
                admin_of = tuple(each for each in user.admin_of if each != name)
                self.users[user.username] = msgspec.structs.replace(user, admin_of=admin_of)
        return self.close_deletion([f"domain {name}"], dry_run=dry_run)

    def _check_alias_of(self, domain: Domain) -> None:
        if not domain.alias_of:
            return
        target = self.domains.get(domain.alias_of)
        if target is None:
            raise no_such("alias_of", "domain", domain.alias_of)
        if target.alias_of:
            raise conflict("alias_of", f"{target.name} is an alias of {target.alias_of} itself")
        residents = self._residents(domain.name)
        if any(residents.values()):
            raise lived_in(domain.name, residents)

    def _residents(self, name: str) -> dict[str, int]:
        return {
            "mailbox": len([each for each in self.mailboxes.values() if is_in((name,))(each)]),
            "alias": len([each for each in self.aliases.values() if each.address.endswith(f"@{name}")]),
            "list": len([each for each in self.lists.values() if is_in((name,))(each)]),
            "group address": len([each for each in self.groups.values() if each.address.endswith(f"@{name}")]),
            "alias domain": len([each for each in self.domains.values() if each.alias_of == name]),
        }

    def _fold_members(self) -> None:
        for address, each in self.lists.items():
            change = ListChange(
                address=Address(local_part="", domain=""),
                members=tuple(parse_address(member) for member in each.members),
                active=each.active,
                members_only=each.members_only,
            )
            members = tuple(map(str, decide_members(change, self.domains)))
            self.lists[address] = msgspec.structs.replace(each, members=members)


class MemoryAliases(MemoryWrites):
    """The AliasStore."""

    async def put_alias(self, address: Address, mailbox: Address, act: Act) -> Written[Alias]:
        """Creates or replaces an alias."""
        self.touch()
        now = Alias(address=str(address), mailbox=str(mailbox))
        before = self.aliases.get(now.address)
        self.begin(act, before)
        if before is None:
            self.require_free(address)
        if now.mailbox not in self.mailboxes:
            raise no_such("mailbox", "mailbox", mailbox)
        if before != now and [each.mailbox for each in self.aliases.values()].count(now.mailbox) >= MAX_ALIASES:
            raise conflict("mailbox", f"it has {MAX_ALIASES} aliases, which is the most")
        self.aliases[now.address] = now
        return self.close(now, changed=before != now, created=before is None)

    async def get_alias(self, address: Address) -> Alias:
        """One alias."""
        self.touch()
        if str(address) not in self.aliases:
            raise no_such("name", "alias", address)
        return self.aliases[str(address)]

    async def list_aliases(self, domains: Domains, wanted: PageWanted) -> Page[Alias]:
        """Aliases by address, as wanted."""
        self.touch()
        return page_of(self.aliases, wanted, is_in(domains))

    async def delete_alias(self, address: Address, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes an alias."""
        self.begin(act, await self.get_alias(address))
        if not dry_run:
            del self.aliases[str(address)]
        return self.close_deletion([f"alias {address}"], dry_run=dry_run)


class MemoryLists(MemoryWrites):
    """The ListStore."""

    async def put_list(self, change: ListChange, act: Act) -> Written[MailingList]:
        """Creates or replaces a list."""
        self.touch()
        before = self.lists.get(str(change.address))
        self.begin(act, before)
        if before is None:
            self.require_free(change.address, of_list=True)
        now = MailingList(
            address=str(change.address),
            members=tuple(map(str, decide_members(change, self.domains))),
            active=change.active,
            members_only=change.members_only,
            groups=change.groups,
        )
        for name in change.groups:
            if name not in self.groups:
                raise no_such("groups", "group", name)
        groups = [self.groups[name] for name in change.groups]
        check_list_groups(act.standing, before.groups if before is not None else (), groups)
        self.lists[now.address] = now
        return self.close(now, changed=before != now, created=before is None)

    async def get_list(self, address: Address) -> MailingList:
        """One list."""
        self.touch()
        if str(address) not in self.lists:
            raise no_such("name", "list", address)
        return self.lists[str(address)]

    async def list_lists(self, domains: Domains, wanted: PageWanted) -> Page[MailingList]:
        """Lists by address, as wanted."""
        self.touch()
        return cut(page_of(self.lists, wanted, is_in(domains)), lambda each: len(each.members))

    async def delete_list(self, address: Address, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a list."""
        self.begin(act, await self.get_list(address))
        if not dry_run:
            del self.lists[str(address)]
        return self.close_deletion([f"list {address}"], dry_run=dry_run)
