"""STATUS, SUBSCRIBE, UNSUBSCRIBE, CREATE, DELETE, RENAME (RFC 9051 §6.3)."""

from collections.abc import Sequence

from postbus.imap.commands.folders import (
    Create,
    Delete,
    Rename,
    Status,
    StatusItem,
    Subscribe,
    Unsubscribe,
)
from postbus.imap.responses import format_status_response
from postbus.mailstore.names import SEPARATOR
from postbus.mailstore.values import Folder
from postbusd.imap_gateway.errors import Reply, refuse
from postbusd.imap_gateway.state import SessionState

NO_FOLDER = refuse("There is no such folder", b"NONEXISTENT")
TRY_CREATE = refuse("There is no such folder", b"TRYCREATE")


async def load_folders(session: SessionState) -> list[Folder]:
    """All folders of the mailbox."""
    return await session.deps.store.list_folders(session.mailbox_id)


async def find_folder(session: SessionState, name: str) -> Folder | None:
    """The folder of that name."""
    return next((folder for folder in await load_folders(session) if folder.name == name), None)


async def handle_status(session: SessionState, command: Status) -> Reply:
    """RFC 9051 §6.3.11."""
    folder = await find_folder(session, command.folder)
    if folder is None:
        return NO_FOLDER
    if StatusItem.HIGHESTMODSEQ in command.items:
        session.enable_condstore()
    session.write(format_status(folder, command.items, session.deps.settings.max_append_octets))
    return Reply(text="Done")


def format_status(folder: Folder, items: Sequence[StatusItem], append_limit: int) -> bytes:
    """The STATUS response (RFC 9051 §7.3.4)."""
    values = {
        StatusItem.MESSAGES: folder.messages,
        StatusItem.RECENT: 0,
        StatusItem.UIDNEXT: folder.uid_next,
        StatusItem.UIDVALIDITY: folder.uid_validity,
        StatusItem.UNSEEN: folder.unseen,
        StatusItem.DELETED: folder.deleted,
        StatusItem.SIZE: folder.octets,
        StatusItem.HIGHESTMODSEQ: folder.highest_mod_seq,
        StatusItem.APPENDLIMIT: append_limit,
    }
    return format_status_response(folder.name, [(item, values[item]) for item in items])


async def handle_create(session: SessionState, command: Create) -> Reply:
    """RFC 9051 §6.3.4: what is created is subscribed too, as clients expect."""
    folder = await session.deps.store.create_folder(session.mailbox_id, command.folder)
    await session.deps.store.set_subscribed(session.mailbox_id, folder.folder_id, True)
    return Reply(text="Done")


async def handle_delete(session: SessionState, command: Delete) -> Reply:
    """RFC 9051 §6.3.5."""
    folders = await load_folders(session)
    folder = next((each for each in folders if each.name == command.folder), None)
    if folder is None:
        return NO_FOLDER
    if session.selected is not None and session.selected.view.folder_id == folder.folder_id:
        return refuse("The folder is selected", b"INUSE")
    if any(each.name.startswith(folder.name + SEPARATOR) for each in folders):
        return refuse("There are folders below", b"HASCHILDREN")
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
