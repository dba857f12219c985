"""The rows of a directory in memory, which both halves of the fake (`directory`, `directory_write`) work on.

Every dict is in the order of creation; values are the contract's own.
"""

from postbus.contracts.app_passwords import AppPassword
from postbus.contracts.directory import (
    Alias,
    App,
    Group,
    User,
)
from postbus.contracts.domains import Domain
from postbus.contracts.events import Event
from postbus.contracts.mailbox_life import ArchivedMailbox
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.mailing_lists import MailingList
from postbus.contracts.policy import Policy
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.core.lists import BOUNCES_SUFFIX
from postbusd.directory.oidc.ports import StoredProvider
from postbusd.directory.passwords import digest_of, provider_digest
from postbusd.directory.values import StoredPassword, StoredSecondFactor

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
        self.second_factors: dict[str, StoredSecondFactor] = {}
        """By username, also those that are not in force."""
        self.recovery_indexes: dict[str, tuple[str, ...]] = {}
        self.resets: dict[str, tuple[str, int, int]] = {}
        """By username: index of the code, when it was made, when it ends (`clock_ms`)."""
        self.identity_provider: StoredProvider | None = None
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

    def has_second_factor(self, username: str) -> bool:
        """Whether one is in force."""
        stored = self.second_factors.get(username)
        return stored is not None and stored.since_ms is not None

    def drop_secrets(self, username: str) -> None:
        """Of a user who goes."""
        for table in (self.passwords, self.former_digests, self.app_passwords, self.second_factors, self.resets):
            table.pop(username, None)
        self.app_password_indexes = {key: each for key, each in self.app_password_indexes.items() if key[0] != username}

    def password_digests(self, username: str) -> list[str]:
        """Of a user's password now, and of the same password before it was hashed anew."""
        stored = self.passwords.get(username)
        former = self.former_digests.get(username)
        return [*([digest_of(stored.secret_hash)] if stored is not None else []), *([former] if former else [])]

    def provider_digests(self) -> list[str]:
        """What sign-ins by the identity provider are remembered by."""
        return [provider_digest(self.identity_provider.provider.issuer)] if self.identity_provider is not None else []

    def effective_quota(self, mailbox: Mailbox) -> int | None:
        """What holds; None: unlimited."""
        default = self.domains[mailbox.address.rpartition("@")[2]].default_quota_octets
        quota = mailbox.quota_octets if mailbox.quota_octets is not None else default
        return quota or None
