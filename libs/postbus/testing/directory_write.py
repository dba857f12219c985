"""The writing half of the directory in memory: the fake of `postbusd.directory.administration_ports`."""

import msgspec

from postbus.contracts.directory import Domain, Mailbox, Owner, OwnerKind, User
from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.mailstore.ports import Publish
from postbus.testing.directory_tables import DirectoryTables, StoredPassword
from postbusd.directory.administration_values import (
    DomainPage,
    DomainWritten,
    MailboxChange,
    MailboxPage,
    MailboxWritten,
)


class MemoryWriter(DirectoryTables):
    """The DirectoryWriter."""

    async def put_domain(self, domain: Domain, event: Event) -> DomainWritten:
        """Creates or replaces a domain."""
        self.touch()
        changed = self.domains.get(domain.name) != domain
        self.domains[domain.name] = domain
        return DomainWritten(changed=changed, revision=self.close_write(event, changed), domain=domain)

    async def put_mailbox(self, change: MailboxChange, event: Event) -> MailboxWritten:
        """Creates or changes the mailbox of that name."""
        self.touch()
        address = f"{change.local_part}@{change.domain}"
        before = self.mailboxes.get(address)
        if change.domain not in self.domains:
            raise MailError(ErrorKind.NOT_FOUND, f"address: there is no domain {change.domain} here")
        if before is None and change.password_hash is None:
            raise MailError(ErrorKind.INVALID, "password: a new mailbox needs one")
        if before is not None and change.create_only:
            raise MailError(ErrorKind.ALREADY_EXISTS, "address: there is a mailbox of this name")
        now = before or Mailbox(
            mailbox_id=change.mailbox_id, address=address, owner=Owner(kind=OwnerKind.USER, name=address)
        )
        if change.active is not None:
            now = msgspec.structs.replace(now, active=change.active)
        if change.quota_octets is not None:
            now = msgspec.structs.replace(now, quota_octets=change.quota_octets or None)
        self.mailboxes[address] = now
        self.users.setdefault(address, User(username=address))
        if change.password_hash is not None:
            self.passwords[address] = StoredPassword(secret_hash=change.password_hash)
        changed = before != now or change.password_hash is not None
        revision = self.close_write(event, changed)
        return MailboxWritten(changed=changed, revision=revision, mailbox=now, created=before is None)

    async def list_domains(self, after: str, limit: int) -> DomainPage:
        """Domains with a name above `after`."""
        self.touch()
        names = sorted(name for name in self.domains if name > after)
        return DomainPage(domains=tuple(self.domains[name] for name in names[:limit]), more=len(names) > limit)

    async def list_mailboxes(self, domain: str, after: str, limit: int) -> MailboxPage:
        """Mailboxes with an address above `after`."""
        self.touch()
        names = sorted(name for name in self.mailboxes if name > after and (not domain or name.endswith(f"@{domain}")))
        return MailboxPage(mailboxes=tuple(self.mailboxes[name] for name in names[:limit]), more=len(names) > limit)

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Hands events to `publish` and deletes them."""
        self.touch()
        claimed = self.outbox[:limit]
        if claimed:
            await publish(claimed)
            del self.outbox[: len(claimed)]
        return len(claimed)
