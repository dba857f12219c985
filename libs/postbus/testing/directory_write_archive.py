"""Other addresses of mailboxes, and deleted mailboxes, of the directory in memory."""

import msgspec

from postbus.contracts.directory import Alias
from postbus.contracts.events import Event
from postbus.contracts.mailbox_life import ArchivedMailbox
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.address import Address
from postbus.core.ids import MailboxId
from postbus.testing.directory_write_people import MemoryApps
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import no_such
from postbusd.directory.administration.rules import check_rename, decide_restore
from postbusd.directory.administration.scope import check_owner, domain_of
from postbusd.directory.administration.values import Act, Page, Written


class MemoryArchive(MemoryApps):
    """The ArchiveStore, and new addresses."""

    async def rename_mailbox(self, address: Address, new: Address, act: Act, *, keep_alias: bool) -> Written[Mailbox]:
        """Its aliases and catch-all entries follow it."""
        self.touch()
        if str(address) not in self.mailboxes:
            raise no_such("address", "mailbox", address)
        mailbox = self.shown(str(address))
        self.begin(act, mailbox)
        check_rename(mailbox, new)
        self.require_free(new)
        with self.undone_by_refusal():
            self._move_mailbox(str(address), str(new))
            if keep_alias:
                self.aliases[str(address)] = Alias(address=str(address), mailbox=str(new))
            if new.domain != address.domain:
                self.require_quota(new.domain)
        return self.close(self.shown(str(new)), changed=True)

    async def get_archived(self, mailbox_id: MailboxId) -> ArchivedMailbox:
        """Raises MailError: NOT_FOUND."""
        self.touch()
        if mailbox_id not in self.deleted_mailboxes:
            raise no_such("mailbox_id", "archived mailbox", mailbox_id)
        return self.deleted_mailboxes[mailbox_id][0]

    async def list_archived(self, domains: Domains, address: str, after: str, limit: int) -> Page[ArchivedMailbox]:
        """Those with an id above `after`."""
        self.touch()
        found = [
            each
            for name, (each, _) in sorted(self.deleted_mailboxes.items())
            if name > after
            and (domains is None or domain_of(each.address) in domains)
            and address in ("", each.address)
        ]
        return Page(objects=tuple(found[:limit]), more=len(found) > limit)

    async def restore_mailbox(
        self, mailbox_id: MailboxId, address: Address, owner: Owner | None, act: Act
    ) -> Written[Mailbox]:
        """The same mailbox_id."""
        archived = await self.get_archived(mailbox_id)
        self.begin(act, None)
        kept = msgspec.structs.replace(self.deleted_mailboxes[mailbox_id][1], address=str(address), send_as=())
        now = decide_restore(archived, kept, owner)
        self.require_free(address)
        assert now.owner is not None
        self._check_new_owner(act, now.owner)
        if not self.owner_exists(now.owner):
            raise no_such("owner", now.owner.kind.value, now.owner.name)
        with self.undone_by_refusal():
            self.mailboxes[str(address)] = now
            del self.deleted_mailboxes[mailbox_id]
            self.require_quota(address.domain)
        return self.close(self.shown(str(address)), changed=True, created=True)

    async def mark_purge(self, mailbox_id: MailboxId, act: Act) -> Written[ArchivedMailbox]:
        """It can't be restored any more."""
        before = await self.get_archived(mailbox_id)
        self.begin(act, None)
        now = msgspec.structs.replace(before, purging=True)
        self.deleted_mailboxes[mailbox_id] = (now, self.deleted_mailboxes[mailbox_id][1])
        return self.close(now, changed=now != before)

    async def due_purges(self, before_ms: int | None, limit: int) -> tuple[ArchivedMailbox, ...]:
        """Those that are marked."""
        self.touch()
        for name, (each, mailbox) in self.deleted_mailboxes.items():
            if before_ms is not None and each.deleted_ms < before_ms:
                self.deleted_mailboxes[name] = (msgspec.structs.replace(each, purging=True), mailbox)
        due = [each for _, (each, _) in sorted(self.deleted_mailboxes.items()) if each.purging]
        return tuple(due[:limit])

    async def end_archived(self, mailbox_id: MailboxId, event: Event) -> bool:
        """Its mail is gone."""
        self.touch()
        found = self.deleted_mailboxes.get(mailbox_id)
        if found is None or not found[0].purging:
            return False
        del self.deleted_mailboxes[mailbox_id]
        self.outbox.append(event)
        return True

    def _check_new_owner(self, act: Act, owner: Owner) -> None:
        domains = self.opened_domains(owner.name, by_groups=False) | {domain_of(owner.name)}
        if owner.kind is OwnerKind.GROUP:
            group = self.groups.get(owner.name)
            domains = frozenset([domain_of(group.address)]) if group is not None else frozenset()
        check_owner(act.standing, owner, domains)
