"""/api/v1/apps: programs that send mail, each with one credential, which is told once."""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, post, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.condition import Condition
from postbus.contracts.directory import App, PutAppReply, PutAppRequest
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
    OfDomain,
    Sort,
    SortBy,
    WithText,
    deletion,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS

NOT_STORED = {"Cache-Control": "no-store"}
"""An answer with a credential is kept by no cache."""


class AppBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an app is to be."""

    domain: Annotated[str, msgspec.Meta(description="Needed for a new app.")] = ""
    address: Annotated[
        str, msgspec.Meta(description="Of its mailbox; empty: NAME.app@DOMAIN when it is new, afterwards as it is.")
    ] = ""
    active: Annotated[bool, msgspec.Meta(description="Off: no login, and mail to it is refused.")] = True


class AppResource(msgspec.Struct, frozen=True, kw_only=True):
    """A program that sends mail."""

    name: Annotated[str, msgspec.Meta(description="Lower case.")]
    address: Annotated[str, msgspec.Meta(description="Of its mailbox, which is also its user name.")]
    active: Annotated[bool, msgspec.Meta(description="Off: no login.")]


class AppWithCredential(msgspec.Struct, frozen=True, kw_only=True):
    """An app and its new credential."""

    name: Annotated[str, msgspec.Meta(description="Lower case.")]
    address: Annotated[str, msgspec.Meta(description="Of its mailbox, which is also its user name.")]
    active: Annotated[bool, msgspec.Meta(description="Off: no login.")]
    credential: Annotated[str, msgspec.Meta(description="Its password: told now and never again.")]


class AppList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of apps."""

    apps: Annotated[tuple[AppResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


@put(
    "/apps/{name:str}",
    summary="Create or change an app",
    tags=["apps"],
    responses={
        **BODY_REFUSALS,
        200: ResponseSpec(data_container=AppResource, description="The app was there."),
        201: ResponseSpec(data_container=AppWithCredential, description="The app is new; its credential is told once."),
    },
)
async def put_app(
    request: ApiRequest,
    name: NamePath,
    data: JSONBody[AppBody],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[AppResource | AppWithCredential | Plan]:
    """Idempotent. A new app gets a mailbox and a credential."""
    return await _put(request, name, data, condition_of(if_match, plan))


@post(
    "/apps/{name:str}/credential",
    summary="Make a new credential",
    tags=["apps"],
    status_code=200,
    responses=REFUSALS,
)
async def rotate_app_credential(request: ApiRequest, name: NamePath) -> Response[AppWithCredential]:
    """The old one ends at once; the new one is told once."""
    directory, actor = backend_of(request).directory, actor_of(request)
    app = await directory.get_app(ObjectRequest(name=name, actor=actor))
    reply = await directory.put_app(PutAppRequest(name=app.name, actor=actor, active=app.active, rotate=True))
    return Response(_with_credential(reply), status_code=200, headers=NOT_STORED)


@patch(
    "/apps/{name:str}",
    summary="Change an app",
    tags=["apps"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def patch_app(
    request: ApiRequest,
    name: NamePath,
    data: JSONBody[Patch],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[AppResource | Plan]:
    """A JSON merge patch (RFC 7396): what it leaves out stays, null gives a field its default."""
    return await patch_object(
        lambda: _get(request, name),
        _resource,
        AppBody,
        data,
        condition_of(if_match, plan),
        lambda body, condition: _put(request, name, body, condition),
    )


@get("/apps", summary="List apps", tags=["apps"], responses=REFUSALS)
async def list_apps(
    request: ApiRequest,
    of_domain: OfDomain = "",
    after: After = "",
    limit: Limit = DEFAULT_PAGE,
    text: WithText = "",
    sort: Sort = SortBy.NAME,
) -> AppList:
    """In the order of their names."""
    page = await backend_of(request).directory.list_apps(
        PageRequest(
            actor=actor_of(request),
            domain=of_domain,
            after=after,
            limit=limit,
            text=text,
            descending=sort is SortBy.NAME_DESCENDING,
        )
    )
    return AppList(apps=tuple(_resource(each) for each in page.apps), next_after=page.next_after)


@get("/apps/{name:str}", summary="Show an app", tags=["apps"], responses=REFUSALS)
async def get_app(request: ApiRequest, name: NamePath) -> Response[AppResource]:
    """By its name."""
    found = await _get(request, name)
    return tagged(found, _resource(found))


@delete("/apps/{name:str}", summary="Delete an app", tags=["apps"], status_code=200, responses=REFUSALS)
async def delete_app(request: ApiRequest, name: NamePath, dry_run: DryRun = False, if_match: IfMatch = "") -> Deletion:
    """Its mailbox and credential end with it."""
    return deletion(
        await backend_of(request).directory.delete_app(
            DeleteRequest(name=name, actor=actor_of(request), dry_run=dry_run, condition=condition_of(if_match))
        ),
        dry_run,
    )


async def _get(request: ApiRequest, name: str) -> App:
    return await backend_of(request).directory.get_app(ObjectRequest(name=name, actor=actor_of(request)))


async def _put(request: ApiRequest, name: str, body: AppBody, condition: Condition) -> Response[Any]:
    before = await find(_get(request, name)) if condition.plan else None
    reply = await backend_of(request).directory.put_app(
        PutAppRequest(
            name=name,
            actor=actor_of(request),
            domain=body.domain,
            address=body.address,
            active=body.active,
            condition=condition,
        )
    )
    if reply.created and not condition.plan:
        return Response(_with_credential(reply), status_code=201, headers=NOT_STORED)
    return answer(condition, _resource, before, reply.app, created=False)


def _with_credential(reply: PutAppReply) -> AppWithCredential:
    app = reply.app
    return AppWithCredential(name=app.name, address=app.address, active=app.active, credential=reply.credential)


def _resource(app: App) -> AppResource:
    return msgspec.convert(app, AppResource, from_attributes=True)
