"""Many mailboxes at once in the directory in memory."""

from collections.abc import Sequence

from postbus.contracts.bulk import MailboxRow, RowResult
from postbus.contracts.directory import Alias
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.ids import MailboxId
from postbus.core.lists import BOUNCES_SUFFIX
from postbus.testing.directory_write_base import MemoryWrites, is_in, page_of
from postbusd.directory.administration.import_rules import (
    Decided,
    Ground,
    ImportDomain,
    RowChange,
    decide_import,
)
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.scope import domain_of
from postbusd.directory.administration.values import Act, Page, PageWanted, Written


class MemoryImports(MemoryWrites):
    """The ImportStore."""

    async def import_mailboxes(
        self,
        rows: Sequence[RowChange | RowResult],
        made: frozenset[MailboxId] | None,
        act: Act,
        *,
        atomic: bool = False,
    ) -> Written[Decided]:
        """Decides and writes."""
        self.touch()
        self.begin(act, None)
        decided = decide_import(rows, self._ground(), act.standing, made)
        changed = decided.changes and not (atomic and decided.refused)
        if changed:
            for alias in decided.ended_aliases:
                del self.aliases[alias]
            self.mailboxes.update({each.address: each for each in decided.mailboxes})
            self.aliases.update(
                {alias: Alias(address=alias, mailbox=target) for alias, target in decided.aliases.items()}
            )
        return self.close(decided, changed=changed, detail=decided.describe())

    async def export_mailboxes(self, domains: Domains, after: str, limit: int) -> Page[MailboxRow]:
        """Mailboxes with an address above `after`, in octet order."""
        self.touch()
        page = page_of(self.mailboxes, PageWanted(domain="", after=after, limit=limit, text=""), is_in(domains))
        rows = [
            MailboxRow(
                address=each.address,
                owner=each.owner,
                aliases=tuple(sorted(alias for alias, found in self.aliases.items() if found.mailbox == each.address)),
                active=each.active,
            )
            for each in page.objects
            if each.owner is not None
        ]
        return Page(objects=tuple(rows), more=page.more)

    def _ground(self) -> Ground:
        """All that is there."""
        owners = {
            Owner(kind=OwnerKind.USER, name=name): self.opened_domains(name, by_groups=False) for name in self.users
        }
        owners |= {
            Owner(kind=OwnerKind.GROUP, name=each.name): frozenset([domain_of(each.address)])
            for each in self.groups.values()
        }
        owners |= {Owner(kind=OwnerKind.APP, name=name): frozenset[str]() for name in self.apps}
        claims = {name: self.kind_at(name) for name in (*self.mailboxes, *self.aliases, *self.lists)}
        claims |= {each.address: "group" for each in self.groups.values() if each.address}
        return Ground(
            domains={name: self._domain(name) for name in self.domains},
            claims=claims | {name.replace("@", f"{BOUNCES_SUFFIX}@"): "list" for name in self.lists},
            mailboxes={name: self.shown(name) for name in self.mailboxes},
            aliases={name: each.mailbox for name, each in self.aliases.items()},
            owners=owners,
        )

    def _domain(self, name: str) -> ImportDomain:
        domain = self.domains[name]
        quotas = [
            self.effective_quota(each) or 0 for each in self.mailboxes.values() if domain_of(each.address) == name
        ]
        return ImportDomain(
            alias_of=domain.alias_of,
            default_quota_octets=domain.default_quota_octets,
            quota_octets=domain.quota_octets,
            granted=sum(quotas),
            unlimited=quotas.count(0),
        )
