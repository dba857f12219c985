"""What requests about any of the administrator's objects have in common."""

import msgspec

from postbus.contracts.condition import Condition


class ObjectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One object by the name that administrators know it by (an address for mailboxes, aliases and lists)."""

    name: str
    actor: str


class DeleteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Deletes an object by name; NOT_FOUND when there is none, CONFLICT naming what still needs it."""

    name: str
    actor: str
    dry_run: bool = False
    """Only says what would be deleted, or the same error."""
    condition: Condition = Condition()
    purge: bool = False
    """Of a mailbox: its mail goes for good, at once."""


class DeleteReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was, or in a dry run would be, deleted: one line an object, for people."""

    deleted: tuple[str, ...]


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Objects by name, after `after`, at most `limit`; `domain` empty: all (ignored for users and groups)."""

    actor: str
    domain: str = ""
    after: str = ""
    limit: int = 100
    text: str = ""
    """Only names with this in them, in either case; of users also display names."""
    descending: bool = False
    """From the last name to the first; `after` is the name that the page before ended with all the same."""
