"""FETCH and UID FETCH (RFC 9051 §6.4.5): chunk by chunk, so that memory stays bounded and the peer sets the pace.

Octets of a large message are read piece by piece while they are written: whatever a command asks for, and however
often, a session holds no more than a chunk of small messages or a piece of a large one.
"""

import asyncio
import itertools
import logging
import uuid
from collections.abc import Mapping, Sequence

import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import BlobId, EmailId
from postbus.imap.commands.fetch import Fetch, FetchItem
from postbus.mailstore.values import Flag, StoredMessage, StoreMode, StoreRequest
from postbus.mime.codec import decode_scan
from postbus.mime.limits import MAX_HEADER_OCTETS
from postbusd.imap_gateway.commands.store import NO_SUCH_NUMBER
from postbusd.imap_gateway.errors import Reply
from postbusd.imap_gateway.fetch_plan import (
    LIGHT_COLUMNS,
    Cut,
    FetchPlan,
    chooses_fields,
    cut_item,
    format_chosen_fields,
    format_cut_label,
    format_structure,
    make_plan,
)
from postbusd.imap_gateway.outcome import settle
from postbusd.imap_gateway.selected import SelectedFolder
from postbusd.imap_gateway.state import SessionState

WHOLE_BLOB_OCTETS = 65_536
"""Blobs up to this size are read whole, many in one thread job; of larger ones only what is needed."""
PIECE_OCTETS = 1_048_576
"""Of a larger blob, at a time: what a session holds while its peer is behind."""

log = logging.getLogger(__name__)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where the octets of a message come from: `content` is what was read already, from `offset` on."""

    blob_id: BlobId
    content: bytes = b""
    offset: int = 0


class Heavy:
    """What a response says besides the items of the view: ready-made texts, then cuts of the source."""

    def __init__(self, *texts: bytes) -> None:
        self.texts = list(texts)
        self.cuts: Sequence[Cut] = ()
        self.source: Source | None = None


async def handle_fetch(session: SessionState, command: Fetch) -> Reply:
    """Messages that are gone but not yet told of are left out (RFC 2180 §4.1.2)."""
    selected = session.require_selected()
    if FetchItem.MODSEQ in command.items:
        session.enable_condstore()
    if command.changed_since is None:
        uids = selected.resolve(command.numbers, command.uid)
    else:
        uids = selected.resolve_changed(command.numbers, command.uid, command.changed_since)
    if uids is None:
        return NO_SUCH_NUMBER
    plan = make_plan(command.items)
    complete = True
    for chunk in plan.split(selected.view, uids):
        session.check_login()
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
        found = [heavy[view.uids[row]] for row in rows]  # rows move while a peer is waited for
        for number, own, items in zip(numbers, found, light, strict=True):
            await _write_heavy(session, number, [*items, *own.texts], own)
    return len(numbers) == len(uids)


async def _write_heavy(session: SessionState, number: int, texts: Sequence[bytes], heavy: Heavy) -> None:
    session.mid_response = True
    session.write(b"* %d FETCH (%b" % (number, b" ".join(texts)))
    separator = b" " if texts else b""
    for cut in heavy.cuts:
        session.write(separator)
        await _write_cut(session, cut, heavy.source)
        separator = b" "
    session.write(b")\r\n")
    session.mid_response = False
    if heavy.cuts:
        await asyncio.sleep(0)


async def _write_cut(session: SessionState, cut: Cut, source: Source | None) -> None:
    """Label and octets."""
    if source is not None and chooses_fields(cut):
        end = min(cut.end, cut.start + MAX_HEADER_OCTETS)  # fields are looked for no further anywhere
        session.write(format_chosen_fields(cut, await _read(session, source, cut.start, end)))
        await asyncio.sleep(0)
        return
    session.write(format_cut_label(cut))
    if source is None or cut.missing:
        return
    for start in range(cut.start, cut.end, PIECE_OCTETS):
        session.write(await _read(session, source, start, min(cut.end, start + PIECE_OCTETS)))
        await session.flush(if_much=True)


async def _read(session: SessionState, source: Source, start: int, end: int) -> bytes:
    """Octets of the blob, no fewer than asked for.

    Raises ConnectionAbortedError: in the middle of a response there is no other way to take it back.
    """
    if start >= end:
        return b""
    first = start - source.offset
    if first >= 0 and end <= source.offset + len(source.content):
        return source.content[first : first + end - start]
    try:
        octets = await session.deps.blobs.get(source.blob_id, start, end - start)
        if len(octets) != end - start:
            raise MailError(ErrorKind.NOT_FOUND, "the blob is too short")
    except MailError as error:
        log.error("imap.fetch.cut_short", extra={"session_id": session.session_id, "reason": str(error)})
        raise ConnectionAbortedError("message bytes are away") from error
    return octets


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
) -> dict[int, Heavy]:
    """Items that are not in the view, by uid; what is missing was expunged meanwhile."""
    view = selected.view
    ids = {uid: EmailId(str(uuid.UUID(bytes=view.email_id(row)))) for uid in uids if (row := view.row_of(uid)) >= 0}
    items = {uid: Heavy() for uid in ids}
    if plan.envelope:
        envelopes = await session.deps.store.fetch_envelopes(session.mailbox_id, list(ids.values()))
        items = {uid: Heavy(b"ENVELOPE " + envelope) for uid, envelope in zip(ids, envelopes, strict=True) if envelope}
    if plan.needs_messages:
        stored = await session.deps.store.fetch_messages(session.mailbox_id, list(ids.values()))
        messages = {uid: stored[email_id] for uid, email_id in ids.items() if uid in items and email_id in stored}
        items = {uid: items[uid] for uid in messages}
        await _load_items(session, plan, messages, items)
    if plan.sets_seen and not selected.read_only:
        await _set_seen(session, selected, plan, items)
    return items


async def _load_items(
    session: SessionState, plan: FetchPlan, messages: Mapping[int, StoredMessage], items: Mapping[int, Heavy]
) -> None:
    """Adds structures, and the cuts of each message with their source."""
    for uid, message in messages.items():
        own, scan = items[uid], decode_scan(message.structure)
        own.texts += [format_structure(item, scan, message.preview) for item in plan.structures]
        own.cuts = [cut_item(item, scan, message.prefix) for item in plan.bodies]
    if not plan.bodies:
        return
    try:
        await _load_sources(session, messages, items)
    except MailError as error:
        if error.kind is ErrorKind.NOT_FOUND:  # a row without its blob is our loss, not the client's mistake
            raise MailError(ErrorKind.UNAVAILABLE, "message bytes are missing") from error
        raise


async def _load_sources(
    session: SessionState, messages: Mapping[int, StoredMessage], items: Mapping[int, Heavy]
) -> None:
    """Small blobs whole, of each larger one the first piece that is wanted. Raises MailError."""
    blobs = session.deps.blobs
    whole: list[int] = []
    for uid, message in messages.items():
        first = next((cut for cut in items[uid].cuts if cut.start < cut.end), None)
        items[uid].source = Source(blob_id=message.blob_id)
        if first is None:
            continue
        if message.octets <= WHOLE_BLOB_OCTETS:
            whole.append(uid)
            continue
        content = await blobs.get(message.blob_id, first.start, min(PIECE_OCTETS, first.end - first.start))
        items[uid].source = Source(blob_id=message.blob_id, content=content, offset=first.start)
    contents = await blobs.get_many([messages[uid].blob_id for uid in whole]) if whole else []
    for uid, content in zip(whole, contents, strict=True):
        items[uid].source = Source(blob_id=messages[uid].blob_id, content=content)


async def _set_seen(
    session: SessionState, selected: SelectedFolder, plan: FetchPlan, items: Mapping[int, Heavy]
) -> None:
    r"""Sets \Seen on what was just read, and adds FLAGS to the responses of messages that did not have it."""
    view = selected.view
    unseen = tuple(uid for uid in items if (row := view.row_of(uid)) >= 0 and not view.flags[row] & Flag.SEEN)
    if not unseen:
        return
    request = StoreRequest(
        mailbox_id=session.mailbox_id, folder_id=view.folder_id, uids=unseen, mode=StoreMode.ADD, flags=Flag.SEEN
    )
    result = await settle(session, lambda: session.deps.store.store_flags(request))
    await session.announce(result.mod_seq, view.folder_id)
    told = (FetchItem.UID, FetchItem.FLAGS, FetchItem.MODSEQ) if session.condstore else (FetchItem.FLAGS,)
    added = [LIGHT_COLUMNS[item] for item in told if item not in plan.light]
    for uid in unseen:
        row = view.row_of(uid)
        if row >= 0:
            items[uid].texts[:0] = [column(view, [row])[0] for column in added]
    selected.note_told(unseen)
