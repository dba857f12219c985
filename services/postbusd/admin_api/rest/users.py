"""/api/v1/users."""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.condition import Condition
from postbus.contracts.directory import PutUserRequest, User
from postbus.contracts.objects import DeleteRequest, ObjectRequest, PageRequest
from postbus.contracts.standing import ADMINISTRATOR
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of, token_of
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
    PasswordHash,
    Sort,
    SortBy,
    WithText,
    deletion,
)
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS


class UserBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user is to be; what is left out gets its default, only the password stays."""

    display_name: Annotated[str, msgspec.Meta(description="As people know them.", max_length=255)] = ""
    active: Annotated[bool, msgspec.Meta(description="Off: opens no mailbox.")] = True
    superadmin: Annotated[bool, msgspec.Meta(description="Administers everything. Set by superadmins only.")] = False
    admin_of: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Domains whose objects this user administers. Set by superadmins only."),
    ] = ()
    recovery_address: Annotated[
        str, msgspec.Meta(description="Where a forgotten password is reset; empty: nowhere.", max_length=320)
    ] = ""
    password: Annotated[
        str | None,
        msgspec.Meta(
            description="Write-only. null leaves it as it is; a new user without one can't log in.",
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ] = None
    password_hash: PasswordHash = ""


class UserResource(msgspec.Struct, frozen=True, kw_only=True):
    """A person who logs in; the password is never shown."""

    username: Annotated[str, msgspec.Meta(description="Lower case.")]
    display_name: Annotated[str, msgspec.Meta(description="As people know them.")]
    active: Annotated[bool, msgspec.Meta(description="Off: opens no mailbox.")]
    superadmin: Annotated[bool, msgspec.Meta(description="Administers everything.")]
    admin_of: Annotated[tuple[str, ...], msgspec.Meta(description="Domains whose objects this user administers.")]
    recovery_address: Annotated[str, msgspec.Meta(description="Where a forgotten password is reset; empty: nowhere.")]


class UserList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of users."""

    users: Annotated[tuple[UserResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


@put(
    "/users/{name:str}",
    summary="Create or replace a user",
    tags=["users"],
    responses={**BODY_REFUSALS, 201: ResponseSpec(data_container=UserResource, description="The user is new.")},
)
async def put_user(
    request: ApiRequest,
    name: NamePath,
    data: JSONBody[UserBody],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[UserResource | Plan]:
    """Idempotent. A mailbox made with a password brings a user of its own, named by its address."""
    return await _put(request, name, data, condition_of(if_match, plan))


@patch(
    "/users/{name:str}",
    summary="Change a user",
    tags=["users"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def patch_user(
    request: ApiRequest,
    name: NamePath,
    data: JSONBody[Patch],
    if_match: IfMatch = "",
    plan: OnlyPlan = False,
) -> Response[UserResource | Plan]:
    """A JSON merge patch (RFC 7396): what it leaves out stays, null gives a field its default."""
    return await patch_object(
        lambda: _get(request, name),
        _resource,
        UserBody,
        data,
        condition_of(if_match, plan),
        lambda body, condition: _put(request, name, body, condition),
    )


@get("/users", summary="List users", tags=["users"], responses=REFUSALS)
async def list_users(
    request: ApiRequest, after: After = "", limit: Limit = DEFAULT_PAGE, text: WithText = "", sort: Sort = SortBy.NAME
) -> UserList:
    """In the order of their names."""
    page = await backend_of(request).directory.list_users(
        PageRequest(
            actor=actor_of(request), after=after, limit=limit, text=text, descending=sort is SortBy.NAME_DESCENDING
        )
    )
    return UserList(users=tuple(_resource(each) for each in page.users), next_after=page.next_after)


@get("/users/{name:str}", summary="Show a user", tags=["users"], responses=REFUSALS)
async def get_user(request: ApiRequest, name: NamePath) -> Response[UserResource]:
    """By the username."""
    found = await _get(request, name)
    return tagged(found, _resource(found))


@delete("/users/{name:str}", summary="Delete a user", tags=["users"], status_code=200, responses=REFUSALS)
async def delete_user(request: ApiRequest, name: NamePath, dry_run: DryRun = False, if_match: IfMatch = "") -> Deletion:
    """Only one who owns no mailbox; memberships of groups and API tokens end."""
    backend = backend_of(request)
    condition = condition_of(if_match)
    reply = await backend.directory.delete_user(
        DeleteRequest(name=name, actor=actor_of(request), dry_run=dry_run, condition=condition)
    )
    if not dry_run:
        await backend.token_desk.delete_of(token_of(request).actor, name.lower())
    return deletion(reply, dry_run)


async def _put(request: ApiRequest, name: str, body: UserBody, condition: Condition) -> Response[Any]:
    before = await find(_get(request, name)) if condition.plan else None
    if not condition.plan:
        await end_leftover_tokens(request, name)
    user = User(
        username=name,
        display_name=body.display_name,
        active=body.active,
        superadmin=body.superadmin,
        admin_of=body.admin_of,
        recovery_address=body.recovery_address,
    )
    reply = await backend_of(request).directory.put_user(
        PutUserRequest(
            user=user,
            actor=actor_of(request),
            password=body.password,
            password_hash=body.password_hash,
            condition=condition,
        )
    )
    secrets = ["password"] if body.password is not None or body.password_hash else []
    return answer(condition, _resource, before, reply.user, created=reply.created, secrets=secrets)


async def end_leftover_tokens(request: ApiRequest, username: str) -> None:
    """Tokens of a former user of this name are nothing of who gets it now."""
    if username.lower() == ADMINISTRATOR:
        return  # who is no user and never gone
    backend = backend_of(request)
    try:
        gone = await find(backend.directory.get_user(ObjectRequest(name=username, actor=ADMINISTRATOR))) is None
    except MailError as error:
        if error.kind is ErrorKind.INVALID:
            return  # no name at all, as the operation itself will say
        raise
    if gone:
        await backend.token_desk.delete_of(token_of(request).actor, username.lower())


async def _get(request: ApiRequest, name: str) -> User:
    return await backend_of(request).directory.get_user(ObjectRequest(name=name, actor=actor_of(request)))


def _resource(user: User) -> UserResource:
    return msgspec.convert(user, UserResource, from_attributes=True)
