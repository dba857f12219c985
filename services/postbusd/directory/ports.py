"""What directory needs from outside, beyond the ports of the libraries.

Every method raises MailError: UNAVAILABLE when the database is away.
"""

from collections.abc import Sequence
from typing import Protocol

from postbus.contracts.directory import Domain
from postbus.contracts.events import Event
from postbus.mailstore.ports import Publish
from postbusd.directory.values import (
    DomainPage,
    DomainWritten,
    Found,
    Key,
    Login,
    MailboxChange,
    MailboxPage,
    MailboxWritten,
)


class DirectoryReader(Protocol):
    """The port of the resolver and of the login check."""

    async def find(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Found]]:
        """Revision and answers of one snapshot, in one query; every key has an answer."""
        ...

    async def load_login(self, local_part: str, domain: str) -> Login | None:
        """A mailbox with its password by its folded name; None: there is none."""
        ...

    async def revision(self) -> int:
        """The number of the last committed change."""
        ...


class DirectoryWriter(Protocol):
    """The port of the administrator's commands.

    Each write is one transaction: the rows, the event of the change in the outbox, and last the revision, so that
    revision order is commit order. A write that changes nothing leaves no trace.
    """

    async def put_domain(self, domain: Domain, event: Event) -> DomainWritten:
        """Creates or replaces a domain."""
        ...

    async def put_mailbox(self, change: MailboxChange, event: Event) -> MailboxWritten:
        """Creates or changes the mailbox of that name.

        Raises MailError: NOT_FOUND (no such domain), ALREADY_EXISTS (create_only), INVALID (new, no password).
        """
        ...

    async def list_domains(self, after: str, limit: int) -> DomainPage:
        """Domains with a name above `after`, in octet order."""
        ...

    async def list_mailboxes(self, domain: str, after: str, limit: int) -> MailboxPage:
        """Mailboxes with an address above `after`, in octet order; `domain` empty: of all domains."""
        ...

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Claims up to `limit` events, hands them to `publish`, deletes them; the number relayed."""
        ...


class DirectoryRepository(DirectoryReader, DirectoryWriter, Protocol):
    """All of it."""


class PasswordHasher(Protocol):
    """Slow hashing on bounded threads."""

    async def hash(self, password: str) -> str:
        """A new hash. Raises MailError: UNAVAILABLE when too many wait."""
        ...

    async def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password belongs to the hash. Raises MailError: UNAVAILABLE when too many wait."""
        ...

    async def verify_nothing(self, password: str) -> None:
        """Costs what `verify` costs: for accounts that do not exist."""
        ...
