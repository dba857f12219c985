"""/api/v1/users/{name}/app-passwords: what a user gives to single programs; the secret is told once."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody, PathParameter

from postbus.contracts.app_passwords import (
    Access,
    AddAppPasswordRequest,
    AppPassword,
    DeleteAppPasswordRequest,
    ListAppPasswordsRequest,
)
from postbusd.admin_api.rest.backend import ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import Deletion, DryRun, NamePath
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS
from postbusd.admin_api.rest.tokens import MAX_TIME_MS, NOT_STORED

LabelPath = Annotated[str, PathParameter(description="The app password's name, percent-encoded where needed.")]


class AppPasswordBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app password to be made."""

    name: Annotated[str, msgspec.Meta(description="What it is for.", min_length=1, max_length=100)]
    scopes: Annotated[
        tuple[Access, ...],
        msgspec.Meta(description="The protocols that it may be used for.", min_length=1, max_length=len(Access)),
    ]
    expires_ms: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)] | None,
        msgspec.Meta(description="When it ends, Unix time in milliseconds; null: never."),
    ] = None


class AppPasswordResource(msgspec.Struct, frozen=True, kw_only=True):
    """An app password; its secret is never shown."""

    name: Annotated[str, msgspec.Meta(description="What it is for.")]
    scopes: Annotated[tuple[Access, ...], msgspec.Meta(description="The protocols that it may be used for.")]
    expires_ms: Annotated[int | None, msgspec.Meta(description="When it ends, Unix time in ms; null: never.")]
    created_ms: Annotated[int, msgspec.Meta(description="When it was made, Unix time in ms.")]
    last_used_ms: Annotated[
        int | None, msgspec.Meta(description="When it was last used, to the hour, Unix time in ms; null: never.")
    ]


class AppPasswordWithSecret(AppPasswordResource, frozen=True, kw_only=True):
    """An app password and its secret."""

    secret: Annotated[str, msgspec.Meta(description="For the program: told now and never again.")]


class AppPasswordList(msgspec.Struct, frozen=True, kw_only=True):
    """All app passwords of a user."""

    app_passwords: Annotated[tuple[AppPasswordResource, ...], msgspec.Meta(description="In the order of their names.")]


@post(
    "/users/{name:str}/app-passwords",
    summary="Make an app password",
    tags=["users"],
    status_code=201,
    responses={
        **BODY_REFUSALS,
        201: ResponseSpec(data_container=AppPasswordWithSecret, description="The app password, its secret told once."),
    },
)
async def add_app_password(
    request: ApiRequest, name: NamePath, data: JSONBody[AppPasswordBody]
) -> Response[AppPasswordWithSecret]:
    """It opens what the user's own password opens, by the protocols of its scopes alone; a user has at most 50."""
    wanted = AppPassword(name=data.name, scopes=data.scopes, expires_ms=data.expires_ms)
    reply = await backend_of(request).directory.add_app_password(
        AddAppPasswordRequest(username=name, actor=actor_of(request), app_password=wanted)
    )
    resource = _resource(reply.app_password)
    made = AppPasswordWithSecret(secret=reply.secret, **msgspec.structs.asdict(resource))
    return Response(made, status_code=201, headers=NOT_STORED)


@get("/users/{name:str}/app-passwords", summary="List app passwords", tags=["users"], responses=REFUSALS)
async def list_app_passwords(request: ApiRequest, name: NamePath) -> AppPasswordList:
    """All of a user."""
    reply = await backend_of(request).directory.list_app_passwords(
        ListAppPasswordsRequest(username=name, actor=actor_of(request))
    )
    return AppPasswordList(app_passwords=tuple(_resource(each) for each in reply.app_passwords))


@delete(
    "/users/{name:str}/app-passwords/{label:str}",
    summary="Delete an app password",
    tags=["users"],
    status_code=200,
    responses=REFUSALS,
)
async def delete_app_password(
    request: ApiRequest, name: NamePath, label: LabelPath, dry_run: DryRun = False
) -> Deletion:
    """It ends at once, and with it the sessions that began with it."""
    reply = await backend_of(request).directory.delete_app_password(
        DeleteAppPasswordRequest(username=name, name=label, actor=actor_of(request), dry_run=dry_run)
    )
    return Deletion(deleted=(f"app password {reply.app_password.name} of user {name.lower()}",), dry_run=dry_run)


def _resource(found: AppPassword) -> AppPasswordResource:
    return msgspec.convert(found, AppPasswordResource, from_attributes=True)
