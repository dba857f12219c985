"""What the administrator's commands need from the database: one Protocol a noun.

Each write is one transaction: the rows, the event of the change in the outbox, and last the revision, so that revision
order is commit order. A write that changes nothing leaves no trace. Every method raises MailError: UNAVAILABLE when the
database is away.
"""

from typing import Protocol

from postbus.contracts.directory import Domain
from postbus.contracts.events import Event
from postbus.mailstore.ports import Publish
from postbusd.directory.administration_values import (
    DomainPage,
    DomainWritten,
    MailboxChange,
    MailboxPage,
    MailboxWritten,
)
from postbusd.directory.ports import DirectoryReader


class DomainStore(Protocol):
    """Domains."""

    async def put_domain(self, domain: Domain, event: Event) -> DomainWritten:
        """Creates or replaces a domain."""
        ...

    async def list_domains(self, after: str, limit: int) -> DomainPage:
        """Domains with a name above `after`, in octet order."""
        ...


class MailboxStore(Protocol):
    """Mailboxes."""

    async def put_mailbox(self, change: MailboxChange, event: Event) -> MailboxWritten:
        """Creates or changes the mailbox of that name.

        Raises MailError: NOT_FOUND (no such domain), ALREADY_EXISTS (create_only), INVALID (new, no password).
        """
        ...

    async def list_mailboxes(self, domain: str, after: str, limit: int) -> MailboxPage:
        """Mailboxes with an address above `after`, in octet order; `domain` empty: of all domains."""
        ...


class Outbox(Protocol):
    """Events of committed changes."""

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Claims up to `limit` events, hands them to `publish`, deletes them; the number relayed."""
        ...


class DirectoryWriter(DomainStore, MailboxStore, Outbox, Protocol):
    """The port of the administrator's commands."""


class DirectoryRepository(DirectoryReader, DirectoryWriter, Protocol):
    """All of it."""
