"""/api/v1/messages: what became of a message, and its story."""

from typing import Annotated

import msgspec
from litestar import get

from postbus.contracts.delivery import Accounted, GetMessageReply, GetMessageRequest
from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId
from postbusd.admin_api.ports import EventQuery
from postbusd.admin_api.rest.backend import MAX_PAGE, ApiRequest, Backend, backend_of
from postbusd.admin_api.rest.events import EventResource, event_resource
from postbusd.admin_api.rest.parameters import QueueIdPath
from postbusd.admin_api.rest.problems import REFUSALS
from postbusd.admin_api.rest.queue import QueueCopy
from postbusd.admin_api.rest.queue_ids import check_queue_id

MAX_STORY_EVENTS = MAX_PAGE


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
        outgoing=tuple(
            msgspec.convert(each, QueueCopy, from_attributes=True) for each in (reply.outgoing if reply else ())
        ),
        traceparent=reply.traceparent if reply else "",
        story=tuple(event_resource(each) for each in sorted(events, key=lambda event: event.at_ms)),
        story_cut=len(events) >= MAX_STORY_EVENTS,
    )
