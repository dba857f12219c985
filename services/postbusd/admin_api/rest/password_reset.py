"""/api/v1/password-reset: who has forgotten the password gets a code at the recovery address."""

from typing import Annotated

import msgspec
from litestar import Response, post, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.password_reset import RESET_SECONDS
from postbusd.admin_api.rest.backend import ApiRequest, backend_of
from postbusd.admin_api.rest.problems import BODY_REFUSALS
from postbusd.admin_api.rest.sessions import came_from


class ResetBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose password."""

    username: Annotated[str, msgspec.Meta(description="Of the user.", min_length=1, max_length=512)]


class ResetBegun(msgspec.Struct, frozen=True, kw_only=True):
    """The same for every name."""

    valid_seconds: Annotated[int, msgspec.Meta(description="How long a code holds, where one was sent.")]


class NewPasswordBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The code and the password that is to be."""

    code: Annotated[
        str,
        msgspec.Meta(
            description="Write-only. As the mail has it.",
            max_length=100,
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ]
    new_password: Annotated[
        str,
        msgspec.Meta(
            description="Write-only. As it is to be.",
            max_length=1024,
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ]


class ResetDone(msgspec.Struct, frozen=True, kw_only=True):
    """Whose password it is now."""

    username: Annotated[str, msgspec.Meta(description="Of the user.")]


@post(
    "/password-reset",
    summary="Ask for a code",
    tags=["session"],
    status_code=202,
    public=True,
    security=[{}],
    responses={**BODY_REFUSALS, 202: ResponseSpec(data_container=ResetBegun, description="Asked for.")},
)
async def begin_password_reset(request: ApiRequest, data: JSONBody[ResetBody]) -> Response[ResetBegun]:
    """A code goes to the recovery address of an active user who has one, not twice within five minutes.

    The answer is the same whether there is such a user or not.
    """
    backend_of(request).password_resets.begin(data.username, came_from(request))
    return Response(ResetBegun(valid_seconds=RESET_SECONDS), status_code=202)


@put(
    "/password-reset",
    summary="Set a password by a code",
    tags=["session"],
    public=True,
    security=[{}],
    responses=BODY_REFUSALS,
)
async def finish_password_reset(request: ApiRequest, data: JSONBody[NewPasswordBody]) -> Response[ResetDone]:
    """Once for each code; sessions that the former password began end, a second factor stays."""
    username = await backend_of(request).password_resets.finish(data.code, data.new_password)
    return Response(ResetDone(username=username), status_code=200)
