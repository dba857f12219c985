"""/api/v1/me: whom the token speaks for, and the own password."""

from typing import Annotated

import msgspec
from litestar import Response, get, put
from litestar.params import JSONBody

from postbus.contracts.own_password import ChangePasswordRequest
from postbusd.admin_api.rest.backend import ApiRequest, actor_of, backend_of, standing_of, token_of
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


@put("/me/password", summary="Change one's own password", tags=["me"], responses=BODY_REFUSALS)
async def put_own_password(request: ApiRequest, data: JSONBody[PasswordBody]) -> Response[PasswordChange]:
    """Sessions of mail programs that began with the former one end; app passwords and API tokens stay."""
    reply = await backend_of(request).directory.change_password(
        ChangePasswordRequest(
            actor=actor_of(request), current_password=data.current_password, new_password=data.new_password
        )
    )
    return Response(PasswordChange(changed=reply.changed), status_code=200)
