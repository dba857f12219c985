"""Imports and exports: many mailboxes at once.

As with a single mailbox, the mail store comes first: what a plan finds to be new is made there, then everything is
decided again in the transaction that writes. A crash in between leaves empty mailboxes in the store that no address
leads to; the same import, repeated, makes whole ones.
"""

import asyncio
from collections.abc import Sequence

from postbus.contracts.bulk import (
    MAX_ROWS,
    ExportMailboxesReply,
    ExportMailboxesRequest,
    ImportMailboxesReply,
    ImportMailboxesRequest,
    MailboxRow,
    RowResult,
)
from postbus.contracts.condition import Condition
from postbus.contracts.standing import Standing
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId, new_mailbox_id
from postbusd.directory.administration.desk import Desk, check_page
from postbusd.directory.administration.import_rules import RowChange, read_row, refuse
from postbusd.directory.administration.scope import seen_domains
from postbusd.directory.administration.values import Act

STORE_BATCH = 500
"""Mailboxes that the mail store makes in one transaction."""


class Imports(Desk):
    """The MailboxImporter."""

    async def import_mailboxes(self, request: ImportMailboxesRequest) -> ImportMailboxesReply:
        """Writes what is not refused."""
        standing = await self._standing(request.actor)
        seen_domains(standing)
        if len(request.rows) > MAX_ROWS:
            raise MailError(ErrorKind.LIMIT, f"rows: at most {MAX_ROWS} in one import")
        rows = await asyncio.to_thread(lambda: [self._read(row) for row in request.rows])
        plan = await self._repository.import_mailboxes(rows, None, self._import_act(standing, plan=True))
        stopped = request.atomic and plan.object.refused
        if request.plan or stopped or not plan.changed:
            return ImportMailboxesReply(results=plan.object.results, written=not request.plan and not stopped)
        await self._make(plan.object.created)
        act = self._import_act(standing, domain=_only_domain(rows))
        written = await self._repository.import_mailboxes(
            rows, frozenset(plan.object.created), act, atomic=request.atomic
        )
        await self._announce(written, domains=sorted({row.address.domain for row in _changes(rows)}))
        stopped = request.atomic and written.object.refused
        return ImportMailboxesReply(results=written.object.results, written=not stopped)

    async def export_mailboxes(self, request: ExportMailboxesRequest) -> ExportMailboxesReply:
        """One page of what `import_mailboxes` takes."""
        standing = await self._standing(request.actor)
        wanted = check_page(request.after, request.limit, request.domain)
        page = await self._repository.export_mailboxes(
            seen_domains(standing, wanted.domain), wanted.after, wanted.limit
        )
        return ExportMailboxesReply(rows=page.objects, next_after=page.objects[-1].address if page.more else "")

    def _read(self, row: MailboxRow) -> RowChange | RowResult:
        try:
            return read_row(row, new_mailbox_id(self._tools.clock.now_ms()))
        except MailError as error:
            return refuse(error)

    async def _make(self, mailbox_ids: Sequence[MailboxId]) -> None:
        for start in range(0, len(mailbox_ids), STORE_BATCH):
            await self._tools.accounts.ensure_mailboxes(mailbox_ids[start : start + STORE_BATCH])

    def _import_act(self, standing: Standing, *, domain: str = "", plan: bool = False) -> Act:
        return self._act(standing, Condition(plan=plan), "mailboxes imported", domain=domain)


def _changes(rows: Sequence[RowChange | RowResult]) -> list[RowChange]:
    return [row for row in rows if isinstance(row, RowChange)]


def _only_domain(rows: Sequence[RowChange | RowResult]) -> str:
    """The domain of all rows; empty: they have several."""
    domains = {row.address.domain for row in _changes(rows)}
    return domains.pop() if len(domains) == 1 else ""
