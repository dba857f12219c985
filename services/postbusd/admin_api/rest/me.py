"""/api/v1/me: whom the token speaks for, the own password, recent logins."""

from typing import Annotated

import msgspec
from litestar import Response, get, put
from litestar.params import JSONBody

from postbus.contracts.events import Event, EventType
from postbus.contracts.own_password import ChangePasswordRequest
from postbusd.admin_api.ports import EventQuery, Seen
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of, standing_of, token_of
from postbusd.admin_api.rest.parameters import Limit
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS


class MeResource(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the token speaks for."""

    actor: Annotated[str, msgspec.Meta(description="A username, or `admin`.")]
    superadmin: Annotated[bool, msgspec.Meta(description="May do everything.")]
    admin_of: Annotated[tuple[str, ...], msgspec.Meta(description="Domains that the actor administers.")]
    mailboxes: Annotated[tuple[str, ...], msgspec.Meta(description="That the actor opens, the first hundred.")]
    token_name: Annotated[str, msgspec.Meta(description="Of the token.")]
    scopes: Annotated[tuple[str, ...], msgspec.Meta(description="What the token may do, as far as the actor may.")]
    expires_ms: Annotated[int | None, msgspec.Meta(description="When the token ends, Unix time in ms; null: never.")]


class PasswordBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another password."""

    current_password: Annotated[
        str,
        msgspec.Meta(description="Write-only. As it is.", extra_json_schema={"extra": {"write_only": True}}),
    ]
    new_password: Annotated[
        str,
        msgspec.Meta(description="Write-only. As it is to be.", extra_json_schema={"extra": {"write_only": True}}),
    ]


class PasswordChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    changed: Annotated[bool, msgspec.Meta(description="false: it was this one already.")]


@get("/me", summary="Who one is", tags=["me"], responses=REFUSALS)
async def get_me(request: ApiRequest) -> MeResource:
    """Whom the token speaks for, and what it may do."""
    token = token_of(request)
    standing = await standing_of(backend_of(request), token)
    return MeResource(
        actor=standing.actor,
        superadmin=standing.superadmin,
        admin_of=standing.domains,
        mailboxes=standing.mailboxes,
        token_name=token.name,
        scopes=token.scopes,
        expires_ms=token.expires_ms,
    )


class LoginResource(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody logged in, or tried to."""

    at_ms: Annotated[int, msgspec.Meta(description="When, Unix time in milliseconds.")]
    succeeded: Annotated[bool, msgspec.Meta(description="false: it was refused.")]
    account: Annotated[str, msgspec.Meta(description="The mailbox, or the user at the API.")]
    service: Annotated[str, msgspec.Meta(description="Where: smtp-edge, imap-gateway, admin-api.")]
    summary: Annotated[str, msgspec.Meta(description="For people.")]
    client_address: Annotated[str, msgspec.Meta(description="From which IP address.")]
    detail: Annotated[str, msgspec.Meta(description="Whose password it was, or why it was refused.")]


class LoginList(msgspec.Struct, frozen=True, kw_only=True):
    """The latest logins."""

    logins: Annotated[tuple[LoginResource, ...], msgspec.Meta(description="The latest first.")]


@get("/me/logins", summary="List one's recent logins", tags=["me"], responses=REFUSALS)
async def list_own_logins(request: ApiRequest, limit: Limit = DEFAULT_PAGE) -> LoginList:
    """At the own mailboxes and at the API, also refused ones, as long as the event log is kept."""
    backend = backend_of(request)
    standing = await standing_of(backend, token_of(request))
    logged = await backend.events.list_events(
        EventQuery(
            after=None,
            limit=limit,
            types=(EventType.LOGIN, EventType.LOGIN_FAILED),
            seen=Seen(mailboxes=tuple({standing.actor: None, **dict.fromkeys(standing.mailboxes)})),
        )
    )
    return LoginList(logins=tuple(_login(each) for each in reversed(logged.events)))


@put("/me/password", summary="Change one's own password", tags=["me"], responses=BODY_REFUSALS)
async def put_own_password(request: ApiRequest, data: JSONBody[PasswordBody]) -> Response[PasswordChange]:
    """Sessions of mail programs that began with the former one end; app passwords and API tokens stay."""
    reply = await backend_of(request).directory.change_password(
        ChangePasswordRequest(
            actor=actor_of(request), current_password=data.current_password, new_password=data.new_password
        )
    )
    return Response(PasswordChange(changed=reply.changed), status_code=200)


def _login(event: Event) -> LoginResource:
    return LoginResource(
        at_ms=event.at_ms,
        succeeded=event.type is EventType.LOGIN,
        account=event.mailbox,
        service=event.service,
        summary=event.summary,
        client_address=event.client_address,
        detail=event.detail,
    )
