"""directory's port: who receives what, who may log in, and the administrator's objects of the frame."""

import enum
from typing import Protocol

import msgspec

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


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one forward_path."""

    forward_path: str
    outcome: Outcome
    targets: tuple[MailboxTarget, ...] = ()
    kind: ErrorKind | None = None
    reason: str = ""


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


class Access(enum.StrEnum):
    """The protocol that a login is for."""

    IMAP = "imap"
    SMTP = "smtp"
    POP3 = "pop3"
    SIEVE = "sieve"
    API = "api"


class AuthenticateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A login attempt with user name and password (SASL PLAIN, LOGIN)."""

    username: str
    password: str
    access: Access
    client_address: str
    """IP address of the client, for counting failures per network."""


class AuthenticateReply(msgspec.Struct, frozen=True, kw_only=True):
    """A successful login; a failed one raises MailError (UNAUTHENTICATED, INACTIVE, RATE_LIMITED, UNAVAILABLE)."""

    mailbox_id: MailboxId
    address: str
    quota_octets: int | None = None
    revision: int = 0


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain of ours."""

    name: str
    """Lower-case A-labels."""
    incoming: bool = False
    """Whether we receive mail for it (off at creation)."""


class PutDomainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates or replaces a domain."""

    domain: Domain
    actor: str


class ListDomainsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Domains by name, after `after`, at most `limit`."""

    actor: str
    after: str = ""
    limit: int = 100


class ListDomainsReply(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    domains: tuple[Domain, ...]
    next_after: str = ""


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    """An account that stores mail."""

    mailbox_id: MailboxId
    address: str
    active: bool = True
    quota_octets: int | None = None


class PutMailboxRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Creates a mailbox or changes the one with that address. None leaves a value as it is (or at its default)."""

    address: str
    actor: str
    password: str | None = None
    """Needed at creation; stored as argon2id."""
    active: bool | None = None
    quota_octets: int | None = None
    create_only: bool = False
    """ALREADY_EXISTS when there is one."""


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


class ListMailboxesReply(msgspec.Struct, frozen=True, kw_only=True):
    """One page; `next_after` empty: the last one."""

    mailboxes: tuple[Mailbox, ...]
    next_after: str = ""


class AddressResolver(Protocol):
    """The port of smtp-edge, filter and delivery."""

    async def resolve(self, request: ResolveRequest) -> ResolveReply:
        """What becomes of mail for these addresses (architecture §3.2)."""
        ...


class Authenticator(Protocol):
    """The port of everything that people log in to."""

    async def authenticate(self, request: AuthenticateRequest) -> AuthenticateReply:
        """Checks a password; Raises MailError."""
        ...


class DirectoryAdmin(Protocol):
    """The port of admin-api: every request names its actor, the owner's query checks the scope (architecture §6)."""

    async def put_domain(self, request: PutDomainRequest) -> Domain:
        """Creates or replaces a domain; idempotent."""
        ...

    async def list_domains(self, request: ListDomainsRequest) -> ListDomainsReply:
        """One page of domains."""
        ...

    async def put_mailbox(self, request: PutMailboxRequest) -> PutMailboxReply:
        """Creates or changes a mailbox; idempotent."""
        ...

    async def list_mailboxes(self, request: ListMailboxesRequest) -> ListMailboxesReply:
        """One page of mailboxes."""
        ...


class Directory(AddressResolver, Authenticator, DirectoryAdmin, Protocol):
    """All that directory serves; callers ask for the narrower ports."""
