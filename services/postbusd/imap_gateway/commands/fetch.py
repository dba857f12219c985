"""FETCH and UID FETCH (RFC 9051 §6.4.5): chunk by chunk, so that memory stays bounded and the peer sets the pace."""

import asyncio
import itertools
import uuid
from collections.abc import Mapping, Sequence

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId
from postbus.imap.commands.fetch import Fetch, FetchItem
from postbus.mailstore.values import Flag, StoredMessage, StoreMode, StoreRequest
from postbus.mime.codec import decode_scan
from postbusd.imap_gateway.commands.store import NO_SUCH_NUMBER
from postbusd.imap_gateway.errors import Reply
from postbusd.imap_gateway.fetch_plan import (
    LIGHT_COLUMNS,
    Cut,
    FetchPlan,
    Pieces,
    cut_item,
    format_cut,
    format_flag_items,
    format_structure,
    make_plan,
    span_of,
)
from postbusd.imap_gateway.selected import SelectedFolder
from postbusd.imap_gateway.state import SessionState

WHOLE_BLOB_OCTETS = 65_536
"""Blobs up to this size are read whole, many in one thread job; of larger ones only what is needed."""


async def handle_fetch(session: SessionState, command: Fetch) -> Reply:
    """Messages that are gone but not yet told of are left out (RFC 2180 §4.1.2)."""
    selected = session.require_selected()
    uids = selected.resolve(command.numbers, command.uid)
    if uids is None:
        return NO_SUCH_NUMBER
    plan = make_plan(command.items)
    complete = True
    for chunk in plan.split(selected.view, uids):
        complete = await _fetch_chunk(session, selected, plan, chunk) and complete
        await session.flush(if_much=True)
        await asyncio.sleep(0)  # other sessions have their turn, even if the peer reads as fast as we write
    if not complete:
        return Reply(text="Some messages are gone", code=b"EXPUNGEISSUED")
    return Reply(text="Done")


async def _fetch_chunk(session: SessionState, selected: SelectedFolder, plan: FetchPlan, uids: Sequence[int]) -> bool:
    """Writes the responses of some messages; whether all were there."""
    heavy = await _load_chunk(session, selected, plan, uids) if plan.envelope or plan.needs_messages else None
    view = selected.view
    numbers, rows = _locate(selected, uids if heavy is None else [uid for uid in uids if uid in heavy])
    columns = [LIGHT_COLUMNS[item](view, rows) for item in plan.light]
    light = zip(*columns, strict=True) if columns else itertools.repeat((), len(rows))
    if heavy is None:
        lines = (
            b"* %d FETCH (%b)\r\n" % (number, b" ".join(items)) for number, items in zip(numbers, light, strict=True)
        )
        session.write(b"".join(lines))
    else:
        for number, row, items in zip(numbers, rows, light, strict=True):
            _write_heavy(session, number, b" ".join(items), heavy[view.uids[row]])
    return len(rows) == len(uids)


def _write_heavy(session: SessionState, number: int, light: bytes, heavy: Sequence[Pieces]) -> None:
    session.write(b"* %d FETCH (%b" % (number, light))
    separator = b" " if light else b""
    for text, octets in heavy:
        session.write(separator + text)
        session.write(octets)
        separator = b" "
    session.write(b")\r\n")


def _locate(selected: SelectedFolder, uids: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Sequence numbers and rows of those that are still there."""
    if uids and selected.uids is selected.view.uids:
        first, last = selected.sequence_number(uids[0]), selected.sequence_number(uids[-1])
        if last - first + 1 == len(uids):
            return range(first, last + 1), range(first - 1, last)
    pairs = [(selected.sequence_number(uid), row) for uid in uids if (row := selected.view.row_of(uid)) >= 0]
    return [number for number, _ in pairs], [row for _, row in pairs]


async def _load_chunk(
    session: SessionState, selected: SelectedFolder, plan: FetchPlan, uids: Sequence[int]
) -> dict[int, list[Pieces]]:
    """Items that are not in the view, by uid; what is missing was expunged meanwhile."""
    view = selected.view
    ids = {uid: EmailId(str(uuid.UUID(bytes=view.email_id(row)))) for uid in uids if (row := view.row_of(uid)) >= 0}
    items: dict[int, list[Pieces]] = {uid: [] for uid in ids}
    if plan.envelope:
        envelopes = await session.deps.store.fetch_envelopes(session.mailbox_id, list(ids.values()))
        items = {
            uid: [(b"ENVELOPE " + envelope, b"")] for uid, envelope in zip(ids, envelopes, strict=True) if envelope
        }
    if plan.needs_messages:
        stored = await session.deps.store.fetch_messages(session.mailbox_id, list(ids.values()))
        messages = {uid: stored[email_id] for uid, email_id in ids.items() if uid in items and email_id in stored}
        loaded = await _load_items(session, plan, messages)
        items = {uid: items[uid] + own for uid, own in loaded.items()}
    if plan.sets_seen and not selected.read_only:
        await _set_seen(session, selected, plan, items)
    return items


async def _load_items(
    session: SessionState, plan: FetchPlan, messages: Mapping[int, StoredMessage]
) -> dict[int, list[Pieces]]:
    """Structures and sections of each message, formatted."""
    items: dict[int, list[Pieces]] = {}
    cuts: dict[int, list[Cut]] = {}
    for uid, message in messages.items():
        scan = decode_scan(message.structure)
        items[uid] = [format_structure(item, scan) for item in plan.structures]
        cuts[uid] = [cut_item(item, scan, message.prefix) for item in plan.bodies]
    contents = await _load_contents(session, messages, cuts) if plan.bodies else {}
    for uid, own in cuts.items():
        content, offset = contents.get(uid, (b"", 0))
        items[uid] += [format_cut(cut, content, offset) for cut in own]
    return items


async def _load_contents(
    session: SessionState, messages: Mapping[int, StoredMessage], cuts: Mapping[int, list[Cut]]
) -> dict[int, tuple[bytes, int]]:
    """Octets of each blob and where they begin."""
    blobs = session.deps.blobs
    contents: dict[int, tuple[bytes, int]] = {}
    whole: list[int] = []
    try:
        for uid, message in messages.items():
            start, end = span_of(cuts[uid])
            if start == end:
                continue
            if message.octets <= WHOLE_BLOB_OCTETS:
                whole.append(uid)
            else:
                contents[uid] = await blobs.get(message.blob_id, start, end - start), start
        for uid, content in zip(whole, await blobs.get_many([messages[uid].blob_id for uid in whole]), strict=True):
            contents[uid] = content, 0
    except MailError as error:
        if error.kind is ErrorKind.NOT_FOUND:  # a row without its blob is our loss, not the client's mistake
            raise MailError(ErrorKind.UNAVAILABLE, "message bytes are missing") from error
        raise
    return contents


async def _set_seen(
    session: SessionState, selected: SelectedFolder, plan: FetchPlan, items: dict[int, list[Pieces]]
) -> None:
    r"""Sets \Seen on what was just read, and adds FLAGS to the responses of messages that did not have it."""
    view = selected.view
    unseen = tuple(uid for uid in items if (row := view.row_of(uid)) >= 0 and not view.flags[row] & Flag.SEEN)
    if not unseen:
        return
    result = await session.deps.store.store_flags(
        StoreRequest(
            mailbox_id=session.mailbox_id,
            folder_id=view.folder_id,
            uids=unseen,
            mode=StoreMode.ADD,
            flags=Flag.SEEN,
        )
    )
    await session.announce(result.mod_seq, view.folder_id)
    if FetchItem.FLAGS not in plan.light:
        for uid in unseen:
            row = view.row_of(uid)
            if row >= 0:
                items[uid].insert(0, (format_flag_items(view, [row])[0], b""))
    selected.note_told(unseen)
