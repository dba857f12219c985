"""/api/v1/events: what the services told."""

import re
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from postbus.contracts.events import Event, EventType
from postbus.contracts.policy import GetPolicyRequest
from postbus.contracts.standing import ADMINISTRATOR
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.ports import EventQuery, Seen
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, backend_of, standing_of, token_of
from postbusd.admin_api.rest.parameters import Limit, check_domain, read_time
from postbusd.admin_api.rest.problems import REFUSALS
from postbusd.admin_api.rest.queue_ids import check_queue_id

_SEQUENCE = re.compile(r"[0-9]{1,18}\Z")


class EventResource(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an administrator may want to know. Never a secret, a body or a subject."""

    event_id: Annotated[str, msgspec.Meta(description="One for each event.")]
    type: Annotated[EventType, msgspec.Meta(description="What happened.")]
    at_ms: Annotated[int, msgspec.Meta(description="When, Unix time in milliseconds.")]
    service: Annotated[str, msgspec.Meta(description="Who tells it.")]
    summary: Annotated[str, msgspec.Meta(description="For people.")]
    queue_id: Annotated[str, msgspec.Meta(description="Of which message; empty: of none.")]
    message_id: Annotated[str, msgspec.Meta(description="Its Message-ID header field.")]
    domain: Annotated[str, msgspec.Meta(description="Of which domain.")]
    mailbox: Annotated[str, msgspec.Meta(description="The mailbox's address.")]
    reverse_path: Annotated[str, msgspec.Meta(description="The message's reverse_path.")]
    forward_path: Annotated[str, msgspec.Meta(description="The recipient that it is about.")]
    client_address: Annotated[str, msgspec.Meta(description="The other side's IP address.")]
    detail: Annotated[str, msgspec.Meta(description="More, for people.")]
    traceparent: Annotated[str, msgspec.Meta(description="W3C trace context.")]


class EventList(msgspec.Struct, frozen=True, kw_only=True):
    """Events in the order of the log."""

    events: Annotated[tuple[EventResource, ...], msgspec.Meta(description="Oldest first.")]
    next_after: Annotated[str, msgspec.Meta(description="Pass as `after` for what comes later.")]


@get("/events", summary="Read the event log", tags=["events"], responses=REFUSALS, actor_checked=True)
async def list_events(  # noqa: PLR0913 (each is a query parameter)
    request: ApiRequest,
    after: Annotated[str, QueryParameter(description="Only later ones, oldest first; absent: the latest.")] = "",
    kind: Annotated[
        str,
        QueryParameter(name="type", description="Only of this type, or of these with commas between.", max_length=500),
    ] = "",
    queue_id: Annotated[str, QueryParameter(description="Only of this message.")] = "",
    domain: Annotated[str, QueryParameter(description="Only of this domain.")] = "",
    mailbox: Annotated[str, QueryParameter(description="Only of the mailbox with this address.", max_length=512)] = "",
    since: Annotated[str, QueryParameter(description="Not older than this time, as 2026-03-01T10:00:00Z.")] = "",
    until: Annotated[str, QueryParameter(description="Older than this time.")] = "",
    text: Annotated[str, QueryParameter(description="Only with this text in summary or detail.", max_length=200)] = "",
    limit: Limit = DEFAULT_PAGE,
) -> EventList:
    """The latest events, or with `after` those that came later: repeat with `next_after` to follow the log.

    For superadmins; the policy may open it to domain admins, for their domains, and to users, for their mailboxes.
    """
    seen = await _find_seen(request)
    if after and not _SEQUENCE.match(after):
        raise MailError(ErrorKind.INVALID, "after: pass next_after of a former answer")
    logged = await backend_of(request).events.list_events(
        EventQuery(
            after=int(after) if after else None,
            limit=limit,
            types=_read_types(kind),
            queue_id=check_queue_id(queue_id) if queue_id else "",
            domain=check_domain(domain),
            mailbox=mailbox.lower(),
            since_ms=read_time("since", since),
            until_ms=read_time("until", until),
            text=text,
            seen=seen,
        )
    )
    return EventList(events=tuple(event_resource(each) for each in logged.events), next_after=str(logged.last))


async def _find_seen(request: ApiRequest) -> Seen | None:
    """None: everything. Raises MailError: FORBIDDEN."""
    backend = backend_of(request)
    standing = await standing_of(backend, token_of(request))
    if standing.superadmin:
        return None
    policy = (await backend.directory.get_policy(GetPolicyRequest(actor=ADMINISTRATOR))).policy
    if not (policy.events_for_users or (policy.events_for_domain_admins and standing.domains)):
        raise MailError(ErrorKind.FORBIDDEN, "the policy opens the event log to superadmins only")
    return Seen(
        domains=standing.domains if policy.events_for_domain_admins else (),
        mailboxes=standing.mailboxes if policy.events_for_users else (),
    )


def _read_types(text: str) -> tuple[EventType, ...]:
    """Raises MailError: INVALID."""
    try:
        return tuple(EventType(each.strip()) for each in text.split(",")) if text else ()
    except ValueError as error:
        raise MailError(ErrorKind.INVALID, f"type: one or several of {', '.join(EventType)}") from error


def event_resource(event: Event) -> EventResource:
    """The event as the API shows it."""
    return msgspec.convert(event, EventResource, from_attributes=True)
