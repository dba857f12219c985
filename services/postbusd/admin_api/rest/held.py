"""/api/v1/held: dead letters, kept whole until an administrator retries or discards them."""

import re
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from postbus.contracts.delivery import ChangeHeldRequest, HeldAction, ListHeldRequest
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import Limit, NextAfter, check_reason
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS

MAX_SEQUENCE = (1 << 63) - 1

_SEQUENCE = re.compile(r"[0-9]{1,18}\Z")


class HeldResource(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter: a message that delivery took from the bus and could not place anywhere."""

    stream_sequence: Annotated[int, msgspec.Meta(description="Its number in the stream of accepted mail.")]
    queue_id: Annotated[str, msgspec.Meta(description="Ours; empty: its envelope can't be read.")]
    reason: Annotated[str, msgspec.Meta(description="Why it could not be placed.")]
    held_ms: Annotated[int, msgspec.Meta(description="Since when, Unix time in milliseconds.")]
    reverse_path: Annotated[str, msgspec.Meta(description="The message's reverse_path.")]
    forward_paths: Annotated[tuple[str, ...], msgspec.Meta(description="Its recipients, the first ten.")]
    size_octets: Annotated[int, msgspec.Meta(description="Of the message; 0: not known.")]


class HeldList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of dead letters."""

    messages: Annotated[tuple[HeldResource, ...], msgspec.Meta(description="In the order of their sequences.")]
    next_after: NextAfter
    total: Annotated[int, msgspec.Meta(description="All dead letters, not only this page's.")]


class HeldActionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do with which dead letters: one, or all."""

    action: Annotated[
        HeldAction,
        msgspec.Meta(
            description="retry: delivers it now, once to each mailbox whatever was stored before. "
            "discard: gives it up for good."
        ),
    ]
    stream_sequence: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQUENCE)] | None, msgspec.Meta(description="Only this one.")
    ] = None
    all: Annotated[bool, msgspec.Meta(description="Every one: instead of a sequence, never by accident.")] = False
    reason: Annotated[
        str, msgspec.Meta(description="Why; needed for discard, kept with the name of who asked. Up to 500 characters.")
    ] = ""
    dry_run: Annotated[bool, msgspec.Meta(description="Change nothing, only count.")] = False


class HeldFailureResource(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter that stays one."""

    stream_sequence: Annotated[int, msgspec.Meta(description="Which.")]
    reason: Annotated[str, msgspec.Meta(description="Why it stays.")]


class HeldChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an action did."""

    changed: Annotated[int, msgspec.Meta(description="Dead letters that were, in a dry run would be, changed.")]
    failed: Annotated[
        tuple[HeldFailureResource, ...], msgspec.Meta(description="Those that were not, the first hundred.")
    ]
    dry_run: Annotated[bool, msgspec.Meta(description="Nothing was changed.")]


@get("/held", summary="List the dead letters", tags=["ledger"], responses=REFUSALS)
async def list_held(
    request: ApiRequest,
    after: Annotated[str, QueryParameter(description="`next_after` of the page before.", max_length=32)] = "",
    limit: Limit = DEFAULT_PAGE,
) -> HeldList:
    """In the order of their sequences; `total` counts all."""
    if after and not _SEQUENCE.match(after):
        raise MailError(ErrorKind.INVALID, "after: pass next_after of a former answer")
    reply = await backend_of(request).books.list_held(ListHeldRequest(after=int(after or 0), limit=limit))
    return HeldList(
        messages=msgspec.convert(reply.messages, tuple[HeldResource, ...], from_attributes=True),
        next_after=str(reply.next_after) if reply.next_after else "",
        total=reply.total,
    )


@post("/held/actions", summary="Retry or discard", tags=["ledger"], status_code=200, responses=BODY_REFUSALS)
async def change_held(request: ApiRequest, data: JSONBody[HeldActionBody]) -> HeldChange:
    """One dead letter, or with `all` every one. What can't be changed stays and is told with its reason."""
    if data.all == (data.stream_sequence is not None):
        fault = "goes with no stream_sequence" if data.all else "give stream_sequence, or say all"
        raise MailError(ErrorKind.INVALID, f"all: {fault}")
    reply = await backend_of(request).books.change_held(
        ChangeHeldRequest(
            action=data.action,
            actor=actor_of(request),
            stream_sequence=data.stream_sequence or 0,
            reason=check_reason(data.reason, required=data.action is HeldAction.DISCARD),
            dry_run=data.dry_run,
        )
    )
    failed = msgspec.convert(reply.failed, tuple[HeldFailureResource, ...], from_attributes=True)
    return HeldChange(changed=reply.changed, failed=failed, dry_run=data.dry_run)
