"""Folder views and FETCH on Postgres: packed columns, no row by row."""

import struct
from collections.abc import Sequence
from typing import Any

from postbus.core.ids import BlobId, EmailId, FolderId, MailboxId, ModSeq, ThreadId, Uid
from postbus.mailstore.packed import unpack_ranges
from postbus.mailstore.session import Session
from postbus.mailstore.values import FolderHead, PackedEntries, StoredMessage

ENVELOPE_CHUNK = 4096
"""Messages a statement."""


class PostgresReader:
    """Implements FolderReader."""

    def __init__(self, session: Session) -> None:
        """On the service's pool."""
        self._session = session

    async def heads(self, folders: Sequence[tuple[MailboxId, FolderId]]) -> list[FolderHead]:
        """Heads of those that exist, in the order asked for, in one query."""
        rows = await self._session.fetch(
            "SELECT * FROM mailstore.heads_v1($1, $2)", [name for name, _ in folders], [number for _, number in folders]
        )
        return [_head(MailboxId(str(row["r_mailbox_id"])), FolderId(row["r_folder_id"]), row) for row in rows]

    async def load_entries(self, mailbox_id: MailboxId, folder_id: FolderId) -> PackedEntries:
        """A whole folder."""
        rows = await self._session.fetch("SELECT * FROM mailstore.load_entries_v1($1, $2)", mailbox_id, folder_id)
        return _packed(mailbox_id, folder_id, rows[0])

    async def load_changes(self, mailbox_id: MailboxId, folder_id: FolderId, since: ModSeq) -> PackedEntries:
        """What changed after `since`."""
        rows = await self._session.fetch(
            "SELECT * FROM mailstore.load_changes_v1($1, $2, $3)", mailbox_id, folder_id, since
        )
        return _packed(mailbox_id, folder_id, rows[0])

    async def fetch_messages(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> dict[EmailId, StoredMessage]:
        """Rows of those that exist."""
        rows = await self._session.fetch(
            "SELECT * FROM mailstore.fetch_messages_v1($1, $2)", mailbox_id, list(email_ids)
        )
        return {message.email_id: message for message in map(stored_message, rows)}

    async def fetch_envelopes(self, mailbox_id: MailboxId, email_ids: Sequence[EmailId]) -> list[bytes]:
        """Wire-ready ENVELOPEs, empty for a missing message."""
        envelopes: list[bytes] = []
        for start in range(0, len(email_ids), ENVELOPE_CHUNK):
            chunk = list(email_ids[start : start + ENVELOPE_CHUNK])
            rows = await self._session.fetch("SELECT * FROM mailstore.fetch_envelopes_v1($1, $2)", mailbox_id, chunk)
            envelopes += _split(rows[0]["r_lengths"], rows[0]["r_envelopes"])
        return envelopes


def stored_message(row: Any) -> StoredMessage:  # asyncpg.Record
    """A message row of any function that gives them."""
    return StoredMessage(
        email_id=EmailId(row["r_email_id"]),
        blob_id=BlobId(row["r_blob_id"]),
        prefix=row["r_prefix"],
        octets=row["r_octets"],
        internal_date_ms=row["r_internal_date"],
        structure=row["r_structure"],
        thread_id=ThreadId(row["r_thread_id"]),
        preview=row["r_preview"],
    )


def _head(mailbox_id: MailboxId, folder_id: FolderId, row: Any) -> FolderHead:  # asyncpg.Record
    return FolderHead(
        mailbox_id=mailbox_id,
        folder_id=folder_id,
        uid_validity=row["r_uid_validity"],
        uid_next=Uid(row["r_uid_next"]),
        highest_mod_seq=ModSeq(row["r_highest_mod_seq"]),
    )


def _packed(mailbox_id: MailboxId, folder_id: FolderId, row: Any) -> PackedEntries:  # asyncpg.Record
    keywords = zip(row["r_keyword_uids"] or (), row["r_keywords"] or (), strict=True)
    return PackedEntries(
        head=_head(mailbox_id, folder_id, row),
        uids=row["r_uids"] or b"",
        flags=row["r_flags"] or b"",
        mod_seqs=row["r_mod_seqs"] or b"",
        octets=row["r_octets"] or b"",
        internal_dates=row["r_internal_dates"] or b"",
        sent_days=row["r_sent_days"] or b"",
        save_dates=row["r_save_dates"] or b"",
        email_ids=row["r_email_ids"] or b"",
        keywords=tuple((uid, tuple(names.split(" "))) for uid, names in keywords),
        vanished=unpack_ranges(row["r_vanished"]),
        complete=row["r_complete"],
    )


def _split(lengths: bytes, envelopes: bytes) -> list[bytes]:
    found = []
    start = 0
    for (length,) in struct.iter_unpack(">i", lengths):
        found.append(envelopes[start : start + length])
        start += length
    return found
