"""/api/v1/lists."""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.condition import Condition
from postbus.contracts.mailing_lists import MailingList, PutListRequest
from postbus.contracts.objects import DeleteRequest, ObjectRequest, PageRequest
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.changes import (
    IfMatch,
    OnlyPlan,
    Patch,
    Plan,
    answer,
    condition_of,
    find,
    patch_object,
    tagged,
)
from postbusd.admin_api.rest.parameters import (
    AddressPath,
    After,
    Deletion,
    DryRun,
    Limit,
    NextAfter,
    OfDomain,
    Sort,
    SortBy,
    WithText,
    deletion,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS

_GROUPS = "Groups by name: each active user gets it in the oldest active mailbox, as the group is then."


class ListBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a list is to be; what is left out gets its default."""

    members: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Addresses, ours (mailboxes, aliases, groups, other lists) or others'."),
    ] = ()
    active: Annotated[bool, msgspec.Meta(description="Off: mail to it is refused.")] = True
    members_only: Annotated[bool, msgspec.Meta(description="Only members may post to it.")] = False
    groups: Annotated[tuple[str, ...], msgspec.Meta(description=_GROUPS)] = ()


class ListResource(msgspec.Struct, frozen=True, kw_only=True):
    """An address that many receive."""

    address: Annotated[str, msgspec.Meta(description="Lower case.")]
    members: Annotated[tuple[str, ...], msgspec.Meta(description="Addresses, ours or others'.")]
    active: Annotated[bool, msgspec.Meta(description="Off: mail to it is refused.")]
    members_only: Annotated[bool, msgspec.Meta(description="Only members may post to it.")]
    groups: Annotated[tuple[str, ...], msgspec.Meta(description=_GROUPS)]


class ListList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of lists."""

    lists: Annotated[tuple[ListResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


@put(
    "/lists/{address:str}",
    summary="Create or replace a list",
    tags=["lists"],
    responses={**BODY_REFUSALS, 201: ResponseSpec(data_container=ListResource, description="The list is new.")},
)
async def put_list(
    request: ApiRequest,
    address: AddressPath,
    data: JSONBody[ListBody],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[ListResource | Plan]:
    """Idempotent. Failures of its copies come back to a bounce address of the list, not to the author."""
    return await _put(request, address, data, condition_of(if_match, plan))


@patch(
    "/lists/{address:str}",
    summary="Change a list",
    tags=["lists"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def patch_list(
    request: ApiRequest,
    address: AddressPath,
    data: JSONBody[Patch],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[ListResource | Plan]:
    """A JSON merge patch (RFC 7396): what it leaves out stays, null gives a field its default."""
    return await patch_object(
        lambda: _get(request, address),
        _resource,
        ListBody,
        data,
        condition_of(if_match, plan),
        lambda body, condition: _put(request, address, body, condition),
    )


@get("/lists", summary="List the lists", tags=["lists"], responses=REFUSALS)
async def list_lists(
    request: ApiRequest,
    of_domain: OfDomain = "",
    after: After = "",
    limit: Limit = DEFAULT_PAGE,
    text: WithText = "",
    sort: Sort = SortBy.NAME,
) -> ListList:
    """In the order of their addresses."""
    page = await backend_of(request).directory.list_lists(
        PageRequest(
            actor=actor_of(request),
            domain=of_domain,
            after=after,
            limit=limit,
            text=text,
            descending=sort is SortBy.NAME_DESCENDING,
        )
    )
    return ListList(lists=tuple(_resource(each) for each in page.lists), next_after=page.next_after)


@get("/lists/{address:str}", summary="Show a list", tags=["lists"], responses=REFUSALS)
async def get_list(request: ApiRequest, address: AddressPath) -> Response[ListResource]:
    """By its address."""
    found = await _get(request, address)
    return tagged(found, _resource(found))


@delete("/lists/{address:str}", summary="Delete a list", tags=["lists"], status_code=200, responses=REFUSALS)
async def delete_list(
    request: ApiRequest, address: AddressPath, dry_run: DryRun = False, if_match: IfMatch = ""
) -> Deletion:
    """Its members stay."""
    return deletion(
        await backend_of(request).directory.delete_list(
            DeleteRequest(name=address, actor=actor_of(request), dry_run=dry_run, condition=condition_of(if_match))
        ),
        dry_run,
    )


async def _get(request: ApiRequest, address: str) -> MailingList:
    return await backend_of(request).directory.get_list(ObjectRequest(name=address, actor=actor_of(request)))


async def _put(request: ApiRequest, address: str, body: ListBody, condition: Condition) -> Response[Any]:
    before = await find(_get(request, address)) if condition.plan else None
    wanted = MailingList(
        address=address,
        members=body.members,
        active=body.active,
        members_only=body.members_only,
        groups=body.groups,
    )
    reply = await backend_of(request).directory.put_list(
        PutListRequest(list=wanted, actor=actor_of(request), condition=condition)
    )
    return answer(condition, _resource, before, reply.list, created=reply.created)


def _resource(found: MailingList) -> ListResource:
    return msgspec.convert(found, ListResource, from_attributes=True)
