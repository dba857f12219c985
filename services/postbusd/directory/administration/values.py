"""What the administrator's commands write and what writing did, as directory's own values.

Addresses are folded and names checked before they come here; an Address with a domain of others keeps its case.
"""

from typing import Generic, TypeVar

import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.directory import User
from postbus.contracts.domains import Domain
from postbus.contracts.events import Event
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner
from postbus.contracts.standing import Standing
from postbus.core.address import Address
from postbus.core.ids import MailboxId
from postbusd.directory.values import StoredPassword

T = TypeVar("T")


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """A write: by whom, on which condition, and what the event log tells of it."""

    standing: Standing
    event: Event
    condition: Condition = Condition()


class DomainChange(msgspec.Struct, frozen=True, kw_only=True):
    """A domain as it shall be."""

    domain: Domain
    """Its relay without the password, its catch_all in order."""
    catch_all: tuple[Address, ...] = ()
    relay_password_sealed: bytes | None = None
    """None: the one there is, of the same host and username."""


class MailboxChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to write about a mailbox; None leaves a value as it is (or at its default)."""

    address: Address
    new_id: MailboxId | None
    """For a new mailbox, already made in the mail store. None: there was one, and none is made in its place."""
    password: StoredPassword | None = None
    active: bool | None = None
    quota_octets: int | None = None
    """0: unlimited; DOMAINS_QUOTA: the default of its domain."""
    owner: Owner | None = None
    create_only: bool = False
    pop3: bool | None = None
    send_as: tuple[Address, ...] | None = None
    """In order."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at an address."""

    ours: bool
    """Whether there is the domain."""
    kind: str = ""
    """mailbox, alias, group or list; empty: the address is free."""
    mailbox: Mailbox | None = None
    """Of that address."""
    has_user: bool = False
    """Whether there is a user of that name."""
    alias_of: str = ""
    """Of an alias domain: the other one."""
    default_quota_octets: int | None = None
    """Of the domain."""


class UserChange(msgspec.Struct, frozen=True, kw_only=True):
    """A user as he shall be."""

    user: User
    password: StoredPassword | None = None
    """None keeps the one there is."""


class AppChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to write about an app."""

    name: str
    domain: str
    """Empty: not named."""
    address: Address | None
    """None: as it is, or the default."""
    active: bool
    rotate: bool
    credential: str
    """Index of a new credential, for a new app or with `rotate`."""
    new_id: MailboxId | None
    """As in MailboxChange."""


class ListChange(msgspec.Struct, frozen=True, kw_only=True):
    """A list as it shall be."""

    address: Address
    members: tuple[Address, ...]
    """As they were given."""
    active: bool
    members_only: bool
    groups: tuple[str, ...] = ()
    """Folded names, in order, each once."""


class PageWanted(msgspec.Struct, frozen=True, kw_only=True):
    """The checked part of a list request."""

    domain: str
    after: str
    limit: int
    text: str
    """Lower case."""
    descending: bool = False


class Written(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What a write did."""

    object: T
    """As it is now."""
    changed: bool
    """False: everything was so already, nothing was written."""
    created: bool
    revision: int
    planned: bool = False
    """It was taken back: nothing is written."""


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion did."""

    lines: tuple[str, ...]
    revision: int


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Objects in the octet order of their names; `more`: others follow."""

    objects: tuple[T, ...]
    more: bool


MAX_LINES_TOLD = 20


def describe_deletion(event: Event, lines: tuple[str, ...]) -> Event:
    """The event of a deletion, with what went besides the object itself."""
    told = list(lines[1 : MAX_LINES_TOLD + 1])
    told += [f"{len(lines) - len(told) - 1} more"] if len(lines) > len(told) + 1 else []
    return msgspec.structs.replace(event, detail=", ".join(told))
