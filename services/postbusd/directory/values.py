"""What directory reads to answer Resolve, Authenticate and FindRoute, as its own values: rows never leave a repository.

What the administrator's commands write stands in `administration.values`.
"""

import enum

import msgspec

from postbus.contracts.app_passwords import Access
from postbus.contracts.owners import OwnerKind
from postbus.contracts.relays import Relay
from postbus.core.ids import MailboxId


class StoredPassword(msgspec.Struct, frozen=True, kw_only=True):
    """A user's."""

    secret_hash: str
    """Argon2id in PHC string format, or a hash of another system until the first login."""
    tag: int | None = None
    """`passwords.CredentialKeys.tag`; None: unknown, as of users of before there were tags."""


class KeyKind(enum.StrEnum):
    """How a name is looked up."""

    NAME = "name"
    """Everything that can have this address."""
    BASE = "base"
    """The base of a sub-address: a mailbox or an alias of exactly this name."""
    SYSTEM = "system"
    """The domain's postmaster mailbox: its oldest active one. An empty domain means the oldest with incoming mail
    (RFC 5321 §4.5.1: <postmaster> needs no domain)."""
    BOUNCES = "bounces"
    """The domain's postmaster mailbox, when there is a list of this name."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What the resolver needs to know about one name; both parts are folded."""

    local_part: str
    domain: str
    kind: KeyKind = KeyKind.NAME


class DomainFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A domain of ours, as the resolver sees it."""

    name: str
    """Where its addresses are: of an alias domain the other one."""
    incoming: bool
    """Of the domain that was asked for."""
    masquerading: bool = False
    suspended: bool = False
    max_message_octets: int | None = None


class MailboxFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox, as the resolver and the login see it."""

    mailbox_id: MailboxId
    address: str
    active: bool = True
    """The mailbox and its domain."""
    quota_octets: int | None = None
    """What holds: its own, or the default of its domain; None: unlimited."""
    pop3: bool = False


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """An address on a list."""

    local_part: str
    """Folded where the domain is ours."""
    domain: str
    ours: bool
    """Whether we receive mail for the domain; mail to others goes out."""


class ListFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A list of ours with its members."""

    local_part: str
    domain: str
    active: bool = True
    members_only: bool = False
    members: tuple[Member, ...] = ()
    mailboxes: tuple[MailboxFacts, ...] = ()
    """Of its groups: the oldest active one of each active user."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the repository holds for a Key."""

    domain: DomainFacts | None = None
    """None: not one of ours."""
    mailbox: MailboxFacts | None = None
    """Of that name; for SYSTEM and BOUNCES the postmaster mailbox."""
    alias: MailboxFacts | None = None
    """Where the alias of exactly that name leads."""
    wildcard: MailboxFacts | None = None
    """Where the most specific wildcard that fits leads: most literal characters, then fewest stars, then octets."""
    group: tuple[MailboxFacts, ...] | None = None
    """The oldest active mailbox of each active member; None: no group has this address."""
    list: ListFacts | None = None
    catch_all: tuple[MailboxFacts, ...] = ()
    """The active ones among those that the domain names."""
    senders: tuple[MailboxId, ...] = ()
    """Mailboxes that may send as this name by a grant."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of the directory: everything that a batch of addresses is decided by."""

    revision: int
    found: dict[Key, Found]
    used_octets: dict[MailboxId, int]
    """Of mailboxes with a quota."""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What proves one who may open a mailbox."""

    name: str
    """The user's, or the app's."""
    secret_hash: str
    """Of a user: of his password, in any form that `foreign_hashes` or Argon2 knows; else the index of a generated one
    (`passwords.CredentialKeys`)."""
    active: bool = True
    app_password: str = ""
    """Its name, where it is one."""
    scopes: tuple[Access, ...] | None = None
    """What it is for; None: everything."""
    expires_ms: int | None = None
    second_factor: bool = False
    """A password whose user has one: it opens no mailbox alone."""


class StoredSecondFactor(msgspec.Struct, frozen=True, kw_only=True):
    """A user's."""

    secret_sealed: bytes
    """For the owner `second_factor:<username>`."""
    since_ms: int | None = None
    """None: begun, not in force."""
    last_step: int = 0
    """Of the last code that was taken."""
    recovery_codes: int = 0
    """Those that are left."""


class StoredSignIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a user signs in to the API with."""

    username: str
    active: bool
    secret_hash: str = ""
    """Of the password; empty: there is none."""
    app_scopes: tuple[Access, ...] | None = None
    """Of the app password with the index that was asked for; None: there is none."""
    app_expires_ms: int | None = None
    second_factor: StoredSecondFactor | None = None
    """The one in force."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox with what opens it."""

    mailbox: MailboxFacts
    owner_kind: OwnerKind
    credentials: tuple[Credential, ...]
    """Of the owner; of a group's members those whose tag fits or is unknown."""
    revision: int


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox that is active and one who may open it now."""

    digests: tuple[str, ...]
    """`passwords.digest_of` each secret that opens it now."""
    quota_octets: int | None


class StoredRoute(msgspec.Struct, frozen=True, kw_only=True):
    """The way out of a domain of ours."""

    revision: int
    domain: str = ""
    """Empty: none of those asked for is ours."""
    relay: Relay | None = None
    """Without its password."""
    password_sealed: bytes = b""
    """For the owner `relay:<domain>`; empty: none."""
