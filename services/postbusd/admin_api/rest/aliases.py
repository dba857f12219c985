"""/api/v1/aliases."""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.condition import Condition
from postbus.contracts.directory import Alias, PutAliasRequest
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


class AliasBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an alias is to be."""

    mailbox: Annotated[str, msgspec.Meta(description="The mailbox's address, of the same or another domain.")]


class AliasResource(msgspec.Struct, frozen=True, kw_only=True):
    """Another name of a mailbox."""

    address: Annotated[
        str,
        msgspec.Meta(description="`*` in the local part matches zero or more characters; the most specific one wins."),
    ]
    mailbox: Annotated[str, msgspec.Meta(description="The mailbox's address.")]


class AliasList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of aliases."""

    aliases: Annotated[tuple[AliasResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


@put(
    "/aliases/{address:str}",
    summary="Create or replace an alias",
    tags=["aliases"],
    responses={**BODY_REFUSALS, 201: ResponseSpec(data_container=AliasResource, description="The alias is new.")},
)
async def put_alias(
    request: ApiRequest,
    address: AddressPath,
    data: JSONBody[AliasBody],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[AliasResource | Plan]:
    """Idempotent. A wildcard has `*` in its local part."""
    return await _put(request, address, data, condition_of(if_match, plan))


@patch(
    "/aliases/{address:str}",
    summary="Change an alias",
    tags=["aliases"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def patch_alias(
    request: ApiRequest,
    address: AddressPath,
    data: JSONBody[Patch],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[AliasResource | Plan]:
    """A JSON merge patch (RFC 7396): what it leaves out stays, null gives a field its default."""
    return await patch_object(
        lambda: _get(request, address),
        _resource,
        AliasBody,
        data,
        condition_of(if_match, plan),
        lambda body, condition: _put(request, address, body, condition),
    )


@get("/aliases", summary="List aliases", tags=["aliases"], responses=REFUSALS)
async def list_aliases(
    request: ApiRequest,
    of_domain: OfDomain = "",
    after: After = "",
    limit: Limit = DEFAULT_PAGE,
    text: WithText = "",
    sort: Sort = SortBy.NAME,
) -> AliasList:
    """In the order of their addresses."""
    page = await backend_of(request).directory.list_aliases(
        PageRequest(
            actor=actor_of(request),
            domain=of_domain,
            after=after,
            limit=limit,
            text=text,
            descending=sort is SortBy.NAME_DESCENDING,
        )
    )
    return AliasList(aliases=tuple(_resource(each) for each in page.aliases), next_after=page.next_after)


@get("/aliases/{address:str}", summary="Show an alias", tags=["aliases"], responses=REFUSALS)
async def get_alias(request: ApiRequest, address: AddressPath) -> Response[AliasResource]:
    """By its address as it was given; a wildcard is not applied."""
    found = await _get(request, address)
    return tagged(found, _resource(found))


@delete("/aliases/{address:str}", summary="Delete an alias", tags=["aliases"], status_code=200, responses=REFUSALS)
async def delete_alias(
    request: ApiRequest, address: AddressPath, dry_run: DryRun = False, if_match: IfMatch = ""
) -> Deletion:
    """The mailbox stays."""
    return deletion(
        await backend_of(request).directory.delete_alias(
            DeleteRequest(name=address, actor=actor_of(request), dry_run=dry_run, condition=condition_of(if_match))
        ),
        dry_run,
    )


async def _get(request: ApiRequest, address: str) -> Alias:
    return await backend_of(request).directory.get_alias(ObjectRequest(name=address, actor=actor_of(request)))


async def _put(request: ApiRequest, address: str, body: AliasBody, condition: Condition) -> Response[Any]:
    before = await find(_get(request, address)) if condition.plan else None
    alias = Alias(address=address, mailbox=body.mailbox)
    reply = await backend_of(request).directory.put_alias(
        PutAliasRequest(alias=alias, actor=actor_of(request), condition=condition)
    )
    return answer(condition, _resource, before, reply.alias, created=reply.created)


def _resource(alias: Alias) -> AliasResource:
    return msgspec.convert(alias, AliasResource, from_attributes=True)
