"""The INBOX as it was at login: numbers, sizes, what was read and what is to go (RFC 1939 §5, §6)."""

import uuid
from array import array
from collections.abc import AsyncIterator, Iterator

from postbus.bus.subjects import folder_changed_subject
from postbus.contracts.events import FolderChanged
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId, FolderId, MailboxId, ModSeq
from postbus.mailstore.values import Flag, SpecialUse, StoredMessage, StoreMode, StoreRequest
from postbus.mime.codec import decode_scan
from postbusd.imap_gateway.deps import Deps
from postbusd.imap_gateway.views import ID_OCTETS

PIECE_OCTETS = 256 * 1024


class Maildrop:
    """What one session sees; numbers begin with 1. Columns, as folder views have them: large folders stay cheap."""

    def __init__(self, deps: Deps, mailbox_id: MailboxId) -> None:
        """`open` reads it."""
        self._deps = deps
        self._mailbox_id = mailbox_id
        self._folder_id = FolderId(0)
        self._uid_validity = 0
        self._uids: array[int] = array("I")
        self._octets: array[int] = array("I")
        self._email_ids = b""
        self._unseen: set[int] = set()
        self._deleted: set[int] = set()
        self._read: set[int] = set()

    async def open(self) -> None:
        """Raises MailError."""
        folders = await self._deps.store.list_folders(self._mailbox_id)
        inbox = next(folder for folder in folders if folder.special_use is SpecialUse.INBOX)
        view = await self._deps.views.open(inbox, _nothing)
        try:
            self._folder_id, self._uid_validity = inbox.folder_id, view.uid_validity
            self._uids, self._octets, self._email_ids = view.uids[:], view.octets[:], bytes(view.email_ids)
            self._unseen = {row + 1 for row, flags in enumerate(view.flags) if not flags & Flag.SEEN}
        finally:
            await self._deps.views.close(view, _nothing)

    def has(self, number: int) -> bool:
        """Whether the message is there and not to go."""
        return 0 < number <= len(self._uids) and number not in self._deleted

    def numbers(self) -> Iterator[int]:
        """Of those that are not to go."""
        return (number for number in range(1, len(self._uids) + 1) if number not in self._deleted)

    def octets(self, number: int) -> int:
        """Its size as it was stored, with the header fields that we added."""
        return self._octets[number - 1]

    @property
    def totals(self) -> tuple[int, int]:
        """Messages that are not to go, and their octets."""
        gone = sum(self._octets[number - 1] for number in self._deleted)
        return len(self._uids) - len(self._deleted), sum(self._octets) - gone

    def unique_id(self, number: int) -> str:
        """The same in every session (RFC 1939 §7, UIDL), another after the folder was made anew."""
        return f"{self._uid_validity}.{self._uids[number - 1]}"

    def delete(self, number: int) -> None:
        """Goes at `update`."""
        self._deleted.add(number)

    def reset(self) -> None:
        """Nothing goes."""
        self._deleted.clear()

    async def load(self, number: int) -> StoredMessage:
        """Raises MailError: NOT_FOUND when somebody else has removed it meanwhile."""
        start = (number - 1) * ID_OCTETS
        email_id = EmailId(str(uuid.UUID(bytes=self._email_ids[start : start + ID_OCTETS])))
        found = await self._deps.store.fetch_messages(self._mailbox_id, [email_id])
        if email_id not in found:
            raise MailError(ErrorKind.NOT_FOUND, "the message is gone")
        return found[email_id]

    async def read(self, message: StoredMessage, body_lines: int | None) -> AsyncIterator[bytes]:
        """The message in pieces: all of it, or its header section and so many lines of its body (TOP).

        Raises MailError.
        """
        scan = decode_scan(message.structure)
        before, left = message.prefix, body_lines
        if not scan.octets:
            yield before
        for start in range(0, scan.octets, PIECE_OCTETS):
            size = min(PIECE_OCTETS, scan.octets - start)
            piece = await self._deps.blobs.get(message.blob_id, start, size)
            if len(piece) != size:
                raise MailError(ErrorKind.NOT_FOUND, "the blob is too short")
            if left is not None:
                end, left = _cut(piece, max(0, scan.body_start - start), left)
                piece = piece[:end]
            yield before + piece
            before = b""
            if left == 0 and start + size >= scan.body_start:
                return

    def note_read(self, number: int) -> None:
        """It was sent whole."""
        self._read.add(number)

    async def update(self) -> None:
        r"""Removes what is to go, and marks \Seen what was read (RFC 1939 §6). Raises MailError."""
        gone = tuple(self._uids[number - 1] for number in sorted(self._deleted))
        seen = tuple(self._uids[number - 1] for number in sorted((self._read & self._unseen) - self._deleted))
        mod_seq = 0
        for uids, flag in ((seen, Flag.SEEN), (gone, Flag.DELETED)):
            if uids:
                request = StoreRequest(
                    mailbox_id=self._mailbox_id, folder_id=self._folder_id, uids=uids, mode=StoreMode.ADD, flags=flag
                )
                mod_seq = (await self._deps.store.store_flags(request)).mod_seq
        if gone:
            _, mod_seq = await self._deps.store.expunge(self._mailbox_id, self._folder_id, gone)
        if mod_seq:
            changed = FolderChanged(mailbox_id=self._mailbox_id, folder_ids=(self._folder_id,), mod_seq=ModSeq(mod_seq))
            await self._deps.bus.wake(folder_changed_subject(self._mailbox_id), changed)


def _cut(piece: bytes, start: int, lines: int) -> tuple[int, int]:
    """Where so many lines end that begin at `start`, and how many are still to come."""
    end = min(start, len(piece))
    while lines and end < len(piece):
        found = piece.find(b"\n", end)
        if found < 0:
            return len(piece), lines
        end, lines = found + 1, lines - 1
    return end, lines


def _nothing() -> None:
    """What is new comes with the next session."""
