"""The rows of a directory in memory, which both halves of the fake (`directory`, `directory_write`) work on.

Every dict is in the order of creation; values are the contract's own.
"""

from postbus.contracts.app_passwords import AppPassword
from postbus.contracts.directory import Alias, App, Domain, Group, MailingList, User
from postbus.contracts.events import Event
from postbus.contracts.mailbox_life import ArchivedMailbox
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.policy import Policy
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.core.lists import BOUNCES_SUFFIX
from postbusd.directory.values import StoredPassword

__all__ = ["DirectoryTables", "StoredPassword"]


class DirectoryTables:
    """`away` makes every call UNAVAILABLE; `reads` counts calls."""

    def __init__(self) -> None:
        self.away = False
        self.reads = 0
        self.clock_ms = 1_790_000_000_000
        """The database's time."""
        self.number = 1
        """The revision."""
        self.domains: dict[str, Domain] = {}
        """Relays without their passwords."""
        self.relay_passwords: dict[str, bytes] = {}
        """Sealed, by domain."""
        self.mailboxes: dict[str, Mailbox] = {}
        """By address, with their owners."""
        self.deleted_mailboxes: dict[MailboxId, tuple[ArchivedMailbox, Mailbox]] = {}
        """Those whose mail is still in the store, and what they were."""
        self.users: dict[str, User] = {}
        self.passwords: dict[str, StoredPassword] = {}
        """By username."""
        self.app_passwords: dict[str, dict[str, AppPassword]] = {}
        """By username and name."""
        self.app_password_indexes: dict[tuple[str, str], str] = {}
        self.former_digests: dict[str, str] = {}
        """By username."""
        self.groups: dict[str, Group] = {}
        self.apps: dict[str, App] = {}
        self.credentials: dict[str, str] = {}
        """Indexes of generated credentials, by app."""
        self.aliases: dict[str, Alias] = {}
        """By address, wildcards too."""
        self.lists: dict[str, MailingList] = {}
        """By address."""
        self.policy = Policy()
        self.outbox: list[Event] = []

    def touch(self) -> None:
        """Counts a call. Raises MailError: UNAVAILABLE when the directory is away."""
        self.reads += 1
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "the directory's database is not available")

    def close_write(self, event: Event, changed: bool) -> int:
        """The end of a write: its event, and the revision then."""
        if changed:
            self.outbox.append(event)
            self.number += 1
        return self.number

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

    def effective_quota(self, mailbox: Mailbox) -> int | None:
        """What holds; None: unlimited."""
        default = self.domains[mailbox.address.rpartition("@")[2]].default_quota_octets
        quota = mailbox.quota_octets if mailbox.quota_octets is not None else default
        return quota or None
