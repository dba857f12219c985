"""Mailboxes and folders on Postgres."""

from collections.abc import Sequence
from typing import Any

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, MailboxId, ModSeq, Uid
from postbus.mailstore.names import (
    MAX_FOLDERS,
    MAX_LEVELS,
    MAX_NAME_OCTETS,
    SPECIAL_FOLDERS,
    normalize_folder_name,
)
from postbus.mailstore.session import Session
from postbus.mailstore.values import Folder, SpecialUse, Totals


class PostgresFolders:
    """Implements Accounts, DropLocks and FolderCatalog."""

    def __init__(self, session: Session) -> None:
        """On the service's pool."""
        self._session = session

    async def ensure_mailboxes(self, mailbox_ids: Sequence[MailboxId]) -> None:
        """Makes mailboxes with their special-use folders, once."""
        await self._session.fetch(
            "SELECT mailstore.ensure_mailboxes_v1($1, $2, $3, $4)",
            list(mailbox_ids),
            [use.value for use, _ in SPECIAL_FOLDERS],
            [name for _, name in SPECIAL_FOLDERS],
            self._session.clock.now_ms(),
        )

    async def usage(self, mailbox_ids: Sequence[MailboxId]) -> dict[MailboxId, int]:
        """Octets used."""
        rows = await self._session.fetch("SELECT * FROM mailstore.usage_v1($1)", list(mailbox_ids))
        return {MailboxId(str(row["r_mailbox_id"])): row["r_octets"] for row in rows}

    async def totals(self, mailbox_ids: Sequence[MailboxId]) -> dict[MailboxId, Totals]:
        """What mailboxes hold."""
        rows = await self._session.fetch("SELECT * FROM mailstore.totals_v1($1)", list(mailbox_ids))
        return {
            MailboxId(str(row["r_mailbox_id"])): Totals(octets=row["r_octets"], messages=row["r_messages"])
            for row in rows
        }

    async def purge(self, mailbox_id: MailboxId, limit: int) -> bool:
        """Takes away a piece of a mailbox."""
        rows = await self._session.fetch(
            "SELECT mailstore.purge_mailbox_v1($1, $2, $3) AS done", mailbox_id, limit, self._session.clock.now_ms()
        )
        return bool(rows[0]["done"])

    async def claim_drop(self, mailbox_id: MailboxId, holder: str, seconds: float) -> bool:
        """Takes or renews the lock."""
        now_ms = self._session.clock.now_ms()
        rows = await self._session.fetch(
            "SELECT mailstore.claim_drop_v1($1, $2, $3, $4) AS mine",
            mailbox_id,
            holder,
            now_ms + int(seconds * 1000),
            now_ms,
        )
        return bool(rows[0]["mine"])

    async def release_drop(self, mailbox_id: MailboxId, holder: str) -> None:
        """Gives it back."""
        await self._session.fetch("SELECT mailstore.release_drop_v1($1, $2)", mailbox_id, holder)

    async def list_folders(self, mailbox_id: MailboxId) -> list[Folder]:
        """All folders, INBOX first."""
        rows = await self._session.fetch("SELECT * FROM mailstore.list_folders_v1($1, NULL)", mailbox_id)
        if not rows:  # every mailbox has its INBOX
            raise MailError(ErrorKind.NOT_FOUND, f"mailbox {mailbox_id} is not there")
        return [_folder(mailbox_id, row) for row in rows]

    async def create_folder(self, mailbox_id: MailboxId, name: str) -> Folder:
        """Creates a folder and its missing parents."""
        rows = await self._session.change(
            "SELECT * FROM mailstore.create_folder_v1($1, $2, $3, $4)",
            mailbox_id,
            normalize_folder_name(name),
            MAX_FOLDERS,
            self._session.clock.now_ms(),
            repeatable=False,
        )
        return _folder(mailbox_id, rows[0])

    async def delete_folder(self, mailbox_id: MailboxId, folder_id: FolderId) -> None:
        """Deletes a folder and its entries."""
        await self._session.change(
            "SELECT mailstore.delete_folder_v1($1, $2, $3)",
            mailbox_id,
            folder_id,
            self._session.clock.now_ms(),
            repeatable=False,
        )

    async def rename_folder(self, mailbox_id: MailboxId, folder_id: FolderId, name: str) -> None:
        """Renames a folder and everything below; INBOX moves its messages."""
        await self._session.change(
            "SELECT mailstore.rename_folder_v1($1, $2, $3, $4, $5, $6, $7)",
            mailbox_id,
            folder_id,
            normalize_folder_name(name),
            MAX_NAME_OCTETS,
            MAX_LEVELS,
            MAX_FOLDERS,
            self._session.clock.now_ms(),
            repeatable=False,
        )

    async def set_subscribed(self, mailbox_id: MailboxId, folder_id: FolderId, subscribed: bool) -> None:
        """SUBSCRIBE and UNSUBSCRIBE."""
        await self._session.change(
            "SELECT mailstore.set_subscribed_v1($1, $2, $3)", mailbox_id, folder_id, subscribed, repeatable=True
        )


def _folder(mailbox_id: MailboxId, row: Any) -> Folder:  # asyncpg.Record
    use = row["r_special_use"]
    return Folder(
        mailbox_id=mailbox_id,
        folder_id=FolderId(row["r_folder_id"]),
        name=row["r_name"],
        uid_validity=row["r_uid_validity"],
        uid_next=Uid(row["r_uid_next"]),
        highest_mod_seq=ModSeq(row["r_highest_mod_seq"]),
        special_use=SpecialUse(use) if use is not None else None,
        subscribed=row["r_subscribed"],
        messages=row["r_messages"],
        unseen=row["r_unseen"],
        deleted=row["r_deleted"],
        octets=row["r_octets"],
    )
