"""/api/v1/tokens: API tokens with scopes and an end; the text of one is told once."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from postbus.contracts.objects import ObjectRequest
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.ports import Token
from postbusd.admin_api.rest.backend import DEFAULT_PAGE, ApiRequest, actor_of, backend_of, standing_of, token_of
from postbusd.admin_api.rest.parameters import After, Deletion, DryRun, Limit, NamePath, NextAfter
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS
from postbusd.admin_api.scopes import SCOPES
from postbusd.admin_api.token_desk import MAX_NAME_CHARACTERS, Asker, MadeToken, NewToken
from postbusd.admin_api.tokens import BOOTSTRAP_ACTOR

NOT_STORED = {"Cache-Control": "no-store"}
"""An answer with a token is kept by no cache."""
MAX_TIME_MS = 253_402_300_799_000
"""The end of the year 9999."""

_KNOWN = f"Any of: {', '.join(SCOPES)}. `admin` is everything, `read` every GET; `:write` includes `:read`."


class TokenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to be made."""

    name: Annotated[
        str,
        msgspec.Meta(
            description="What it is for: letters, digits, `.`, `_`, `-`; not `bootstrap`.",
            min_length=1,
            max_length=MAX_NAME_CHARACTERS,
        ),
    ]
    scopes: Annotated[
        tuple[str, ...],
        msgspec.Meta(description=f"What it may do, nothing that the asking token may not. {_KNOWN}", max_length=64),
    ]
    actor: Annotated[
        str,
        msgspec.Meta(description="Whom it speaks for: `admin` or a username; empty: who asks.", max_length=256),
    ] = ""
    expires_ms: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)] | None,
        msgspec.Meta(description="When it ends, Unix time in milliseconds; null: never."),
    ] = None


class TokenResource(msgspec.Struct, frozen=True, kw_only=True):
    """An API token; its text is never shown."""

    name: Annotated[str, msgspec.Meta(description="What it is for. `bootstrap` is the first token, the host's.")]
    token_id: Annotated[str, msgspec.Meta(description="As the audit log names it.")]
    actor: Annotated[str, msgspec.Meta(description="Whom it speaks for.")]
    scopes: Annotated[tuple[str, ...], msgspec.Meta(description="What it may do.")]
    created_ms: Annotated[int, msgspec.Meta(description="When it was made or last rotated, Unix time in ms.")]
    created_by: Annotated[str, msgspec.Meta(description="Who did; empty: the host.")]
    expires_ms: Annotated[int | None, msgspec.Meta(description="When it ends, Unix time in ms; null: never.")]
    last_used_ms: Annotated[
        int | None, msgspec.Meta(description="When it was last used, to the hour, Unix time in ms; null: never.")
    ]


class TokenWithText(TokenResource, frozen=True, kw_only=True):
    """A token and its text."""

    token: Annotated[str, msgspec.Meta(description="For the header Authorization: told now and never again.")]


class TokenList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of tokens."""

    tokens: Annotated[tuple[TokenResource, ...], msgspec.Meta(description="In the order of their names.")]
    next_after: NextAfter


@post(
    "/tokens",
    summary="Make a token",
    tags=["tokens"],
    status_code=201,
    responses={
        **BODY_REFUSALS,
        201: ResponseSpec(data_container=TokenWithText, description="The token, told once."),
    },
)
async def add_token(request: ApiRequest, data: JSONBody[TokenBody]) -> Response[TokenWithText]:
    """It can't do more nor live longer than the token that asks. Superadmins make them for any user."""
    await _check_actor(request, data.actor)
    made = await backend_of(request).token_desk.add(
        await _asker(request),
        NewToken(name=data.name, actor=data.actor, scopes=data.scopes, expires_ms=data.expires_ms),
    )
    return Response(_with_text(made), status_code=201, headers=NOT_STORED)


@get("/tokens", summary="List tokens", tags=["tokens"], responses=REFUSALS)
async def list_tokens(request: ApiRequest, after: After = "", limit: Limit = DEFAULT_PAGE) -> TokenList:
    """In the order of their names: all of them for superadmins, for others those of their own actor."""
    found = await backend_of(request).token_desk.list(await _asker(request), after, limit + 1)
    page = found[:limit]
    return TokenList(
        tokens=tuple(_resource(each) for each in page), next_after=page[-1].name if len(found) > limit else ""
    )


@get("/tokens/{name:str}", summary="Show a token", tags=["tokens"], responses=REFUSALS)
async def get_token(request: ApiRequest, name: NamePath) -> TokenResource:
    """By its name."""
    return _resource(await backend_of(request).token_desk.get(await _asker(request), name))


@delete("/tokens/{name:str}", summary="Delete a token", tags=["tokens"], status_code=200, responses=REFUSALS)
async def delete_token(request: ApiRequest, name: NamePath, dry_run: DryRun = False) -> Deletion:
    """It ends at once. `bootstrap` can't be deleted."""
    token = await backend_of(request).token_desk.delete(await _asker(request), name, dry_run=dry_run)
    return Deletion(deleted=(f"token {token.name} of {token.actor}",), dry_run=dry_run)


@post("/tokens/{name:str}/rotate", summary="Rotate a token", tags=["tokens"], status_code=200, responses=REFUSALS)
async def rotate_token(request: ApiRequest, name: NamePath) -> Response[TokenWithText]:
    """The old text ends at once, the new one is told once; all else stays. `bootstrap` is rotated on the host."""
    made = await backend_of(request).token_desk.rotate(await _asker(request), name)
    return Response(_with_text(made), status_code=200, headers=NOT_STORED)


async def _asker(request: ApiRequest) -> Asker:
    token = token_of(request)
    if token.is_session:  # its end is not that of what its user makes
        token = msgspec.structs.replace(token, expires_ms=None)
    return Asker(token=token, superadmin=(await standing_of(backend_of(request), token)).superadmin)


async def _check_actor(request: ApiRequest, actor: str) -> None:
    """A user who is not there would be given power when somebody makes one. Raises MailError."""
    if actor in ("", BOOTSTRAP_ACTOR, actor_of(request)):
        return
    try:
        found = await backend_of(request).directory.get_user(ObjectRequest(name=actor, actor=actor_of(request)))
    except MailError as error:
        if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.INVALID):
            raise
        raise MailError(ErrorKind.NOT_FOUND, "actor: there is no such user") from error
    if found.username != actor:
        raise MailError(ErrorKind.INVALID, f"actor: the username is {found.username}")


def _resource(token: Token) -> TokenResource:
    return msgspec.convert(token, TokenResource, from_attributes=True)


def _with_text(made: MadeToken) -> TokenWithText:
    return TokenWithText(token=made.text, **msgspec.structs.asdict(_resource(made.token)))
