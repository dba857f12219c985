"""What the administrator's commands need from the database: one Protocol a noun.

Each write is one transaction: the rows, the event of the change in the outbox, and last the revision, so that revision
order is commit order. Writes follow one another: each sees all that the ones before it did. A write that changes
nothing leaves no trace; one whose condition says `plan` is decided as ever and then taken back. Before the change the
writer checks that the actor's standing is still the act's (CONFLICT) and that the object is what the condition names
(CHANGED). A `find_` or `delete_` of what is not there raises NOT_FOUND; a `delete_` that is a dry run
writes nothing and says the same. Every method raises MailError: UNAVAILABLE when the database is away.
"""

from collections.abc import Sequence
from typing import Protocol

from postbus.contracts.app_passwords import AppPassword
from postbus.contracts.bulk import MailboxRow, RowResult
from postbus.contracts.directory import (
    Alias,
    App,
    Group,
    User,
)
from postbus.contracts.domains import Domain, SignatureReply
from postbus.contracts.events import Event
from postbus.contracts.identity_provider import IdentityProvider, IdentityProviderReply
from postbus.contracts.mailbox_life import ArchivedMailbox
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.mailing_lists import MailingList
from postbus.contracts.owners import Owner
from postbus.contracts.policy import Policy, PolicyReply
from postbus.contracts.standing import Standing
from postbus.core.address import Address
from postbus.core.ids import MailboxId
from postbus.mailstore.ports import Publish
from postbusd.directory.administration.import_rules import Decided, RowChange
from postbusd.directory.administration.values import (
    Act,
    AppChange,
    Deleted,
    DomainChange,
    ListChange,
    MailboxChange,
    Page,
    PageWanted,
    Place,
    UserChange,
    Written,
)
from postbusd.directory.oidc.ports import ProviderReader
from postbusd.directory.ports import DirectoryReader, PasswordKeeper
from postbusd.directory.values import StoredPassword, StoredSecondFactor, StoredSignIn

Domains = tuple[str, ...] | None
"""What a list shows: only what is of these domains; None: everything."""


class StandingStore(Protocol):
    """Who may administer what."""

    async def load_standing(self, actor: str) -> Standing:
        """Raises MailError: FORBIDDEN (there is no such active user)."""
        ...


class DomainStore(Protocol):
    """Domains."""

    async def put_domain(self, change: DomainChange, act: Act) -> Written[Domain]:
        """Creates or replaces a domain.

        Raises MailError: NOT_FOUND (catch_all), INVALID (relay.password), CONFLICT (mail_host).
        """
        ...

    async def find_signature(self, name: str) -> SignatureReply:
        """Of a domain, ours or not."""
        ...

    async def get_domain(self, name: str) -> Domain:
        """One domain, its relay without the password."""
        ...

    async def list_domains(self, domains: Domains, wanted: PageWanted) -> Page[Domain]:
        """Domains by name, as wanted."""
        ...

    async def delete_domain(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """Raises MailError: CONFLICT while anything lives in it."""
        ...


class MailboxStore(Protocol):
    """Mailboxes."""

    async def find_place(self, address: Address) -> Place:
        """What stands at an address."""
        ...

    async def put_mailbox(self, change: MailboxChange, act: Act) -> Written[Mailbox]:
        """Creates or changes a mailbox, by `rules.decide_mailbox`. Raises MailError: what that raises, NOT_FOUND (no
        such owner), CONFLICT (it ended meanwhile)."""
        ...

    async def get_mailbox(self, address: Address) -> Mailbox:
        """One mailbox, without its usage."""
        ...

    async def list_mailboxes(self, domains: Domains, wanted: PageWanted) -> Page[Mailbox]:
        """Mailboxes by address, as wanted; `domains` None: of all."""
        ...

    async def delete_mailbox(self, address: Address, act: Act, *, dry_run: bool, purge: bool = False) -> Deleted:
        """With its aliases, catch-all entries, and its own user who has nothing else; `purge`: its mail is to go too.

        Raises MailError: CONFLICT (an app's).
        """
        ...

    async def rename_mailbox(self, address: Address, new: Address, act: Act, *, keep_alias: bool) -> Written[Mailbox]:
        """Raises MailError: NOT_FOUND (the mailbox, the new domain), CONFLICT (the address is taken; an app's)."""
        ...


class ArchiveStore(Protocol):
    """Deleted mailboxes whose mail is still in the store; `purge_ms`, messages and octets are not told here."""

    async def get_archived(self, mailbox_id: MailboxId) -> ArchivedMailbox:
        """Raises MailError: NOT_FOUND."""
        ...

    async def list_archived(self, domains: Domains, address: str, after: str, limit: int) -> Page[ArchivedMailbox]:
        """Those with an id above `after`; `address` empty: of any."""
        ...

    async def restore_mailbox(
        self, mailbox_id: MailboxId, address: Address, owner: Owner | None, act: Act
    ) -> Written[Mailbox]:
        """By `rules.decide_restore`.

        Raises MailError: what that raises, NOT_FOUND (mailbox_id, domain, owner), CONFLICT (address taken), FORBIDDEN
        (owner).
        """
        ...

    async def mark_purge(self, mailbox_id: MailboxId, act: Act) -> Written[ArchivedMailbox]:
        """It can't be restored any more. Raises MailError: NOT_FOUND."""
        ...

    async def due_purges(self, before_ms: int | None, limit: int) -> tuple[ArchivedMailbox, ...]:
        """Those that are marked; first marks what was deleted before that time (None: nothing)."""
        ...

    async def end_archived(self, mailbox_id: MailboxId, event: Event) -> bool:
        """Its mail is gone: forgets it, with the event. False: it was forgotten already."""
        ...


class ImportStore(Protocol):
    """Many mailboxes at once."""

    async def import_mailboxes(
        self,
        rows: Sequence[RowChange | RowResult],
        made: frozenset[MailboxId] | None,
        act: Act,
        *,
        atomic: bool = False,
    ) -> Written[Decided]:
        """Decides by `import_rules.decide_import` and writes what is not refused; `atomic`: nothing when a row is."""
        ...

    async def export_mailboxes(self, domains: Domains, after: str, limit: int) -> Page[MailboxRow]:
        """Mailboxes with an address above `after`; `domains` None: of all."""
        ...


class UserStore(Protocol):
    """Users."""

    async def load_password(self, username: str) -> StoredPassword | None:
        """None: there is no such user, or he has no password."""
        ...

    async def change_password(self, username: str, before: str, password: StoredPassword, act: Act) -> Written[User]:
        """Raises MailError: CONFLICT (it has not the hash `before` any more)."""
        ...

    async def put_user(self, change: UserChange, act: Act) -> Written[User]:
        """Creates or replaces a user."""
        ...

    async def get_user(self, username: str) -> User:
        """One user."""
        ...

    async def owned_domains(self, username: str) -> frozenset[str]:
        """Of the mailboxes that a user owns himself; of one who is not there: none."""
        ...

    async def list_users(self, domains: Domains, wanted: PageWanted) -> Page[User]:
        """Users by name, as wanted; `domains`: of their names, or of mailboxes that they own."""
        ...

    async def delete_user(self, username: str, act: Act, *, dry_run: bool) -> Deleted:
        """With his memberships. Raises MailError: CONFLICT while he owns a mailbox."""
        ...


class AppPasswordStore(Protocol):
    """App passwords. Every method raises MailError: FORBIDDEN, NOT_FOUND (username)."""

    async def add_app_password(
        self, username: str, made: AppPassword, index: str, most: int, act: Act
    ) -> Written[AppPassword]:
        """`index` of its secret. Raises MailError: ALREADY_EXISTS, LIMIT (there are `most` already)."""
        ...

    async def list_app_passwords(self, username: str, standing: Standing) -> tuple[AppPassword, ...]:
        """By name."""
        ...

    async def delete_app_password(self, username: str, name: str, act: Act) -> Written[AppPassword]:
        """The one that was there. Raises MailError: NOT_FOUND."""
        ...


class SignInStore(Protocol):
    """What users sign in to the API with."""

    async def load_sign_in(self, username: str, index: str) -> StoredSignIn | None:
        """With the app password of this index, where the user has it; None: there is no such user."""
        ...

    async def load_sign_in_digests(self, username: str) -> tuple[str, ...]:
        """`passwords.digest_of` each secret that signs this user in now; empty: none, or the user is not active."""
        ...

    async def take_code_step(self, username: str, step: int) -> bool:
        """Notes that the code of this step was shown; False: it, or a later one, was before."""
        ...

    async def take_recovery_code(self, username: str, index: str) -> bool:
        """Ends a code; False: there is none with this index."""
        ...


class SecondFactorStore(Protocol):
    """Second factors."""

    async def load_second_factor(self, username: str, standing: Standing) -> StoredSecondFactor | None:
        """Also one that is not in force; None: there is none. Raises MailError: FORBIDDEN, NOT_FOUND (username)."""
        ...

    async def begin_second_factor(self, username: str, secret_sealed: bytes) -> bool:
        """In place of one that is not in force; False: there is one in force, or the user is gone."""
        ...

    async def confirm_second_factor(
        self, username: str, secret_sealed: bytes, step: int, recovery_indexes: Sequence[str], act: Act
    ) -> Written[StoredSecondFactor]:
        """Puts it in force; `step`: of its first code. Raises MailError: CONFLICT (it is another one by now)."""
        ...

    async def end_second_factor(self, username: str, act: Act) -> Written[StoredSecondFactor] | None:
        """The one that was in force; None: there is none. Raises MailError: FORBIDDEN, NOT_FOUND (username)."""
        ...


class ResetStore(Protocol):
    """Codes for who has forgotten the password."""

    async def begin_reset(self, username: str, index: str, seconds: int, pause_seconds: int) -> str:
        """A code in place of the one before, unless that is younger than `pause_seconds`; the recovery address.

        Empty: no code, as there is no such active user with a recovery address, or it is too early.
        """
        ...

    async def find_reset(self, index: str) -> str | None:
        """The active user whose code it is; None: nobody's, or it is over."""
        ...

    async def finish_reset(self, index: str, password: StoredPassword, act: Act) -> Written[User] | None:
        """Ends the code and sets its user's password; None: there is no such code any more."""
        ...


class IdentityProviderStore(ProviderReader, Protocol):
    """The identity provider."""

    async def put_identity_provider(
        self, provider: IdentityProvider | None, secret_sealed: bytes | None, act: Act
    ) -> Written[IdentityProviderReply]:
        """By `rules.decide_provider`; None: there is none any more."""
        ...


class GroupStore(Protocol):
    """Groups."""

    async def put_group(self, group: Group, act: Act) -> Written[Group]:
        """Creates or replaces a group. Raises MailError: NOT_FOUND (members, address), CONFLICT (address taken)."""
        ...

    async def get_group(self, name: str) -> Group:
        """One group, its members in order."""
        ...

    async def list_groups(self, domains: Domains, wanted: PageWanted) -> Page[Group]:
        """Groups by name, as wanted; `domains`: of their addresses.

        A page ends before its members are more than MAX_PAGE_MEMBERS.
        """
        ...

    async def delete_group(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """Raises MailError: CONFLICT while it owns a mailbox."""
        ...


class AppStore(Protocol):
    """Apps."""

    async def find_app(self, name: str) -> App | None:
        """None: there is none."""
        ...

    async def put_app(self, change: AppChange, act: Act) -> Written[App]:
        """Creates or changes an app with its mailbox, by `rules.decide_app`. Raises MailError: what that raises,
        NOT_FOUND (no such domain), CONFLICT (address taken; it ended meanwhile)."""
        ...

    async def list_apps(self, domains: Domains, wanted: PageWanted) -> Page[App]:
        """Apps by name, as wanted; `domains`: of their mailboxes."""
        ...

    async def delete_app(self, name: str, act: Act, *, dry_run: bool) -> Deleted:
        """With its mailbox, that one's aliases and catch-all entries."""
        ...


class AliasStore(Protocol):
    """Aliases."""

    async def put_alias(self, address: Address, mailbox: Address, act: Act) -> Written[Alias]:
        """Creates or replaces an alias. Raises MailError: NOT_FOUND (address, mailbox), CONFLICT (address taken; too
        many aliases of one mailbox)."""
        ...

    async def get_alias(self, address: Address) -> Alias:
        """One alias."""
        ...

    async def list_aliases(self, domains: Domains, wanted: PageWanted) -> Page[Alias]:
        """Aliases by address, as wanted; `domains`: that they are in."""
        ...

    async def delete_alias(self, address: Address, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes an alias."""
        ...


class ListStore(Protocol):
    """Lists."""

    async def put_list(self, change: ListChange, act: Act) -> Written[MailingList]:
        """Creates or replaces a list; members at our domains are folded, all are put in order, each once.

        Raises MailError: NOT_FOUND (address), CONFLICT (address taken), INVALID (a member of itself).
        """
        ...

    async def get_list(self, address: Address) -> MailingList:
        """One list, its members in order."""
        ...

    async def list_lists(self, domains: Domains, wanted: PageWanted) -> Page[MailingList]:
        """Lists by address, as wanted; a page ends before its members are more than MAX_PAGE_MEMBERS."""
        ...

    async def delete_list(self, address: Address, act: Act, *, dry_run: bool) -> Deleted:
        """Deletes a list."""
        ...


class PolicyStore(Protocol):
    """The policy."""

    async def load_policy(self) -> PolicyReply:
        """With the revision of the same moment, and what domains add."""
        ...

    async def put_policy(self, policy: Policy, act: Act) -> Written[Policy]:
        """Replaces it."""
        ...


class Outbox(Protocol):
    """Events of committed changes."""

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Claims up to `limit` events, hands them to `publish`, deletes them; the number relayed."""
        ...


class DirectoryWriter(
    StandingStore,
    DomainStore,
    MailboxStore,
    ArchiveStore,
    ImportStore,
    UserStore,
    AppPasswordStore,
    SignInStore,
    SecondFactorStore,
    ResetStore,
    IdentityProviderStore,
    GroupStore,
    AppStore,
    AliasStore,
    ListStore,
    PolicyStore,
    Outbox,
    Protocol,
):
    """The port of the administrator's commands."""


class DirectoryRepository(DirectoryReader, DirectoryWriter, PasswordKeeper, Protocol):
    """All of it."""


MAX_PAGE_MEMBERS = 10_000
"""Of groups or lists, in one page with more than one of them: what a reply may hold."""
