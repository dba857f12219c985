"""SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2; CONDSTORE: RFC 7162 §3.1.2)."""

from postbus.imap.commands.select import Close, Examine, Select, Unselect
from postbus.imap.flags import SYSTEM_FLAGS
from postbus.imap.responses import format_flags, format_highest_mod_seq, format_untagged
from postbus.mailstore.values import Flag
from postbusd.imap_gateway.commands.folders import NO_FOLDER, find_folder
from postbusd.imap_gateway.commands.store import expunge
from postbusd.imap_gateway.errors import Reply
from postbusd.imap_gateway.selected import SelectedFolder
from postbusd.imap_gateway.state import SessionState
from postbusd.imap_gateway.views import FolderView

MAX_LISTED_KEYWORDS = 100
"""Keywords named in the FLAGS response."""


async def handle_select(session: SessionState, command: Select | Examine) -> Reply:
    """Opens the view; a folder selected before is left whatever comes of it (RFC 9051 §6.3.2)."""
    if session.selected is not None:
        session.write(format_untagged(b"OK", "The folder before is closed", b"CLOSED"))
        await session.unselect()
    session.condstore = session.condstore or command.condstore
    folder = await find_folder(session, command.folder)
    if folder is None:
        return NO_FOLDER
    watcher = session.wire.bell.set
    view = await session.deps.views.open(folder, watcher)
    read_only = isinstance(command, Examine)
    session.selected = SelectedFolder(folder.name, view, read_only, watcher)
    session.write(_describe(view, read_only))
    return Reply(text="Done", code=b"READ-ONLY" if read_only else b"READ-WRITE")


def _describe(view: FolderView, read_only: bool) -> bytes:
    keywords = dict.fromkeys(keyword for keywords in view.keywords.values() for keyword in keywords)
    flags = (*SYSTEM_FLAGS, *list(keywords)[:MAX_LISTED_KEYWORDS])
    permanent = () if read_only else (*flags, "\\*")
    pieces = [
        b"* FLAGS %b\r\n" % format_flags(flags),
        b"* %d EXISTS\r\n* 0 RECENT\r\n" % len(view),
        format_untagged(b"OK", "Flags that stay", b"PERMANENTFLAGS " + format_flags(permanent)),
        format_untagged(b"OK", "UIDs are valid", b"UIDVALIDITY %d" % view.uid_validity),
        format_untagged(b"OK", "Next UID", b"UIDNEXT %d" % view.uid_next),
    ]
    unseen = next((row for row, flags_of in enumerate(view.flags) if not flags_of & Flag.SEEN), None)
    if unseen is not None:
        pieces.append(format_untagged(b"OK", "First unseen", b"UNSEEN %d" % (unseen + 1)))
    pieces.append(format_highest_mod_seq(view.mod_seq))
    return b"".join(pieces)


async def handle_close(session: SessionState, command: Close) -> Reply:
    r"""Removes what is \Deleted without a word, unless the folder is open for reading only (RFC 9051 §6.4.1)."""
    selected = session.require_selected()
    if not selected.read_only and any(flags & Flag.DELETED for flags in selected.view.flags):
        await expunge(session, selected, None)
    await session.unselect()
    return Reply(text="Done")


async def handle_unselect(session: SessionState, command: Unselect) -> Reply:
    """RFC 9051 §6.4.2."""
    await session.unselect()
    return Reply(text="Done")
