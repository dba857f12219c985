"""directory's port for many mailboxes at once: rows of an import or an export."""

import enum
from typing import Protocol

import msgspec

from postbus.contracts.owners import Owner
from postbus.core.errors import ErrorKind

MAX_ROWS = 20_000
"""Of one import: what fits into a call."""
IMPORT_SECONDS = 120.0
"""How long a caller waits for an import."""


class MailboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox as a table has it."""

    address: str
    owner: Owner
    aliases: tuple[str, ...] = ()
    """All that it has, in octet order."""
    active: bool = True


class RowAction(enum.StrEnum):
    """What became of a row."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """Of one row."""

    action: RowAction
    kind: ErrorKind | None = None
    """Why it was refused."""
    detail: str = ""
    """The field and the reason."""


class ImportMailboxesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Brings each mailbox to what its row says: owner, aliases (exactly these), active. Idempotent.

    `atomic`: nothing is written when a row is refused. `plan`: nothing is written.
    """

    rows: tuple[MailboxRow, ...]
    actor: str
    atomic: bool = False
    plan: bool = False


class ImportMailboxesReply(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of the rows."""

    results: tuple[RowResult, ...]
    written: bool
    """False: a plan, or rows were refused and the import is atomic."""


class ExportMailboxesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One page of mailboxes as rows; `domain` empty: of all that the actor administers."""

    actor: str
    domain: str = ""
    after: str = ""
    limit: int = 1000


class ExportMailboxesReply(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of their addresses; `next_after` empty: the last page."""

    rows: tuple[MailboxRow, ...]
    next_after: str = ""


class MailboxImporter(Protocol):
    """Many mailboxes at once."""

    async def import_mailboxes(self, request: ImportMailboxesRequest) -> ImportMailboxesReply:
        """Writes what is not refused, in one transaction, in the order of the rows.

        Raises MailError: LIMIT (more than MAX_ROWS), FORBIDDEN (no administrator), CONFLICT, UNAVAILABLE.
        """
        ...

    async def export_mailboxes(self, request: ExportMailboxesRequest) -> ExportMailboxesReply:
        """What `import_mailboxes` takes. Raises MailError: INVALID, FORBIDDEN."""
        ...
