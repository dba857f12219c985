"""/api/v1/lists."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.directory import DeleteRequest, MailingList, ObjectRequest, PageRequest, PutListRequest
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import (
    AddressPath,
    After,
    Deletion,
    DryRun,
    Limit,
    NextAfter,
    OfDomain,
    deletion,
    written,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS


class ListBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a list is to be; what is left out gets its default."""

    members: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Addresses, ours (mailboxes, aliases, groups, other lists) or others'."),
    ] = ()
    active: Annotated[bool, msgspec.Meta(description="Off: mail to it is refused.")] = True
    members_only: Annotated[bool, msgspec.Meta(description="Only members may post to it.")] = False


class ListResource(msgspec.Struct, frozen=True, kw_only=True):
    """An address that many receive."""

    address: Annotated[str, msgspec.Meta(description="Lower case.")]
    members: Annotated[tuple[str, ...], msgspec.Meta(description="Addresses, ours or others'.")]
    active: Annotated[bool, msgspec.Meta(description="Off: mail to it is refused.")]
    members_only: Annotated[bool, msgspec.Meta(description="Only members may post to it.")]


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
async def put_list(request: ApiRequest, address: AddressPath, data: JSONBody[ListBody]) -> Response[ListResource]:
    """Idempotent. Failures of its copies come back to a bounce address of the list, not to the author."""
    wanted = MailingList(address=address, members=data.members, active=data.active, members_only=data.members_only)
    reply = await backend_of(request).directory.put_list(PutListRequest(list=wanted, actor=actor_of(request)))
    return written(_resource(reply.list), reply.created)


@get("/lists", summary="List the lists", tags=["lists"], responses=REFUSALS)
async def list_lists(
    request: ApiRequest, of_domain: OfDomain = "", after: After = "", limit: Limit = DEFAULT_PAGE
) -> ListList:
    """In the order of their addresses."""
    page = await backend_of(request).directory.list_lists(
        PageRequest(actor=actor_of(request), domain=of_domain, after=after, limit=limit)
    )
    return ListList(lists=tuple(_resource(each) for each in page.lists), next_after=page.next_after)


@get("/lists/{address:str}", summary="Show a list", tags=["lists"], responses=REFUSALS)
async def get_list(request: ApiRequest, address: AddressPath) -> ListResource:
    """By its address."""
    return _resource(await backend_of(request).directory.get_list(ObjectRequest(name=address, actor=actor_of(request))))


@delete("/lists/{address:str}", summary="Delete a list", tags=["lists"], status_code=200, responses=REFUSALS)
async def delete_list(request: ApiRequest, address: AddressPath, dry_run: DryRun = False) -> Deletion:
    """Its members stay."""
    return deletion(
        await backend_of(request).directory.delete_list(
            DeleteRequest(name=address, actor=actor_of(request), dry_run=dry_run)
        ),
        dry_run,
    )


def _resource(found: MailingList) -> ListResource:
    return msgspec.convert(found, ListResource, from_attributes=True)
