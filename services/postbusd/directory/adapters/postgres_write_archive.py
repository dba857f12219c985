"""Other addresses of mailboxes, and those that were deleted and whose mail is still there, in schema `directory`."""

import asyncpg
import msgspec

from postbus.contracts.events import Event
from postbus.contracts.mailbox_life import ArchivedMailbox
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.address import Address
from postbus.core.ids import MailboxId
from postbus.mailstore.outbox import pack_event
from postbusd.directory.adapters.postgres_write_base import PostgresWrites, page_of
from postbusd.directory.adapters.postgres_write_mailboxes import check_new_owner, write_mailbox
from postbusd.directory.administration.ports import Domains
from postbusd.directory.administration.refusals import no_such
from postbusd.directory.administration.rules import check_rename, decide_restore
from postbusd.directory.administration.values import Act, Page, Written

_MOVE = "UPDATE directory.mailbox SET local_part = $2, domain = $3 WHERE mailbox_id = $1"
_ALIAS = "INSERT INTO directory.alias (local_part, domain, mailbox_id) VALUES ($1, $2, $3)"
_ARCHIVED = """
SELECT d.*, floor(extract(epoch FROM d.deleted) * 1000)::bigint AS deleted_ms FROM directory.deleted_mailbox d
"""
_LIST = f"""{_ARCHIVED}
WHERE ($1::uuid IS NULL OR d.mailbox_id > $1) AND ($2::text[] IS NULL OR split_part(d.address, '@', 2) = ANY($2))
    AND ($3 = '' OR d.address = $3)
ORDER BY d.mailbox_id LIMIT $4
"""
_MARK_DUE = (
    "UPDATE directory.deleted_mailbox SET purging = true WHERE NOT purging AND deleted < to_timestamp($1::float8)"
)
_END = "DELETE FROM directory.deleted_mailbox WHERE mailbox_id = $1 AND purging RETURNING mailbox_id"
_DUE = f"{_ARCHIVED} WHERE d.purging ORDER BY d.mailbox_id LIMIT $1"


class PostgresArchive(PostgresWrites):
    """The ArchiveStore, and new addresses."""

    async def rename_mailbox(self, address: Address, new: Address, act: Act, *, keep_alias: bool) -> Written[Mailbox]:
        """Its aliases, catch-all entries and grants follow it by its id."""
        async with self._writing(act) as write:
            mailbox = await write.load_mailbox(address)
            if mailbox is None:
                raise no_such("address", "mailbox", address)
            write.require_match(mailbox)
            check_rename(mailbox, new)
            await write.require_free(new)
            await write.session.execute(_MOVE, mailbox.mailbox_id, new.local_part, new.domain)
            if keep_alias:
                await write.session.execute(_ALIAS, address.local_part, address.domain, mailbox.mailbox_id)
            if new.domain != address.domain:
                await write.require_quota(new.domain)
            now = await write.load_mailbox(new)
            assert now is not None
            return await write.close(now, changed=True)

    async def get_archived(self, mailbox_id: MailboxId) -> ArchivedMailbox:
        """Raises MailError: NOT_FOUND."""
        async with self._connection() as session:
            row = await session.fetchrow(f"{_ARCHIVED} WHERE d.mailbox_id = $1", mailbox_id)
        return _archived(row, mailbox_id)

    async def list_archived(self, domains: Domains, address: str, after: str, limit: int) -> Page[ArchivedMailbox]:
        """Those with an id above `after`."""
        async with self._connection() as session:
            rows = await session.fetch(_LIST, after or None, domains, address, limit + 1)
        return page_of([_archived(row, row["mailbox_id"]) for row in rows], limit)

    async def restore_mailbox(
        self, mailbox_id: MailboxId, address: Address, owner: Owner | None, act: Act
    ) -> Written[Mailbox]:
        """The same mailbox_id: mail, folders and UIDs are as they were."""
        async with self._writing(act) as write:
            row = await write.session.fetchrow(f"{_ARCHIVED} WHERE d.mailbox_id = $1 FOR UPDATE", mailbox_id)
            archived = _archived(row, mailbox_id)
            assert row is not None
            kept = Mailbox(
                mailbox_id=archived.mailbox_id,
                address=str(address),
                quota_octets=row["quota_octets"],
                pop3=row["pop3"],
            )
            now = decide_restore(archived, kept, owner)
            await write.require_free(address)
            if now.owner is not None:
                await check_new_owner(write, now.owner)
            await write_mailbox(write, now, address)
            await write.session.execute("DELETE FROM directory.deleted_mailbox WHERE mailbox_id = $1", mailbox_id)
            await write.require_quota(address.domain)
            found = await write.load_mailbox(address)
            assert found is not None
            return await write.close(found, changed=True, created=True)

    async def mark_purge(self, mailbox_id: MailboxId, act: Act) -> Written[ArchivedMailbox]:
        """It can't be restored any more."""
        async with self._writing(act) as write:
            row = await write.session.fetchrow(f"{_ARCHIVED} WHERE d.mailbox_id = $1 FOR UPDATE", mailbox_id)
            archived = _archived(row, mailbox_id)
            await write.session.execute(
                "UPDATE directory.deleted_mailbox SET purging = true WHERE mailbox_id = $1", mailbox_id
            )
            now = msgspec.structs.replace(archived, purging=True)
            return await write.close(now, changed=not archived.purging)

    async def due_purges(self, before_ms: int | None, limit: int) -> tuple[ArchivedMailbox, ...]:
        """Those that are marked."""
        async with self._connection() as session:
            if before_ms is not None:
                await session.execute(_MARK_DUE, before_ms / 1000)
            return tuple(_archived(row, row["mailbox_id"]) for row in await session.fetch(_DUE, limit))

    async def end_archived(self, mailbox_id: MailboxId, event: Event) -> bool:
        """Its mail is gone. Nobody caches it: no revision."""
        async with self._connection() as session, session.transaction():
            gone = await session.fetchval(
                "DELETE FROM directory.deleted_mailbox WHERE mailbox_id = $1 AND purging RETURNING mailbox_id",
                mailbox_id,
            )
            if gone is not None:
                await session.execute("INSERT INTO directory.outbox (event) VALUES ($1)", pack_event(event))
        return gone is not None


def _archived(row: asyncpg.Record | None, mailbox_id: object) -> ArchivedMailbox:
    """Raises MailError: NOT_FOUND."""
    if row is None:
        raise no_such("mailbox_id", "archived mailbox", mailbox_id)
    known = row["owner_name"] is not None
    return ArchivedMailbox(
        mailbox_id=MailboxId(str(row["mailbox_id"])),
        address=row["address"],
        deleted_ms=row["deleted_ms"],
        owner=Owner(kind=OwnerKind(row["owner_kind"]), name=row["owner_name"]) if known else None,
        purging=row["purging"],
    )
