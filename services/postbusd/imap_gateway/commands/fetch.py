"""FETCH and UID FETCH (RFC 9051 §6.4.5): chunk by chunk, so that memory stays bounded and the peer sets the pace."""

import uuid
from collections.abc import Mapping, Sequence

import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId
from postbus.imap.commands.fetch import Fetch, FetchItem
from postbus.mailstore.values import Flag, StoredMessage, StoreMode, StoreRequest
from postbus.mime.codec import decode_scan
from postbusd.imap_gateway.commands.store import NO_SUCH_NUMBER
from postbusd.imap_gateway.errors import Reply
from postbusd.imap_gateway.fetch_plan import (
    LIGHT_FORMATTERS,
    Cut,
    FetchPlan,
    cut_item,
    format_cut,
    format_structure,
    make_plan,
    span_of,
)
from postbusd.imap_gateway.selected import SelectedFolder
from postbusd.imap_gateway.state import SessionState

WHOLE_BLOB_OCTETS = 65_536
"""Blobs up to this size are read whole, many in one thread job; of larger ones only what is needed."""


class _Chunk(msgspec.Struct, kw_only=True):
    """Data for some messages, by uid; what is missing was expunged meanwhile."""

    envelopes: dict[int, bytes] = {}
    messages: dict[int, list[bytes]] = {}
    seen_now: frozenset[int] = frozenset()


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
    if not complete:
        return Reply(text="Some messages are gone", code=b"EXPUNGEISSUED")
    return Reply(text="Done")


async def _fetch_chunk(session: SessionState, selected: SelectedFolder, plan: FetchPlan, uids: Sequence[int]) -> bool:
    """Writes the responses of some messages; whether all were there."""
    data = await _load_chunk(session, selected, plan, uids)
    view = selected.view
    complete = True
    for uid in uids:
        row = view.row_of(uid)
        number = selected.sequence_number(uid)
        if (
            row < 0
            or (plan.envelope and uid not in data.envelopes)
            or (plan.needs_messages and uid not in data.messages)
        ):
            complete = False
            continue
        pieces = [LIGHT_FORMATTERS[item](view, row) for item in plan.light]
        if uid in data.seen_now and FetchItem.FLAGS not in plan.light:
            pieces.append(LIGHT_FORMATTERS[FetchItem.FLAGS](view, row))
        if plan.envelope:
            pieces.append(b"ENVELOPE " + data.envelopes[uid])
        if plan.needs_messages:
            pieces += data.messages[uid]
        session.write(b"* %d FETCH (%b)\r\n" % (number, b" ".join(pieces)))
    selected.note_told(data.seen_now)
    return complete


async def _load_chunk(session: SessionState, selected: SelectedFolder, plan: FetchPlan, uids: Sequence[int]) -> _Chunk:
    data = _Chunk()
    if not plan.envelope and not plan.needs_messages:
        return data
    view = selected.view
    ids = {uid: EmailId(str(uuid.UUID(bytes=view.email_id(row)))) for uid in uids if (row := view.row_of(uid)) >= 0}
    if plan.envelope:
        envelopes = await session.deps.store.fetch_envelopes(session.mailbox_id, list(ids.values()))
        data.envelopes = {uid: envelope for uid, envelope in zip(ids, envelopes, strict=True) if envelope}
    if plan.needs_messages:
        stored = await session.deps.store.fetch_messages(session.mailbox_id, list(ids.values()))
        messages = {uid: stored[email_id] for uid, email_id in ids.items() if email_id in stored}
        data.messages = await _load_items(session, plan, messages)
    if plan.sets_seen and not selected.read_only:
        data.seen_now = await _set_seen(session, selected, data.messages)
    return data


async def _load_items(
    session: SessionState, plan: FetchPlan, messages: Mapping[int, StoredMessage]
) -> dict[int, list[bytes]]:
    """Structures and sections of each message, formatted."""
    items: dict[int, list[bytes]] = {}
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


async def _set_seen(session: SessionState, selected: SelectedFolder, fetched: Mapping[int, object]) -> frozenset[int]:
    r"""Sets \Seen on what was just fetched; the uids that did not have it."""
    view = selected.view
    unseen = tuple(uid for uid in fetched if (row := view.row_of(uid)) >= 0 and not view.flags[row] & Flag.SEEN)
    if not unseen:
        return frozenset()
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
    return frozenset(unseen)
