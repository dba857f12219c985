"""LIST, LSUB, STATUS, SUBSCRIBE, UNSUBSCRIBE, CREATE, DELETE, RENAME (RFC 9051 §6.3; special use: RFC 6154)."""

from collections.abc import Sequence

from postbus.imap.commands.folders import (
    Create,
    Delete,
    List,
    Lsub,
    Rename,
    Status,
    StatusItem,
    Subscribe,
    Unsubscribe,
)
from postbus.imap.patterns import FolderPattern
from postbus.imap.responses import DELIMITER, format_list_response, format_status_response
from postbus.mailstore.values import Folder, SpecialUse
from postbusd.imap_gateway.errors import Reply, refuse
from postbusd.imap_gateway.state import SessionState

SPECIAL_USE: dict[SpecialUse, bytes] = {
    SpecialUse.SENT: b"\\Sent",
    SpecialUse.DRAFTS: b"\\Drafts",
    SpecialUse.JUNK: b"\\Junk",
    SpecialUse.TRASH: b"\\Trash",
    SpecialUse.ARCHIVE: b"\\Archive",
}

NO_FOLDER = refuse("There is no such folder", b"NONEXISTENT")
TRY_CREATE = refuse("There is no such folder", b"TRYCREATE")


async def load_folders(session: SessionState) -> list[Folder]:
    """All folders of the mailbox."""
    return await session.deps.store.list_folders(session.mailbox_id)


async def find_folder(session: SessionState, name: str) -> Folder | None:
    """The folder of that name."""
    return next((folder for folder in await load_folders(session) if folder.name == name), None)


def _parents(folders: Sequence[Folder]) -> set[str]:
    return {folder.name.rpartition("/")[0] for folder in folders}


async def handle_list(session: SessionState, command: List) -> Reply:
    """RFC 9051 §6.3.9; an empty pattern asks for the delimiter."""
    if not command.pattern:
        session.write(b'* LIST (\\Noselect) %b ""\r\n' % DELIMITER)
        return Reply(text="Done")
    folders = await load_folders(session)
    parents = _parents(folders)
    pattern = FolderPattern(command.reference + command.pattern)
    for folder in folders:
        if pattern.matches(folder.name):
            attributes = [b"\\HasChildren" if folder.name in parents else b"\\HasNoChildren"]
            use = SPECIAL_USE.get(folder.special_use) if folder.special_use is not None else None
            if use is not None:
                attributes.append(use)
            session.write(format_list_response(b"LIST", attributes, folder.name))
    return Reply(text="Done")


async def handle_lsub(session: SessionState, command: Lsub) -> Reply:
    """RFC 3501 §6.3.9: with `%` a folder above a subscribed one shows as Noselect."""
    if not command.pattern:
        session.write(b'* LSUB (\\Noselect) %b ""\r\n' % DELIMITER)
        return Reply(text="Done")
    subscribed = [folder.name for folder in await load_folders(session) if folder.subscribed]
    pattern = FolderPattern(command.reference + command.pattern)
    shown = {name: [] for name in subscribed if pattern.matches(name)}  # type: dict[str, list[bytes]]
    for name in subscribed:
        above = name.rpartition("/")[0]
        while above and name not in shown:
            if above not in shown and pattern.matches(above):
                shown[above] = [b"\\Noselect"]
            above = above.rpartition("/")[0]
    for name, attributes in shown.items():
        session.write(format_list_response(b"LSUB", attributes, name))
    return Reply(text="Done")


async def handle_status(session: SessionState, command: Status) -> Reply:
    """RFC 9051 §6.3.11."""
    folder = await find_folder(session, command.folder)
    if folder is None:
        return NO_FOLDER
    values = {
        StatusItem.MESSAGES: folder.messages,
        StatusItem.RECENT: 0,
        StatusItem.UIDNEXT: folder.uid_next,
        StatusItem.UIDVALIDITY: folder.uid_validity,
        StatusItem.UNSEEN: folder.unseen,
        StatusItem.DELETED: folder.deleted,
        StatusItem.SIZE: folder.octets,
    }
    session.write(format_status_response(folder.name, [(item, values[item]) for item in command.items]))
    return Reply(text="Done")


async def handle_create(session: SessionState, command: Create) -> Reply:
    """RFC 9051 §6.3.4: what is created is subscribed too, as clients expect."""
    folder = await session.deps.store.create_folder(session.mailbox_id, command.folder)
    await session.deps.store.set_subscribed(session.mailbox_id, folder.folder_id, True)
    return Reply(text="Done")


async def handle_delete(session: SessionState, command: Delete) -> Reply:
    """RFC 9051 §6.3.5."""
    folder = await find_folder(session, command.folder)
    if folder is None:
        return NO_FOLDER
    if session.selected is not None and session.selected.view.folder_id == folder.folder_id:
        return refuse("The folder is selected", b"INUSE")
    await session.deps.store.delete_folder(session.mailbox_id, folder.folder_id)
    await session.announce(folder.highest_mod_seq + 1, folder.folder_id)
    return Reply(text="Done")


async def handle_rename(session: SessionState, command: Rename) -> Reply:
    """RFC 9051 §6.3.6."""
    folder = await find_folder(session, command.folder)
    if folder is None:
        return NO_FOLDER
    await session.deps.store.rename_folder(session.mailbox_id, folder.folder_id, command.new_name)
    if folder.name == "INBOX":
        await session.announce(folder.highest_mod_seq + 1, folder.folder_id)
    return Reply(text="Done")


async def handle_subscribe(session: SessionState, command: Subscribe | Unsubscribe) -> Reply:
    """RFC 9051 §6.3.7, §6.3.8."""
    folder = await find_folder(session, command.folder)
    if folder is None:
        return NO_FOLDER
    await session.deps.store.set_subscribed(session.mailbox_id, folder.folder_id, isinstance(command, Subscribe))
    return Reply(text="Done")
