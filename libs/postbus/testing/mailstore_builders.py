"""Builders and checks for tests of the mail store."""

from typing import Protocol

from postbus.contracts.events import Event, EventType
from postbus.core.ids import BlobId, FolderId, MailboxId, ModSeq, new_email_id, new_mailbox_id
from postbus.mailstore.packed import unpack_rows
from postbus.mailstore.ports import (
    Accounts,
    DropLocks,
    FolderCatalog,
    FolderReader,
    FolderWriter,
    IndexQueue,
    MessageAppender,
    Outbox,
    Upkeep,
)
from postbus.mailstore.values import (
    Append,
    AppendResult,
    CopyRequest,
    Flag,
    Folder,
    NewMessage,
    SpecialUse,
    StoreMode,
    StoreRequest,
    ViewRow,
)

NOW_MS = 1_795_000_000_000
INBOX = FolderId(1)


class MailStore(
    MessageAppender,
    Accounts,
    DropLocks,
    FolderCatalog,
    FolderReader,
    FolderWriter,
    IndexQueue,
    Outbox,
    Upkeep,
    Protocol,
):
    """Every port of the mail store by one object."""


def make_message(**facts: object) -> NewMessage:
    """A message with the given facts."""
    email_id = new_email_id(NOW_MS)
    values: dict[str, object] = {
        "email_id": email_id,
        "blob_id": BlobId(f"20261118-{email_id.replace('-', '') * 2}"),
        "prefix": b"Received: here\r\n",
        "octets": 100,
        "internal_date_ms": NOW_MS - 5000,
        "sent_day": 20_000,
        "structure": b"\x01structure\x00",
        "envelope": b'("date" "%b")' % email_id.encode(),
        "message_id": "",
        "references": (),
        "thread_subject": "",
        "preview": "Grüße",
    }
    return NewMessage(**(values | facts))  # type: ignore[arg-type]  # the facts are NewMessage's own fields


def make_event(summary: str) -> Event:
    """An event of delivery."""
    return Event(event_id=summary, type=EventType.DELIVERED, at_ms=NOW_MS, service="delivery", summary=summary)


def make_append(mailbox_id: MailboxId, operation_key: str, message: NewMessage | None = None, **how: object) -> Append:
    """An append into INBOX unless `how` says otherwise."""
    values: dict[str, object] = {"folder": SpecialUse.INBOX} | how
    return Append(
        mailbox_id=mailbox_id,
        operation_key=operation_key,
        message=message or make_message(),
        **values,  # type: ignore[arg-type]  # Append's own fields
    )


async def make_mailbox(store: MailStore) -> MailboxId:
    """A new mailbox."""
    mailbox_id = new_mailbox_id(NOW_MS)
    await store.ensure_mailboxes([mailbox_id])
    return mailbox_id


async def fill(store: MailStore, mailbox_id: MailboxId, count: int, **how: object) -> list[AppendResult]:
    """Appends so many messages."""
    return await store.append([make_append(mailbox_id, f"fill-{number}", None, **how) for number in range(count)])


async def load(store: MailStore, mailbox_id: MailboxId, folder_id: FolderId = INBOX) -> list[ViewRow]:
    """The rows of a folder."""
    return unpack_rows(await store.load_entries(mailbox_id, folder_id))


async def folder_of(store: MailStore, mailbox_id: MailboxId, name: str = "INBOX") -> Folder:
    """A folder by name."""
    return next(folder for folder in await store.list_folders(mailbox_id) if folder.name == name)


async def flag(
    store: MailStore, mailbox_id: MailboxId, uids: tuple[int, ...], flags: Flag, mode: StoreMode = StoreMode.ADD
) -> ModSeq:
    """STORE in INBOX."""
    request = StoreRequest(mailbox_id=mailbox_id, folder_id=INBOX, uids=uids, mode=mode, flags=flags)
    return (await store.store_flags(request)).mod_seq


async def check_counters(store: MailStore, mailbox_id: MailboxId) -> None:
    """The counters of every folder and the quota use are what counting the entries gives."""
    octets = 0
    for folder in await store.list_folders(mailbox_id):
        packed = await store.load_entries(mailbox_id, folder.folder_id)
        rows = unpack_rows(packed)
        assert folder.messages == len(rows)
        assert folder.unseen == sum(not row.flags & Flag.SEEN for row in rows)
        assert folder.deleted == sum(bool(row.flags & Flag.DELETED) for row in rows)
        assert folder.octets == sum(row.octets for row in rows)
        assert (folder.uid_next, folder.highest_mod_seq) == (packed.head.uid_next, packed.head.highest_mod_seq)
        assert [row.uid for row in rows] == sorted({row.uid for row in rows})
        assert all(row.uid < folder.uid_next and row.mod_seq <= folder.highest_mod_seq for row in rows)
        octets += folder.octets
    assert await store.usage([mailbox_id]) == {mailbox_id: octets}


def make_copy(
    mailbox_id: MailboxId,
    target: FolderId,
    uids: tuple[int, ...],
    *,
    move: bool = False,
    key: str | None = None,
    quota_octets: int | None = None,
) -> CopyRequest:
    """COPY or MOVE out of INBOX."""
    return CopyRequest(
        mailbox_id=mailbox_id,
        source=INBOX,
        uids=uids,
        target=target,
        operation_key=key or new_email_id(NOW_MS),
        move=move,
        quota_octets=quota_octets,
    )


async def drain_outbox(store: MailStore) -> None:
    """Empties the outbox."""

    async def ignore(events: list[Event]) -> None:
        pass

    while await store.relay_outbox(1000, ignore):  # type: ignore[arg-type]
        pass
