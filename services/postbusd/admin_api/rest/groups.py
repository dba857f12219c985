"""/api/v1/groups."""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.condition import Condition
from postbus.contracts.directory import Group, PutGroupRequest
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
    After,
    Deletion,
    DryRun,
    Limit,
    NamePath,
    NextAfter,
    Sort,
    SortBy,
    WithText,
    deletion,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS


class GroupBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a group is to be; what is left out gets its default."""

    members: Annotated[tuple[str, ...], msgspec.Meta(description="Usernames.")] = ()
    address: Annotated[str, msgspec.Meta(description="Mail to it reaches every active member; empty: none.")] = ""


class GroupResource(msgspec.Struct, frozen=True, kw_only=True):
    """Users who share something."""

    name: Annotated[str, msgspec.Meta(description="Lower case.")]
    members: Annotated[tuple[str, ...], msgspec.Meta(description="Usernames.")]
    address: Annotated[str, msgspec.Meta(description="Empty: none.")]


class GroupList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of groups."""

    groups: Annotated[tuple[GroupResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


@put(
    "/groups/{name:str}",
    summary="Create or replace a group",
    tags=["groups"],
    responses={**BODY_REFUSALS, 201: ResponseSpec(data_container=GroupResource, description="The group is new.")},
)
async def put_group(
    request: ApiRequest,
    name: NamePath,
    data: JSONBody[GroupBody],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[GroupResource | Plan]:
    """Idempotent. Each member opens the group's mailboxes with the own password."""
    return await _put(request, name, data, condition_of(if_match, plan))


@patch(
    "/groups/{name:str}",
    summary="Change a group",
    tags=["groups"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def patch_group(
    request: ApiRequest,
    name: NamePath,
    data: JSONBody[Patch],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[GroupResource | Plan]:
    """A JSON merge patch (RFC 7396): what it leaves out stays, null gives a field its default."""
    return await patch_object(
        lambda: _get(request, name),
        _resource,
        GroupBody,
        data,
        condition_of(if_match, plan),
        lambda body, condition: _put(request, name, body, condition),
    )


@get("/groups", summary="List groups", tags=["groups"], responses=REFUSALS)
async def list_groups(
    request: ApiRequest, after: After = "", limit: Limit = DEFAULT_PAGE, text: WithText = "", sort: Sort = SortBy.NAME
) -> GroupList:
    """In the order of their names."""
    page = await backend_of(request).directory.list_groups(
        PageRequest(
            actor=actor_of(request), after=after, limit=limit, text=text, descending=sort is SortBy.NAME_DESCENDING
        )
    )
    return GroupList(groups=tuple(_resource(each) for each in page.groups), next_after=page.next_after)


@get("/groups/{name:str}", summary="Show a group", tags=["groups"], responses=REFUSALS)
async def get_group(request: ApiRequest, name: NamePath) -> Response[GroupResource]:
    """By its name."""
    found = await _get(request, name)
    return tagged(found, _resource(found))


@delete("/groups/{name:str}", summary="Delete a group", tags=["groups"], status_code=200, responses=REFUSALS)
async def delete_group(
    request: ApiRequest, name: NamePath, dry_run: DryRun = False, if_match: IfMatch = ""
) -> Deletion:
    """Only one that owns no mailbox; its members stay."""
    return deletion(
        await backend_of(request).directory.delete_group(
            DeleteRequest(name=name, actor=actor_of(request), dry_run=dry_run, condition=condition_of(if_match))
        ),
        dry_run,
    )


async def _get(request: ApiRequest, name: str) -> Group:
    return await backend_of(request).directory.get_group(ObjectRequest(name=name, actor=actor_of(request)))


async def _put(request: ApiRequest, name: str, body: GroupBody, condition: Condition) -> Response[Any]:
    before = await find(_get(request, name)) if condition.plan else None
    group = Group(name=name, members=body.members, address=body.address)
    reply = await backend_of(request).directory.put_group(
        PutGroupRequest(group=group, actor=actor_of(request), condition=condition)
    )
    return answer(condition, _resource, before, reply.group, created=reply.created)


def _resource(group: Group) -> GroupResource:
    return msgspec.convert(group, GroupResource, from_attributes=True)
