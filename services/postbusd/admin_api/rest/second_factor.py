"""/api/v1/me/second-factor and that of a user: codes of an authenticator app beside the password."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.second_factor import (
    BeginSecondFactorRequest,
    ConfirmSecondFactorRequest,
    EndSecondFactorRequest,
    SecondFactor,
    SecondFactorRequest,
)
from postbus.contracts.standing import ADMINISTRATOR
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import ApiRequest, actor_of, backend_of
from postbusd.admin_api.rest.parameters import Deletion, DryRun, NamePath
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS
from postbusd.admin_api.rest.tokens import NOT_STORED


class SecondFactorResource(msgspec.Struct, frozen=True, kw_only=True):
    """A user's second factor."""

    on: Annotated[bool, msgspec.Meta(description="Signing in needs a code; mail programs need app passwords.")]
    since_ms: Annotated[int | None, msgspec.Meta(description="Since when, Unix time in ms; null: it is off.")]
    recovery_codes: Annotated[int, msgspec.Meta(description="Recovery codes that are left.")]


class CurrentPasswordBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password, once more."""

    current_password: Annotated[
        str, msgspec.Meta(description="Write-only. One's own.", extra_json_schema={"extra": {"write_only": True}})
    ]


class CodeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A first code."""

    code: Annotated[
        str,
        msgspec.Meta(
            description="Write-only. The six digits that the app shows now.",
            max_length=100,
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ]


class SecondFactorSecret(msgspec.Struct, frozen=True, kw_only=True):
    """For an authenticator app."""

    secret: Annotated[str, msgspec.Meta(description="Base32, to be typed: told now and never again.")]
    otpauth_uri: Annotated[str, msgspec.Meta(description="`otpauth://…`, to be shown as a QR code.")]


class RecoveryCodes(msgspec.Struct, frozen=True, kw_only=True):
    """For the day when the app is lost."""

    recovery_codes: Annotated[tuple[str, ...], msgspec.Meta(description="Each opens once: told now and never again.")]


@get("/me/second-factor", summary="Show one's second factor", tags=["me"], responses=REFUSALS)
async def get_own_second_factor(request: ApiRequest) -> SecondFactorResource:
    """Whether it is on."""
    return await _get(request, actor_of(request))


@post(
    "/me/second-factor",
    summary="Begin a second factor",
    tags=["me"],
    status_code=201,
    responses={
        **BODY_REFUSALS,
        201: ResponseSpec(data_container=SecondFactorSecret, description="For the app, told once."),
    },
)
async def begin_second_factor(request: ApiRequest, data: JSONBody[CurrentPasswordBody]) -> Response[SecondFactorSecret]:
    """A secret for an authenticator app (TOTP, RFC 6238); it is in force once PUT has got a first code."""
    begun = await backend_of(request).directory.begin_second_factor(
        BeginSecondFactorRequest(actor=actor_of(request), current_password=data.current_password)
    )
    return Response(SecondFactorSecret(secret=begun.secret, otpauth_uri=begun.uri), status_code=201, headers=NOT_STORED)


@put("/me/second-factor", summary="Put a second factor in force", tags=["me"], responses=BODY_REFUSALS)
async def confirm_second_factor(request: ApiRequest, data: JSONBody[CodeBody]) -> Response[RecoveryCodes]:
    """From now on signing in needs a code, and mail programs need app passwords: those that use the password stop."""
    reply = await backend_of(request).directory.confirm_second_factor(
        ConfirmSecondFactorRequest(actor=actor_of(request), code=data.code)
    )
    return Response(RecoveryCodes(recovery_codes=reply.recovery_codes), status_code=200, headers=NOT_STORED)


@post(
    "/me/second-factor/remove",
    summary="End one's second factor",
    tags=["me"],
    status_code=200,
    responses=BODY_REFUSALS,
)
async def remove_own_second_factor(request: ApiRequest, data: JSONBody[CurrentPasswordBody]) -> Deletion:
    """By the password; recovery codes end with it."""
    actor = actor_of(request)
    if actor == ADMINISTRATOR:
        raise MailError(ErrorKind.FORBIDDEN, f"actor: {ADMINISTRATOR} has API tokens and no second factor")
    await backend_of(request).directory.end_second_factor(
        EndSecondFactorRequest(username=actor, actor=actor, current_password=data.current_password)
    )
    return Deletion(deleted=(f"second factor of user {actor}",), dry_run=False)


@get("/users/{name:str}/second-factor", summary="Show a user's second factor", tags=["users"], responses=REFUSALS)
async def get_second_factor(request: ApiRequest, name: NamePath) -> SecondFactorResource:
    """Whether it is on."""
    return await _get(request, name)


@delete(
    "/users/{name:str}/second-factor",
    summary="End a user's second factor",
    tags=["users"],
    status_code=200,
    responses=REFUSALS,
)
async def delete_second_factor(request: ApiRequest, name: NamePath, dry_run: DryRun = False) -> Deletion:
    """For who has lost the app and the recovery codes; one's own needs the password: POST /me/second-factor/remove."""
    await backend_of(request).directory.end_second_factor(
        EndSecondFactorRequest(username=name, actor=actor_of(request), dry_run=dry_run)
    )
    return Deletion(deleted=(f"second factor of user {name.lower()}",), dry_run=dry_run)


async def _get(request: ApiRequest, username: str) -> SecondFactorResource:
    found: SecondFactor = await backend_of(request).directory.get_second_factor(
        SecondFactorRequest(username=username, actor=actor_of(request))
    )
    return SecondFactorResource(on=found.on, since_ms=found.since_ms, recovery_codes=found.recovery_codes)
