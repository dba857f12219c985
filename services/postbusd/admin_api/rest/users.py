"""/api/v1/users."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.directory import DeleteRequest, ObjectRequest, PageRequest, PutUserRequest, User
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of, token_of
from postbusd.admin_api.rest.parameters import After, Deletion, DryRun, Limit, NamePath, NextAfter, deletion, written
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS


class UserBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user is to be; what is left out gets its default, only the password stays."""

    display_name: Annotated[str, msgspec.Meta(description="As people know them.", max_length=255)] = ""
    active: Annotated[bool, msgspec.Meta(description="Off: opens no mailbox.")] = True
    password: Annotated[
        str | None,
        msgspec.Meta(
            description="Write-only. null leaves it as it is; a new user without one can't log in.",
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ] = None


class UserResource(msgspec.Struct, frozen=True, kw_only=True):
    """A person who logs in; the password is never shown."""

    username: Annotated[str, msgspec.Meta(description="Lower case.")]
    display_name: Annotated[str, msgspec.Meta(description="As people know them.")]
    active: Annotated[bool, msgspec.Meta(description="Off: opens no mailbox.")]


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
async def put_user(request: ApiRequest, name: NamePath, data: JSONBody[UserBody]) -> Response[UserResource]:
    """Idempotent. A mailbox made with a password brings a user of its own, named by its address."""
    reply = await backend_of(request).directory.put_user(
        PutUserRequest(
            user=User(username=name, display_name=data.display_name, active=data.active),
            actor=actor_of(request),
            password=data.password,
        )
    )
    return written(_resource(reply.user), reply.created)


@get("/users", summary="List users", tags=["users"], responses=REFUSALS)
async def list_users(request: ApiRequest, after: After = "", limit: Limit = DEFAULT_PAGE) -> UserList:
    """In the order of their names."""
    page = await backend_of(request).directory.list_users(
        PageRequest(actor=actor_of(request), after=after, limit=limit)
    )
    return UserList(users=tuple(_resource(each) for each in page.users), next_after=page.next_after)


@get("/users/{name:str}", summary="Show a user", tags=["users"], responses=REFUSALS)
async def get_user(request: ApiRequest, name: NamePath) -> UserResource:
    """By the username."""
    return _resource(await backend_of(request).directory.get_user(ObjectRequest(name=name, actor=actor_of(request))))


@delete("/users/{name:str}", summary="Delete a user", tags=["users"], status_code=200, responses=REFUSALS)
async def delete_user(request: ApiRequest, name: NamePath, dry_run: DryRun = False) -> Deletion:
    """Only one who owns no mailbox; memberships of groups and API tokens end."""
    backend = backend_of(request)
    reply = await backend.directory.delete_user(DeleteRequest(name=name, actor=actor_of(request), dry_run=dry_run))
    if not dry_run:
        await backend.token_desk.delete_of(token_of(request), name.lower())
    return deletion(reply, dry_run)


def _resource(user: User) -> UserResource:
    return msgspec.convert(user, UserResource, from_attributes=True)
