"""directory's port: who receives what, who may log in, and the administrator's objects of the frame."""

import enum
from typing import Protocol

import msgspec

from postbus.contracts.app_passwords import AppPasswordAdmin
from postbus.contracts.bulk import MailboxImporter
from postbus.contracts.condition import Condition
from postbus.contracts.domains import DomainAdmin, SignatureFinder
from postbus.contracts.identity_provider import IdentityProviderAdmin, ProviderSignIn, TokenAuthenticator
from postbus.contracts.logins import Authenticator, LoginConfirmer
from postbus.contracts.mailbox_life import MailboxLife
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.mailing_lists import ListAdmin
from postbus.contracts.objects import DeleteReply, DeleteRequest, ObjectRequest, PageRequest
from postbus.contracts.own_password import OwnPassword
from postbus.contracts.owners import Owner
from postbus.contracts.password_reset import PasswordReset
from postbus.contracts.policy import PolicyAdmin, PolicyFinder
from postbus.contracts.relays import Relay
from postbus.contracts.second_factor import SecondFactorAdmin
from postbus.contracts.sign_in import SignIn
from postbus.contracts.standing import StandingFinder
from postbus.core.errors import ErrorKind
from postbus.core.ids import MailboxId


class Outcome(enum.StrEnum):
    """What becomes of mail for an address."""

    MAILBOX = "mailbox"
    """To `targets`, one or more mailboxes of ours."""
    LIST = "list"
    FORWARD = "forward"
    REJECT = "reject"
    """Refuse in SMTP; `kind` and `reason` say how."""
    LATER = "later"
    """Can't be told now: 451."""
    REMOTE = "remote"
    """The domain is not ours: relaying needs authentication (promise 3)."""


class Via(enum.StrEnum):
    """Which step of the resolver gave the answer (architecture §3.2)."""

    NONE = "none"
    SYSTEM = "system"
    MAILBOX = "mailbox"
    ALIAS = "alias"
    WILDCARD = "wildcard"
    SUB_ADDRESS = "sub_address"
    GROUP = "group"
    LIST = "list"
    CATCH_ALL = "catch_all"


class MailboxTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One mailbox that an address leads to."""

    mailbox_id: MailboxId
    address: str
    """The mailbox's own address."""
    detail: str = ""
    """Sub-address part (RFC 5233 §4), without the separator."""
    quota_octets: int | None = None
    """None: unlimited."""
    over_quota: bool = False
    script_hash: str = ""
    """Hash of the active Sieve script; empty: none."""
    free_octets: int | None = None
    """What its quota leaves; None: unlimited."""


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one forward_path."""

    forward_path: str
    outcome: Outcome
    targets: tuple[MailboxTarget, ...] = ()
    kind: ErrorKind | None = None
    reason: str = ""
    via: Via = Via.NONE
    incoming: bool = True
    """Of the domain, where it is ours. False: refused from outside, and mail of our own users goes out by MX. `targets`
    and `via` are told all the same: the sender check needs them."""
    remotes: tuple[str, ...] = ()
    """LIST: the members at other hosts; mail to them leaves with `bounce_path` as its reverse_path."""
    bounce_path: str = ""
    """LIST: where failures of its copies go; the list is the mediator (docs/glossary.md)."""
    members_only: bool = False
    """LIST: only members may post; delivery's Precheck says who does (promise 3)."""
    masquerading_domain: str = ""
    """The address's domain in its one form, where it is ours and its mailboxes may send as any address of it."""
    senders: tuple[MailboxId, ...] = ()
    """Mailboxes that have been granted to send as this address."""
    max_message_octets: int | None = None
    """The largest message that the address's domain takes; None: what the policy says."""


class ResolveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All forward_paths of a transaction at once; addresses as received, without angle brackets."""

    forward_paths: tuple[str, ...]
    bypass_cache: bool = False
    """Read the database: a cached negative answer is confirmed before any 5xx (promise 4)."""


class ResolveReply(msgspec.Struct, frozen=True, kw_only=True):
    """Resolutions in the order asked for."""

    resolutions: tuple[Resolution, ...]
    revision: int
    """The directory's revision that the answers belong to."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The way out for mail of one of our domains."""

    relay: Relay | None = None
    """None: to the recipient's MX."""
    signing_domain: str = ""
    """The `d=` of its DKIM signature: one of our domains; empty: none of ours, nothing is signed."""
    revision: int = 0


class FindRouteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """By the domain that a message is from: the author's, a list's, or the mail host's name."""

    domain: str


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Of a request that may leave them as they are."""

    addresses: tuple[str, ...] = ()


DOMAINS_QUOTA = -1
"""In place of a quota: the default of the mailbox's domain."""


class PutMailboxRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates a mailbox or changes the one with that address. None leaves a value as it is (or at its default)."""

    address: str
    actor: str
    password: str | None = None
    """Only for a mailbox of the user who is named by its address, who is made with it when `owner` is not given; needed
    at creation then. Stored as argon2id."""
    active: bool | None = None
    quota_octets: int | None = None
    """0: unlimited; DOMAINS_QUOTA: the default of its domain."""
    create_only: bool = False
    """ALREADY_EXISTS when there is one."""
    owner: Owner | None = None
    condition: Condition = Condition()
    pop3: bool | None = None
    send_as: Addresses | None = None
    password_hash: str = ""
    """In place of a password: its hash by another system, replaced at the first login with it."""


class PutMailboxReply(msgspec.Struct, frozen=True, kw_only=True):
    """The mailbox as it is now."""

    mailbox: Mailbox
    created: bool


class ListMailboxesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Mailboxes by address, after `after`, at most `limit`; `domain` empty: all."""

    actor: str
    domain: str = ""
    after: str = ""
    limit: int = 100
    text: str = ""
    """Only names with this in them, in either case; of users also display names."""
    descending: bool = False
    """From the last name to the first; `after` is the name that the page before ended with all the same."""


class ListMailboxesReply(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    mailboxes: tuple[Mailbox, ...]
    next_after: str = ""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person who logs in; an inactive one opens no mailbox."""

    username: str
    """Lower case; free of spaces. The owner of a mailbox made with a password is named by its address."""
    display_name: str = ""
    active: bool = True
    superadmin: bool = False
    """Administers everything."""
    admin_of: tuple[str, ...] = ()
    """Domains whose objects this user administers."""
    recovery_address: str = ""
    """Where a forgotten password is reset; empty: nowhere."""


class PutUserRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates or replaces a user."""

    user: User
    actor: str
    password: str | None = None
    """None keeps the one there is; a new user without one can't log in. Stored as argon2id."""
    condition: Condition = Condition()
    password_hash: str = ""
    """In place of a password: its hash by another system, replaced at the first login with it."""


class PutUserReply(msgspec.Struct, frozen=True, kw_only=True):
    """The user as it is now."""

    user: User
    created: bool


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    users: tuple[User, ...]
    next_after: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Users who share something: a mailbox that each opens with the own password, an address that reaches all."""

    name: str
    members: tuple[str, ...] = ()
    """Usernames."""
    address: str = ""
    """Mail to it goes to the oldest active mailbox of each active member; empty: none."""


class PutGroupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates or replaces a group."""

    group: Group
    actor: str
    condition: Condition = Condition()


class PutGroupReply(msgspec.Struct, frozen=True, kw_only=True):
    """The group as it is now."""

    group: Group
    created: bool


class GroupPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    groups: tuple[Group, ...]
    next_after: str = ""


class App(msgspec.Struct, frozen=True, kw_only=True):
    """A program that sends mail, with a mailbox and one credential of its own."""

    name: str
    address: str
    """Of its mailbox: NAME.app@DOMAIN, until the administrator takes another."""
    active: bool = True


class PutAppRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates an app in `domain`, or changes the one of that name."""

    name: str
    actor: str
    domain: str = ""
    """Needed at creation."""
    address: str = ""
    """Empty: NAME.app@DOMAIN at creation, afterwards as it is."""
    active: bool = True
    rotate: bool = False
    """Makes a new credential; the old one ends at once."""
    condition: Condition = Condition()


class PutAppReply(msgspec.Struct, frozen=True, kw_only=True):
    """The app as it is now; `credential` is told once, when it is made."""

    app: App
    created: bool
    credential: str = ""


class AppPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    apps: tuple[App, ...]
    next_after: str = ""


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """Another name of a mailbox."""

    address: str
    """`*` in the local_part matches zero or more characters; of several the most specific wins."""
    mailbox: str
    """The mailbox's address, of the same or another domain."""


class PutAliasRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates or replaces an alias."""

    alias: Alias
    actor: str
    condition: Condition = Condition()


class PutAliasReply(msgspec.Struct, frozen=True, kw_only=True):
    """The alias as it is now."""

    alias: Alias
    created: bool


class AliasPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    aliases: tuple[Alias, ...]
    next_after: str = ""


class AddressResolver(Protocol):
    """The port of smtp-edge, filter and delivery; imap-gateway asks for the quota of a mailbox before it refuses."""

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        """What becomes of mail for these addresses (architecture §3.2)."""
        ...


class RouteFinder(Protocol):
    """The port of delivery."""

    async def find_route(self, request: FindRouteRequest) -> Route:
        """The way out for mail of a domain, and what it is signed as: the domain itself or the nearest of ours above.

        Raises MailError: UNAVAILABLE.
        """
        ...


class MailboxAdmin(Protocol):
    """The administrator's mailboxes."""

    async def put_mailbox(self, request: PutMailboxRequest) -> PutMailboxReply:
        """Creates or changes a mailbox; idempotent."""
        ...

    async def list_mailboxes(self, request: ListMailboxesRequest) -> ListMailboxesReply:
        """One page of mailboxes."""
        ...

    async def get_mailbox(self, request: ObjectRequest) -> Mailbox:
        """One mailbox."""
        ...

    async def delete_mailbox(self, request: DeleteRequest) -> DeleteReply:
        """Ends a mailbox and its aliases; its mail stays in the store until a purge (a later command)."""
        ...


class UserAdmin(Protocol):
    """The administrator's users."""

    async def put_user(self, request: PutUserRequest) -> PutUserReply:
        """Creates or replaces a user; idempotent."""
        ...

    async def get_user(self, request: ObjectRequest) -> User:
        """One user."""
        ...

    async def list_users(self, request: PageRequest) -> UserPage:
        """One page of users."""
        ...

    async def delete_user(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a user who owns no mailbox; memberships end."""
        ...


class GroupAdmin(Protocol):
    """The administrator's groups."""

    async def put_group(self, request: PutGroupRequest) -> PutGroupReply:
        """Creates or replaces a group; idempotent."""
        ...

    async def get_group(self, request: ObjectRequest) -> Group:
        """One group."""
        ...

    async def list_groups(self, request: PageRequest) -> GroupPage:
        """One page of groups."""
        ...

    async def delete_group(self, request: DeleteRequest) -> DeleteReply:
        """Deletes a group that owns no mailbox."""
        ...


class AppAdmin(Protocol):
    """The administrator's apps."""

    async def put_app(self, request: PutAppRequest) -> PutAppReply:
        """Creates or changes an app, its mailbox with it."""
        ...

    async def get_app(self, request: ObjectRequest) -> App:
        """One app."""
        ...

    async def list_apps(self, request: PageRequest) -> AppPage:
        """One page of apps."""
        ...

    async def delete_app(self, request: DeleteRequest) -> DeleteReply:
        """Deletes an app and ends its mailbox."""
        ...


class AliasAdmin(Protocol):
    """The administrator's aliases."""

    async def put_alias(self, request: PutAliasRequest) -> PutAliasReply:
        """Creates or replaces an alias; CONFLICT where the address is another object's."""
        ...

    async def get_alias(self, request: ObjectRequest) -> Alias:
        """One alias."""
        ...

    async def list_aliases(self, request: PageRequest) -> AliasPage:
        """One page of aliases, of the domain that they are in."""
        ...

    async def delete_alias(self, request: DeleteRequest) -> DeleteReply:
        """Deletes an alias."""
        ...


class DirectoryAdmin(
    DomainAdmin,
    MailboxAdmin,
    MailboxImporter,
    MailboxLife,
    UserAdmin,
    GroupAdmin,
    AppAdmin,
    AliasAdmin,
    ListAdmin,
    AppPasswordAdmin,
    OwnPassword,
    SecondFactorAdmin,
    PasswordReset,
    SignIn,
    ProviderSignIn,
    IdentityProviderAdmin,
    PolicyAdmin,
    StandingFinder,
    Protocol,
):
    """The port of admin-api."""


class Directory(
    AddressResolver,
    RouteFinder,
    PolicyFinder,
    SignatureFinder,
    Authenticator,
    TokenAuthenticator,
    LoginConfirmer,
    DirectoryAdmin,
    Protocol,
):
    """All that directory serves; callers ask for the narrower ports."""
