"""The INBOX as it was at login: numbers, sizes, what was read and what is to go (RFC 1939 §5, §6)."""

import logging
import uuid
from collections.abc import AsyncIterator, Iterator

import msgspec

from postbus.bus.subjects import folder_changed_subject
from postbus.contracts.events import FolderChanged
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId, FolderId, MailboxId, ModSeq
from postbus.mailstore.values import Flag, SpecialUse, StoredMessage, StoreMode, StoreRequest
from postbus.mime.codec import decode_scan
from postbusd.imap_gateway.deps import Deps

log = logging.getLogger(__name__)

PIECE_OCTETS = 256 * 1024


class Entry(msgspec.Struct, frozen=True):
    """A message."""

    uid: int
    octets: int
    email_id: EmailId
    seen: bool


class Maildrop:
    """What one session sees; numbers begin with 1."""

    def __init__(self, deps: Deps, mailbox_id: MailboxId) -> None:
        """`open` reads it."""
        self._deps = deps
        self._mailbox_id = mailbox_id
        self._folder_id = FolderId(0)
        self._uid_validity = 0
        self._entries: list[Entry] = []
        self._deleted: set[int] = set()
        self._read: set[int] = set()

    async def open(self) -> None:
        """Raises MailError."""
        folders = await self._deps.store.list_folders(self._mailbox_id)
        inbox = next(folder for folder in folders if folder.special_use is SpecialUse.INBOX)
        view = await self._deps.views.open(inbox, _nothing)
        try:
            self._folder_id, self._uid_validity = inbox.folder_id, view.uid_validity
            self._entries = [
                Entry(
                    uid=uid,
                    octets=view.octets[row],
                    email_id=EmailId(str(uuid.UUID(bytes=view.email_id(row)))),
                    seen=bool(view.flags[row] & Flag.SEEN),
                )
                for row, uid in enumerate(view.uids)
            ]
        finally:
            await self._deps.views.close(view, _nothing)

    def find(self, number: int) -> Entry | None:
        """A message that is there and not to go."""
        if not 0 < number <= len(self._entries) or number in self._deleted:
            return None
        return self._entries[number - 1]

    def list_all(self) -> Iterator[tuple[int, Entry]]:
        """Those that are not to go, with their numbers."""
        return ((number, each) for number, each in enumerate(self._entries, 1) if number not in self._deleted)

    def unique_id(self, entry: Entry) -> str:
        """The same in every session (RFC 1939 §7, UIDL), another after the folder was made anew."""
        return f"{self._uid_validity}.{entry.uid}"

    def delete(self, number: int) -> None:
        """Goes at `update`."""
        self._deleted.add(number)

    def reset(self) -> None:
        """Nothing goes."""
        self._deleted.clear()

    async def load(self, entry: Entry) -> StoredMessage:
        """Raises MailError: NOT_FOUND when somebody else has removed it meanwhile."""
        found = await self._deps.store.fetch_messages(self._mailbox_id, [entry.email_id])
        if entry.email_id not in found:
            raise MailError(ErrorKind.NOT_FOUND, "the message is gone")
        return found[entry.email_id]

    async def read(self, message: StoredMessage, body_lines: int | None) -> AsyncIterator[bytes]:
        """The message in pieces: all of it, or its header section and so many lines of its body (TOP).

        Raises MailError.
        """
        scan = decode_scan(message.structure)
        octets, header_end, left = scan.octets, scan.body_start, body_lines
        before = message.prefix
        if not octets:
            yield before
        for start in range(0, octets, PIECE_OCTETS):
            size = min(PIECE_OCTETS, octets - start)
            piece = await self._deps.blobs.get(message.blob_id, start, size)
            if len(piece) != size:
                raise MailError(ErrorKind.NOT_FOUND, "the blob is too short")
            if left is None:
                yield before + piece
                before = b""
                continue
            header = piece[: max(0, header_end - start)]
            lines = piece[len(header) :].splitlines(keepends=True)[:left] if len(piece) > len(header) else []
            yield before + header + b"".join(lines)
            before = b""
            left -= sum(line.endswith(b"\n") for line in lines)
            if left <= 0 and start + size >= header_end:
                return

    def note_read(self, number: int) -> None:
        """It was sent whole."""
        self._read.add(number)

    async def update(self) -> None:
        r"""Removes what is to go, and marks \Seen what was read (RFC 1939 §6). Raises MailError."""
        gone = tuple(self._entries[number - 1].uid for number in sorted(self._deleted))
        read = (self._entries[number - 1] for number in sorted(self._read - self._deleted))
        seen = tuple(entry.uid for entry in read if not entry.seen)
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


def _nothing() -> None:
    """What is new comes with the next session."""
