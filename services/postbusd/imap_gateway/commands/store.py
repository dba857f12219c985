"""STORE, EXPUNGE, COPY, MOVE and their UID forms (RFC 9051 §6.4.3, §6.4.6-6.4.9; COPYUID: RFC 4315 §3)."""

import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import ModSeq, new_uuid7
from postbus.imap.commands.store import Copy, Expunge, Move, Store, StoreAction
from postbus.imap.responses import format_untagged
from postbus.imap.wire import format_set
from postbus.mailstore.values import CopyRequest, CopyResult, StoreMode, StoreRequest, StoreResult
from postbusd.imap_gateway.commands.folders import TRY_CREATE, find_folder
from postbusd.imap_gateway.errors import Reply, refuse, reject
from postbusd.imap_gateway.flags import format_view_flags, split_flags
from postbusd.imap_gateway.outcome import settle
from postbusd.imap_gateway.quota import renew_quota
from postbusd.imap_gateway.selected import SelectedFolder
from postbusd.imap_gateway.state import SessionState
from postbusd.imap_gateway.views import FolderView

NO_SUCH_NUMBER = reject("There is no message of that number")
READ_ONLY = refuse("The folder is open for reading only", b"READ-ONLY")

_MODES = {
    StoreAction.REPLACE: StoreMode.REPLACE,
    StoreAction.ADD: StoreMode.ADD,
    StoreAction.REMOVE: StoreMode.REMOVE,
}


async def handle_store(session: SessionState, command: Store) -> Reply:
    """One write for all messages, then their flags unless .SILENT; with UNCHANGEDSINCE as RFC 7162 §3.1.3 says."""
    selected = session.require_selected()
    if command.unchanged_since is not None:
        session.enable_condstore()
    uids = selected.resolve(command.numbers, command.uid)
    if uids is None:
        return NO_SUCH_NUMBER
    if selected.read_only:
        return READ_ONLY
    if not uids:
        return Reply(text="Done")
    view = selected.view
    before = view.mod_seq
    request = _make_request(session, view, uids, command)
    result = await settle(session, lambda: session.deps.store.store_flags(request))
    if result.mod_seq > before:
        await session.announce(result.mod_seq, view.folder_id)
    refused = set(result.modified)
    stored = [uid for uid in uids if uid not in refused] if refused else uids
    if view.mod_seq >= result.mod_seq:  # else the view could not be refreshed: the flags are told later, as news
        if command.silent:
            _note_silently(session, selected, stored, result)
        else:
            _tell_flags(session, selected, stored, command.uid)
    if command.unchanged_since is None:
        return Reply(text="Done")
    return _answer_conditional(selected, command, uids, refused)


def _make_request(session: SessionState, view: FolderView, uids: list[int], command: Store) -> StoreRequest:
    """A conditional STORE has an operation key: repeated without one it would see its own first run and refuse."""
    flags, keywords = split_flags(command.flags)
    since = command.unchanged_since
    return StoreRequest(
        mailbox_id=session.mailbox_id,
        folder_id=view.folder_id,
        uids=tuple(uids),
        mode=_MODES[command.action],
        flags=flags,
        keywords=keywords,
        unchanged_since=ModSeq(since) if since is not None else None,
        operation_key=new_uuid7(session.deps.clock.now_ms()) if since is not None else None,
    )


def _tell_flags(session: SessionState, selected: SelectedFolder, uids: list[int], with_uid: bool) -> None:
    view = selected.view
    for uid in uids:
        row = view.row_of(uid)
        if row >= 0:
            label = b"UID %d " % uid if with_uid or session.condstore else b""
            tail = b" MODSEQ (%d)" % view.mod_seqs[row] if session.condstore else b""
            number = selected.sequence_number(uid)
            session.write(b"* %d FETCH (%bFLAGS %b%b)\r\n" % (number, label, format_view_flags(view, row), tail))
    selected.note_told(uids)


def _note_silently(session: SessionState, selected: SelectedFolder, uids: list[int], result: StoreResult) -> None:
    """Says nothing, or the mod_seqs alone; what others changed too is told with its flags, as news."""
    view = selected.view
    own = {uid for uid in uids if (row := view.row_of(uid)) >= 0 and view.mod_seqs[row] == result.mod_seq}
    if not result.changed:
        own.clear()
    for uid in uids if session.condstore else ():
        row = view.row_of(uid)
        if uid in own or (row >= 0 and view.mod_seqs[row] <= selected.told):
            number = selected.sequence_number(uid)
            session.write(b"* %d FETCH (UID %d MODSEQ (%d))\r\n" % (number, uid, view.mod_seqs[row]))
    selected.note_told(own)


def _answer_conditional(selected: SelectedFolder, command: Store, uids: list[int], refused: set[int]) -> Reply:
    """MODIFIED names what was refused, and what is gone where it was asked for by number (RFC 7162 §3.1.3)."""
    gone = set() if command.uid else {uid for uid in uids if selected.view.row_of(uid) < 0}
    failed = sorted(refused | gone)
    if not failed:
        return Reply(text="Done")
    numbers = failed if command.uid else [selected.sequence_number(uid) for uid in failed]
    code = b"MODIFIED " + format_set(numbers)
    return refuse("Some of the messages are gone", code) if gone else Reply(text="Conditional STORE failed", code=code)


async def handle_expunge(session: SessionState, command: Expunge) -> Reply:
    r"""Removes \Deleted messages; their EXPUNGE responses are the news after the command."""
    selected = session.require_selected()
    if selected.read_only:
        return READ_ONLY
    uids = selected.resolve(command.numbers, uid=True) if command.numbers is not None else None
    await expunge(session, selected, uids)
    return Reply(text="Done")


async def expunge(session: SessionState, selected: SelectedFolder, uids: list[int] | None) -> None:
    r"""Removes the \Deleted messages and tells everybody.

    The uids that the store names are not looked at: after a lost answer they are in no second one. mod_seq tells.
    """
    view = selected.view
    before = view.mod_seq
    _, mod_seq = await settle(session, lambda: session.deps.store.expunge(session.mailbox_id, view.folder_id, uids))
    if mod_seq > before:
        await session.announce(mod_seq, view.folder_id)


async def handle_copy(session: SessionState, command: Copy) -> Reply:
    """All or nothing, in one operation with a key."""
    selected = session.require_selected()
    uids = selected.resolve(command.numbers, command.uid)
    if uids is None:
        return NO_SUCH_NUMBER
    result = await _transfer(session, selected, uids, command)
    if result is None:
        return TRY_CREATE
    return Reply(text="Done", code=_copy_code(result))


async def handle_move(session: SessionState, command: Move) -> Reply:
    """COPYUID stands in an untagged OK before the EXPUNGE responses (RFC 6851 §4.3)."""
    selected = session.require_selected()
    if selected.read_only:
        return READ_ONLY
    uids = selected.resolve(command.numbers, command.uid)
    if uids is None:
        return NO_SUCH_NUMBER
    result = await _transfer(session, selected, uids, command)
    if result is None:
        return TRY_CREATE
    if result.pairs:
        session.write(format_untagged(b"OK", "Moved", _copy_code(result)))
    return Reply(text="Done")


async def _transfer(
    session: SessionState, selected: SelectedFolder, uids: list[int], command: Copy | Move
) -> CopyResult | None:
    """None: the target is not there."""
    target = await find_folder(session, command.folder)
    if target is None:
        return None
    if not uids:
        return CopyResult(uid_validity=target.uid_validity, pairs=(), mod_seq=target.highest_mod_seq)
    source = selected.view.folder_id
    request = CopyRequest(
        mailbox_id=session.mailbox_id,
        source=source,
        uids=tuple(uids),
        target=target.folder_id,
        operation_key=new_uuid7(session.deps.clock.now_ms()),
        move=isinstance(command, Move),
        quota_octets=session.require_account().quota_octets,
    )
    result = await _copy(session, request)
    if result.pairs:
        await session.announce(result.mod_seq, source, target.folder_id)
    return result


async def _copy(session: SessionState, request: CopyRequest) -> CopyResult:
    """A refused one left nothing behind, not even its key."""
    try:
        return await settle(session, lambda: session.deps.store.copy(request))
    except MailError as error:
        if error.kind is not ErrorKind.OVER_QUOTA or not await renew_quota(session):
            raise
    again = msgspec.structs.replace(request, quota_octets=session.require_account().quota_octets)
    return await settle(session, lambda: session.deps.store.copy(again))


def _copy_code(result: CopyResult) -> bytes:
    if not result.pairs:
        return b""
    sources = format_set(source for source, _ in result.pairs)
    targets = format_set(target for _, target in result.pairs)
    return b"COPYUID %d %b %b" % (result.uid_validity, sources, targets)
