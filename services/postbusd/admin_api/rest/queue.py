"""/api/v1/queue: what waits to go out, why, and what an administrator may do about it."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from postbus.contracts.delivery import ChangeQueueRequest, ListQueueRequest, QueueAction, QueueEntry, QueueState
from postbus.core.errors import ErrorKind, MailError
from postbus.smtp.relay_presets import advise
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import Limit, NextAfter, check_domain
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS
from postbusd.admin_api.rest.queue_ids import check_queue_id


class QueueCopy(msgspec.Struct, frozen=True, kw_only=True):
    """One outgoing copy: a message for one recipient."""

    queue_id: Annotated[str, msgspec.Meta(description="Of the message.")]
    recipient: Annotated[str, msgspec.Meta(description="The final one.")]
    reverse_path: Annotated[str, msgspec.Meta(description="Who is told of a failure; empty: nobody.")]
    state: Annotated[QueueState, msgspec.Meta(description="waiting also while it is being sent.")]
    accepted_ms: Annotated[int, msgspec.Meta(description="When we took the message, Unix time in milliseconds.")]
    due_ms: Annotated[int, msgspec.Meta(description="When it is tried next; of a finished copy when it ended.")]
    expires_ms: Annotated[int, msgspec.Meta(description="When we give up.")]
    attempts: Annotated[int, msgspec.Meta(description="How often it was tried.")]
    next_hop: Annotated[str, msgspec.Meta(description="The recipient's domain or the smart host.")]
    last_reply: Annotated[str, msgspec.Meta(description="What was said last, or what kept us from asking.")]
    advice: Annotated[str, msgspec.Meta(description="What to do about that, where it is known; else empty.")]
    remote_host: Annotated[str, msgspec.Meta(description="Who said it.")]
    tls: Annotated[str, msgspec.Meta(description="Protocol and cipher of the last attempt; empty: plain text.")]
    size_octets: Annotated[int, msgspec.Meta(description="Of the message.")]
    message_id: Annotated[str, msgspec.Meta(description="The Message-ID header field.")]


class QueueList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the queue."""

    entries: Annotated[tuple[QueueCopy, ...], msgspec.Meta(description="In the order of queue id and recipient.")]
    next_after: NextAfter
    waiting: Annotated[int, msgspec.Meta(description="Copies of the whole queue that wait.")]
    held: Annotated[int, msgspec.Meta(description="Copies of the whole queue that are held.")]


class QueueActionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do with which copies; what is given narrows them down."""

    action: Annotated[
        QueueAction,
        msgspec.Meta(
            description="retry: due now. hold: until released. release: from held, due now. "
            "cancel: ends silently. bounce: ends as failed, the sender is told."
        ),
    ]
    queue_id: Annotated[str, msgspec.Meta(description="Only copies of this message.")] = ""
    recipient: Annotated[str, msgspec.Meta(description="Only copies for this address.", max_length=512)] = ""
    domain: Annotated[str, msgspec.Meta(description="Only copies for recipients of this domain.")] = ""
    all: Annotated[bool, msgspec.Meta(description="Every copy: instead of a filter, never by accident.")] = False
    dry_run: Annotated[bool, msgspec.Meta(description="Only count.")] = False


class QueueChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an action did."""

    changed: Annotated[int, msgspec.Meta(description="Copies that were, in a dry run would be, changed.")]
    busy: Annotated[int, msgspec.Meta(description="Copies left alone because they are being sent right now.")]
    dry_run: Annotated[bool, msgspec.Meta(description="Nothing was changed.")]


@get("/queue", summary="List the queue", tags=["queue"], responses=REFUSALS)
async def list_queue(
    request: ApiRequest,
    queue_id: Annotated[str, QueryParameter(description="Only this message; finished copies too.")] = "",
    domain: Annotated[str, QueryParameter(description="Only recipients of this domain.")] = "",
    finished: Annotated[bool, QueryParameter(description="Also sent, failed and cancelled copies.")] = False,
    after: Annotated[str, QueryParameter(description="`next_after` of the page before.", max_length=1024)] = "",
    limit: Limit = DEFAULT_PAGE,
) -> QueueList:
    """Outgoing copies in the order of queue id and recipient; `waiting` and `held` count the whole queue."""
    reply = await backend_of(request).queue.list_queue(
        ListQueueRequest(
            queue_id=check_queue_id(queue_id) if queue_id else "",
            domain=check_domain(domain),
            finished=finished,
            after=after,
            limit=limit,
        )
    )
    return QueueList(
        entries=tuple(map(show_copy, reply.entries)),
        next_after=reply.next_after,
        waiting=reply.waiting,
        held=reply.held,
    )


def show_copy(entry: QueueEntry) -> QueueCopy:
    """With advice where it is not through."""
    advice = advise(entry.last_reply) if entry.state is not QueueState.SENT else ""
    return QueueCopy(advice=advice, **msgspec.structs.asdict(entry))


@post(
    "/queue/actions",
    summary="Retry, hold, release, cancel or bounce",
    tags=["queue"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def change_queue(request: ApiRequest, data: JSONBody[QueueActionBody]) -> QueueChange:
    """Copies that are not finished; at least one filter, or `all`."""
    filtered = bool(data.queue_id or data.recipient or data.domain)
    if data.all == filtered:
        fault = "goes with no filter" if filtered else "give queue_id, recipient or domain, or say all"
        raise MailError(ErrorKind.INVALID, f"all: {fault}")
    reply = await backend_of(request).queue.change_queue(
        ChangeQueueRequest(
            action=data.action,
            actor=actor_of(request),
            queue_id=check_queue_id(data.queue_id) if data.queue_id else "",
            recipient=data.recipient,
            domain=check_domain(data.domain),
            dry_run=data.dry_run,
        )
    )
    return QueueChange(changed=reply.changed, busy=reply.busy, dry_run=data.dry_run)
