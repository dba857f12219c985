"""/api/v1/messages: what became of a message, and its story."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from postbus.contracts.delivery import Accounted, GetMessageReply, GetMessageRequest
from postbus.contracts.events import Event, EventType
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId, new_queue_id
from postbusd.admin_api.ports import BEYOND_QUEUE_ID, FIRST_QUEUE_ID, EventQuery, MessageQuery
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, MAX_PAGE, ApiRequest, Backend, backend_of
from postbusd.admin_api.rest.events import EventResource, event_resource
from postbusd.admin_api.rest.parameters import Limit, NextAfter, QueueIdPath, read_time
from postbusd.admin_api.rest.problems import REFUSALS
from postbusd.admin_api.rest.queue import QueueCopy, show_copy
from postbusd.admin_api.rest.queue_ids import check_queue_id

MAX_STORY_EVENTS = MAX_PAGE
MAX_QUEUE_ID_MS = (1 << 48) - 1


class PlacementResource(msgspec.Struct, frozen=True, kw_only=True):
    """One stored copy."""

    mailbox_id: Annotated[str, msgspec.Meta(description="The mailbox's.")]
    address: Annotated[str, msgspec.Meta(description="The mailbox's.")]
    folder: Annotated[str, msgspec.Meta(description="Where delivery put it.")]
    uid: Annotated[int, msgspec.Meta(description="Its UID there.")]


class MessageResource(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an accepted message."""

    queue_id: Annotated[str, msgspec.Meta(description="Ours, one per accepted message.")]
    accounted: Annotated[
        Accounted | None, msgspec.Meta(description="Where it ended; null: delivery has not taken it from the bus yet.")
    ]
    stream_sequence: Annotated[
        int, msgspec.Meta(description="Its number in the stream of accepted mail; 0: delivery has not taken it yet.")
    ]
    detail: Annotated[str, msgspec.Meta(description="What the ledger says besides, for people.")]
    accepted_ms: Annotated[int, msgspec.Meta(description="When we took it, Unix time in milliseconds; 0: not known.")]
    placements: Annotated[tuple[PlacementResource, ...], msgspec.Meta(description="Copies in mailboxes of ours.")]
    outgoing: Annotated[tuple[QueueCopy, ...], msgspec.Meta(description="Copies to other hosts, finished ones too.")]
    traceparent: Annotated[str, msgspec.Meta(description="W3C trace context.")]
    story: Annotated[tuple[EventResource, ...], msgspec.Meta(description="What the services told of it, by time.")]
    story_cut: Annotated[bool, msgspec.Meta(description=f"There are more than {MAX_STORY_EVENTS} events.")]


class FoundMessageResource(msgspec.Struct, frozen=True, kw_only=True):
    """What the event log says of a message in short."""

    queue_id: Annotated[str, msgspec.Meta(description="Ours: what GET /messages/{queue_id} takes.")]
    first_ms: Annotated[int, msgspec.Meta(description="Of its first event, Unix time in milliseconds.")]
    message_id: Annotated[str, msgspec.Meta(description="Its Message-ID header field.")]
    reverse_path: Annotated[str, msgspec.Meta(description="The message's reverse_path.")]
    forward_paths: Annotated[tuple[str, ...], msgspec.Meta(description="Its recipients, the first ten.")]
    last_type: Annotated[EventType, msgspec.Meta(description="Of its last event.")]
    last_summary: Annotated[str, msgspec.Meta(description="Of its last event, for people.")]


class MessageList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of messages."""

    messages: Annotated[tuple[FoundMessageResource, ...], msgspec.Meta(description="The latest first.")]
    next_after: NextAfter


@get("/messages", summary="Find messages", tags=["messages"], responses=REFUSALS)
async def list_messages(  # noqa: PLR0913 (each is a query parameter)
    request: ApiRequest,
    message_id: Annotated[str, QueryParameter(description="With this Message-ID.", max_length=1000)] = "",
    address: Annotated[
        str, QueryParameter(description="From or to this address, or of the mailbox with it.", max_length=512)
    ] = "",
    since: Annotated[str, QueryParameter(description="Not older than this time, as 2026-03-01T10:00:00Z.")] = "",
    until: Annotated[str, QueryParameter(description="Older than this time.")] = "",
    after: Annotated[str, QueryParameter(description="`next_after` of the page before.", max_length=32)] = "",
    limit: Limit = DEFAULT_PAGE,
) -> MessageList:
    """As far as the event log goes back; by Message-ID or by address, one of them."""
    if bool(message_id) == bool(address):
        raise MailError(ErrorKind.INVALID, "address: give an address or a message_id, one of them")
    below = check_queue_id(after) if after else _bound("until", until, BEYOND_QUEUE_ID)
    query = MessageQuery(
        limit=limit + 1,
        message_id=message_id.strip().removeprefix("<").removesuffix(">"),
        address=address.strip().lower(),
        from_queue_id=_bound("since", since, FIRST_QUEUE_ID),
        below_queue_id=below,
    )
    found = await backend_of(request).finder.find_messages(query)
    page = msgspec.convert(found[:limit], tuple[FoundMessageResource, ...], from_attributes=True)
    return MessageList(messages=page, next_after=page[-1].queue_id if len(found) > limit else "")


def _bound(name: str, text: str, otherwise: str) -> str:
    """The first queue id of that time."""
    at_ms = read_time(name, text)
    if at_ms is None:
        return otherwise
    return new_queue_id(min(max(at_ms, 0), MAX_QUEUE_ID_MS), bytes(10))


@get("/messages/{queue_id:str}", summary="Trace a message", tags=["messages"], responses=REFUSALS)
async def get_message(request: ApiRequest, queue_id: QueueIdPath) -> MessageResource:
    """By the queue id that our `250` named: where its copies are, and its story."""
    backend, wanted = backend_of(request), check_queue_id(queue_id)
    reply = await _find(backend, wanted)
    logged = await backend.events.list_events(EventQuery(after=0, limit=MAX_STORY_EVENTS, queue_id=wanted))
    if reply is None and not logged.events:
        raise MailError(ErrorKind.NOT_FOUND, "queue_id: no such message")
    return _message(wanted, reply, logged.events)


async def _find(backend: Backend, queue_id: QueueId) -> GetMessageReply | None:
    """What delivery knows; None: nothing, or nothing yet."""
    try:
        return await backend.messages.get_message(GetMessageRequest(queue_id=queue_id))
    except MailError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return None
        raise


def _message(queue_id: QueueId, reply: GetMessageReply | None, events: tuple[Event, ...]) -> MessageResource:
    return MessageResource(
        queue_id=queue_id,
        accounted=reply.accounted if reply else None,
        stream_sequence=reply.stream_sequence if reply else 0,
        detail=reply.detail if reply else "",
        accepted_ms=reply.accepted_ms if reply else 0,
        placements=tuple(
            msgspec.convert(each, PlacementResource, from_attributes=True)
            for each in (reply.placements if reply else ())
        ),
        outgoing=tuple(map(show_copy, reply.outgoing if reply else ())),
        traceparent=reply.traceparent if reply else "",
        story=tuple(event_resource(each) for each in sorted(events, key=lambda event: event.at_ms)),
        story_cut=len(events) >= MAX_STORY_EVENTS,
    )
