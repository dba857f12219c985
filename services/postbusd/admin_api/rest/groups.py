"""/api/v1/groups."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.directory import DeleteRequest, Group, ObjectRequest, PageRequest, PutGroupRequest
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import After, Deletion, DryRun, Limit, NamePath, NextAfter, deletion, written
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
async def put_group(request: ApiRequest, name: NamePath, data: JSONBody[GroupBody]) -> Response[GroupResource]:
    """Idempotent. Each member opens the group's mailboxes with the own password."""
    group = Group(name=name, members=data.members, address=data.address)
    reply = await backend_of(request).directory.put_group(PutGroupRequest(group=group, actor=actor_of(request)))
    return written(_resource(reply.group), reply.created)


@get("/groups", summary="List groups", tags=["groups"], responses=REFUSALS)
async def list_groups(request: ApiRequest, after: After = "", limit: Limit = DEFAULT_PAGE) -> GroupList:
    """In the order of their names."""
    page = await backend_of(request).directory.list_groups(
        PageRequest(actor=actor_of(request), after=after, limit=limit)
    )
    return GroupList(groups=tuple(_resource(each) for each in page.groups), next_after=page.next_after)


@get("/groups/{name:str}", summary="Show a group", tags=["groups"], responses=REFUSALS)
async def get_group(request: ApiRequest, name: NamePath) -> GroupResource:
    """By its name."""
    return _resource(await backend_of(request).directory.get_group(ObjectRequest(name=name, actor=actor_of(request))))


@delete("/groups/{name:str}", summary="Delete a group", tags=["groups"], status_code=200, responses=REFUSALS)
async def delete_group(request: ApiRequest, name: NamePath, dry_run: DryRun = False) -> Deletion:
    """Only one that owns no mailbox; its members stay."""
    return deletion(
        await backend_of(request).directory.delete_group(
            DeleteRequest(name=name, actor=actor_of(request), dry_run=dry_run)
        ),
        dry_run,
    )


def _resource(group: Group) -> GroupResource:
    return msgspec.convert(group, GroupResource, from_attributes=True)
