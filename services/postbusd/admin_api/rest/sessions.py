"""/api/v1/session and /me/sessions: users sign in by username and password, and see and end their sessions."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody, PathParameter

from postbus.contracts.sign_in import SignInMethod
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.ports import Session, Token
from postbusd.admin_api.rest.backend import ApiRequest, backend_of, token_of
from postbusd.admin_api.rest.parameters import Deletion
from postbusd.admin_api.rest.problems import BODY_REFUSALS, REFUSALS
from postbusd.admin_api.rest.tokens import NOT_STORED
from postbusd.admin_api.sessions import BegunSession, From

MAX_PASSWORD_CHARACTERS = 1024
_SESSION_ID = PathParameter(description="As the list of sessions names it.")


class SignInBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who signs in."""

    username: Annotated[str, msgspec.Meta(description="Of the user.", min_length=1, max_length=512)]
    password: Annotated[
        str,
        msgspec.Meta(
            description="Write-only. The user's, or an app password whose scopes name `api`.",
            max_length=MAX_PASSWORD_CHARACTERS,
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ]
    code: Annotated[
        str,
        msgspec.Meta(
            description="Write-only. Of the second factor, where there is one: six digits, or a recovery code.",
            max_length=100,
            extra_json_schema={"extra": {"write_only": True}},
        ),
    ] = ""


class SessionResource(msgspec.Struct, frozen=True, kw_only=True):
    """A session; its text is never shown."""

    session_id: Annotated[str, msgspec.Meta(description="As the audit log names it.")]
    method: Annotated[SignInMethod, msgspec.Meta(description="How its user has shown who he is.")]
    client_address: Annotated[str, msgspec.Meta(description="Where it was begun.")]
    user_agent: Annotated[str, msgspec.Meta(description="By which program.")]
    begun_ms: Annotated[int, msgspec.Meta(description="When, Unix time in ms.")]
    last_used_ms: Annotated[int, msgspec.Meta(description="When it was last used, to five minutes, Unix time in ms.")]
    expires_ms: Annotated[int, msgspec.Meta(description="When it ends at the latest, Unix time in ms.")]
    current: Annotated[bool, msgspec.Meta(description="It is the one that asks.")]


class SessionWithText(SessionResource, frozen=True, kw_only=True):
    """A session and its text."""

    username: Annotated[str, msgspec.Meta(description="Who has signed in.")]
    scopes: Annotated[tuple[str, ...], msgspec.Meta(description="What it may do, as far as the user may.")]
    token: Annotated[str, msgspec.Meta(description="For the header Authorization: told now and never again.")]


class SessionList(msgspec.Struct, frozen=True, kw_only=True):
    """All sessions of a user."""

    sessions: Annotated[tuple[SessionResource, ...], msgspec.Meta(description="The oldest first.")]


SESSION_BEGUN = {
    **BODY_REFUSALS,
    201: ResponseSpec(data_container=SessionWithText, description="The session, its text told once."),
}


@post(
    "/session",
    summary="Sign in",
    tags=["session"],
    status_code=201,
    public=True,
    security=[{}],
    responses=SESSION_BEGUN,
)
async def begin_session(request: ApiRequest, data: JSONBody[SignInBody]) -> Response[SessionWithText]:
    """A session is a bearer token that may do what its user may; it ends with the password, unused, or by DELETE.

    A 401 whose `field` is `code` asks for the code of the second factor; the password was right.
    """
    begun = await backend_of(request).sessions.sign_in(data.username, data.password, data.code, came_from(request))
    return answer_begun(begun)


@delete("/session", summary="Sign out", tags=["session"], status_code=200, scope="users:read", responses=REFUSALS)
async def end_session(request: ApiRequest) -> Deletion:
    """The session that asks ends at once."""
    token = _session_of(request)
    await backend_of(request).sessions.end(token.token_id, token.actor)
    return Deletion(deleted=(f"session of {token.actor}",), dry_run=False)


@get("/me/sessions", summary="List one's sessions", tags=["me"], responses=REFUSALS)
async def list_own_sessions(request: ApiRequest) -> SessionList:
    """Those of the user whom the token speaks for; `admin` has none."""
    token = token_of(request)
    found = await backend_of(request).sessions.list(token.actor)
    return SessionList(sessions=tuple(_resource(each, token.token_id) for each in found))


@delete("/me/sessions/{session_id:str}", summary="End one's session", tags=["me"], status_code=200, responses=REFUSALS)
async def end_own_session(request: ApiRequest, session_id: Annotated[str, _SESSION_ID]) -> Deletion:
    """It ends at once."""
    actor = token_of(request).actor
    await backend_of(request).sessions.end(session_id, actor)
    return Deletion(deleted=(f"session {session_id} of {actor}",), dry_run=False)


def came_from(request: ApiRequest) -> From:
    """The client."""
    return From(address=request.client.host if request.client else "", agent=request.headers.get("user-agent", ""))


def answer_begun(begun: BegunSession) -> Response[SessionWithText]:
    """201 with the text of a session."""
    resource = _resource(begun.session, begun.session.session_id)
    told = SessionWithText(
        username=begun.session.username,
        scopes=begun.token.scopes,
        token=begun.text,
        **msgspec.structs.asdict(resource),
    )
    return Response(told, status_code=201, headers=NOT_STORED)


def _session_of(request: ApiRequest) -> Token:
    token = token_of(request)
    if not token.is_session:
        raise MailError(ErrorKind.CONFLICT, f"this is the API token {token.name}, not a session")
    return token


def _resource(session: Session, current_id: str) -> SessionResource:
    return SessionResource(
        session_id=session.session_id,
        method=session.method,
        client_address=session.client_address,
        user_agent=session.user_agent,
        begun_ms=session.begun_ms,
        last_used_ms=session.last_used_ms,
        expires_ms=session.expires_ms,
        current=session.session_id == current_id,
    )
