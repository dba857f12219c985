"""LIST and LSUB (RFC 9051 §6.3.9; special use: RFC 6154; STATUS in LIST: RFC 5819)."""

from collections.abc import Iterable

from postbus.imap.commands.folders import StatusItem
from postbus.imap.commands.listing import List, ListReturn, ListSelection, Lsub
from postbus.imap.patterns import FolderPattern
from postbus.imap.responses import DELIMITER, format_list_response
from postbus.mailstore.values import Folder, SpecialUse
from postbusd.imap_gateway.commands.folders import format_status, load_folders
from postbusd.imap_gateway.errors import Reply
from postbusd.imap_gateway.state import SessionState

SPECIAL_USE: dict[SpecialUse, bytes] = {
    SpecialUse.SENT: b"\\Sent",
    SpecialUse.DRAFTS: b"\\Drafts",
    SpecialUse.JUNK: b"\\Junk",
    SpecialUse.TRASH: b"\\Trash",
    SpecialUse.ARCHIVE: b"\\Archive",
}

_CHILD_INFO = b'("CHILDINFO" ("SUBSCRIBED"))'


async def handle_list(session: SessionState, command: List) -> Reply:
    """An empty pattern asks for the delimiter (RFC 9051 §6.3.9)."""
    if command.patterns == ("",):
        session.write(b'* LIST (\\Noselect) %b ""\r\n' % DELIMITER)
        return Reply(text="Done")
    if StatusItem.HIGHESTMODSEQ in command.status:
        session.enable_condstore()
    folders = await load_folders(session)
    parents = set(_names_above(folder.name for folder in folders))
    above_subscribed = set(_names_above(folder.name for folder in folders if folder.subscribed))
    patterns = [FolderPattern(command.reference + pattern) for pattern in command.patterns]
    for folder in folders:
        if not any(pattern.matches(folder.name) for pattern in patterns):
            continue
        tells_below = ListSelection.RECURSIVEMATCH in command.selection and folder.name in above_subscribed
        if not _is_selected(folder, command.selection) and not tells_below:
            continue
        attributes = _describe(folder, command, folder.name in parents)
        extended = _CHILD_INFO if tells_below else b""
        session.write(format_list_response(b"LIST", attributes, folder.name, extended))
        if ListReturn.STATUS in command.returns:
            session.write(format_status(folder, command.status, session.deps.settings.max_append_octets))
    return Reply(text="Done")


def _is_selected(folder: Folder, selection: frozenset[ListSelection]) -> bool:
    if ListSelection.SUBSCRIBED in selection and not folder.subscribed:
        return False
    return ListSelection.SPECIAL_USE not in selection or folder.special_use in SPECIAL_USE


def _describe(folder: Folder, command: List, has_children: bool) -> list[bytes]:
    """Children and special use always: they cost nothing, and old clients look for them."""
    attributes = [b"\\HasChildren" if has_children else b"\\HasNoChildren"]
    if folder.special_use in SPECIAL_USE:
        attributes.append(SPECIAL_USE[folder.special_use])
    asked = ListReturn.SUBSCRIBED in command.returns or ListSelection.SUBSCRIBED in command.selection
    if asked and folder.subscribed:
        attributes.append(b"\\Subscribed")
    return attributes


def _names_above(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        above = name.rpartition("/")[0]
        while above:
            yield above
            above = above.rpartition("/")[0]


async def handle_lsub(session: SessionState, command: Lsub) -> Reply:
    """RFC 3501 §6.3.9: a folder above a subscribed one shows as Noselect."""
    if not command.pattern:
        session.write(b'* LSUB (\\Noselect) %b ""\r\n' % DELIMITER)
        return Reply(text="Done")
    subscribed = [folder.name for folder in await load_folders(session) if folder.subscribed]
    pattern = FolderPattern(command.reference + command.pattern)
    shown: dict[str, list[bytes]] = {name: [] for name in subscribed if pattern.matches(name)}
    for above in _names_above(name for name in subscribed if name not in shown):
        if above not in shown and pattern.matches(above):
            shown[above] = [b"\\Noselect"]
    for name, attributes in shown.items():
        session.write(format_list_response(b"LSUB", attributes, name))
    return Reply(text="Done")
