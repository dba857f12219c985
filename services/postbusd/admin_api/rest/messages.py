"""/api/v1/messages and /api/v1/events: what became of a message, and what the services told."""

import re
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, QueryParameter

from postbus.contracts.delivery import Accounted, GetMessageReply, GetMessageRequest
from postbus.contracts.events import Event, EventType
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QUEUE_ID_LENGTH, QueueId
from postbusd.admin_api.ports import EventQuery
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, MAX_PAGE, ApiRequest, backend_of
from postbusd.admin_api.rest.problems import REFUSALS

_QUEUE_ID = re.compile(rf"[0-9A-HJKMNP-TV-Z]{{{QUEUE_ID_LENGTH}}}\Z")
_SEQUENCE = re.compile(r"[0-9]{1,18}\Z")


class PlacementResource(msgspec.Struct, frozen=True, kw_only=True):
    """One stored copy."""

    mailbox_id: str
    address: str
    folder: str
    uid: int


class MessageResource(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an accepted message."""

    queue_id: str
    accounted: Accounted
    detail: str
    placements: tuple[PlacementResource, ...]
    traceparent: str


class EventList(msgspec.Struct, frozen=True, kw_only=True):
    """Events in the order of the log."""

    events: tuple[Event, ...]
    next_after: Annotated[str, msgspec.Meta(description="Pass as `after` for what comes later.")]


@get("/messages/{queue_id:str}", summary="Trace a message", tags=["messages"], responses=REFUSALS)
async def get_message(request: ApiRequest, queue_id: FromPath[str]) -> MessageResource:
    """By the queue id that our `250` named."""
    reply = await backend_of(request).messages.get_message(GetMessageRequest(queue_id=_check_queue_id(queue_id)))
    return _message(reply)


@get("/events", summary="Read the event log", tags=["events"], responses=REFUSALS)
async def list_events(
    request: ApiRequest,
    after: Annotated[str, QueryParameter(description="Only later ones, oldest first; absent: the latest.")] = "",
    kind: Annotated[EventType | None, QueryParameter(name="type", description="Only of this type.")] = None,
    queue_id: Annotated[str, QueryParameter(description="Only of this message.")] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
) -> EventList:
    """The latest events, or with `after` those that came later: repeat with `next_after` to follow the log."""
    if after and not _SEQUENCE.match(after):
        raise MailError(ErrorKind.INVALID, "after: pass next_after of a former answer")
    logged = await backend_of(request).events.list_events(
        EventQuery(
            after=int(after) if after else None,
            limit=limit,
            type=kind,
            queue_id=_check_queue_id(queue_id) if queue_id else "",
        )
    )
    return EventList(events=logged.events, next_after=str(logged.last))


def _check_queue_id(text: str) -> QueueId:
    if not _QUEUE_ID.match(text.upper()):
        raise MailError(ErrorKind.INVALID, f"queue_id: {QUEUE_ID_LENGTH} letters and digits")
    return QueueId(text.upper())


def _message(reply: GetMessageReply) -> MessageResource:
    return MessageResource(
        queue_id=reply.queue_id,
        accounted=reply.accounted,
        detail=reply.detail,
        placements=tuple(
            PlacementResource(mailbox_id=each.mailbox_id, address=each.address, folder=each.folder, uid=each.uid)
            for each in reply.placements
        ),
        traceparent=reply.traceparent,
    )
