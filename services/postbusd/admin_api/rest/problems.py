"""Errors as problem+json (RFC 9457): one table, a code that programs may act on, the field where one is to blame.

A MailError's detail may begin with `field: `; that field is told apart. Whatever else goes wrong is our bug: the peer
gets an incident id, the log gets the rest.
"""

import logging
import re
import secrets
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec

from postbus.core.errors import ErrorKind, MailError

MEDIA_TYPE = "application/problem+json"
HTTP_STATUS: dict[ErrorKind, int] = {
    ErrorKind.INVALID: 400,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.ALREADY_EXISTS: 409,
    ErrorKind.CONFLICT: 409,
    ErrorKind.CHANGED: 412,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.INACTIVE: 409,
    ErrorKind.OVER_QUOTA: 507,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.LIMIT: 422,
    ErrorKind.RATE_LIMITED: 429,
    ErrorKind.REJECTED_POLICY: 403,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.INTERNAL: 500,
}
TITLES: dict[ErrorKind, str] = {
    ErrorKind.INVALID: "The request is malformed",
    ErrorKind.NOT_FOUND: "There is no such thing",
    ErrorKind.ALREADY_EXISTS: "It exists already",
    ErrorKind.CONFLICT: "The state of the object forbids this",
    ErrorKind.CHANGED: "The object is another one than the condition says",
    ErrorKind.UNAUTHENTICATED: "Who asks is not known",
    ErrorKind.FORBIDDEN: "This token may not do that",
    ErrorKind.INACTIVE: "The object is switched off",
    ErrorKind.OVER_QUOTA: "The quota is used up",
    ErrorKind.TOO_LARGE: "The request is too large",
    ErrorKind.LIMIT: "A limit was reached",
    ErrorKind.RATE_LIMITED: "Too many requests",
    ErrorKind.REJECTED_POLICY: "A rule forbids this",
    ErrorKind.UNAVAILABLE: "Temporarily not available",
    ErrorKind.INTERNAL: "Internal error",
}
RETRY_SECONDS = 5
"""Advice where a kind heals by itself and says no time."""

_WIRE_NAMES = {"kind": "type", "of_state": "state"}  # parameters whose name is taken in Python
_KIND_OF_STATUS = {
    401: ErrorKind.UNAUTHENTICATED,
    403: ErrorKind.FORBIDDEN,
    404: ErrorKind.NOT_FOUND,
    412: ErrorKind.CHANGED,
    413: ErrorKind.TOO_LARGE,
    429: ErrorKind.RATE_LIMITED,
    503: ErrorKind.UNAVAILABLE,
}
_NOT_THE_CALLERS = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.INTERNAL})
_FIELD = re.compile(r"([a-z][a-z0-9_.]*): (.+)", re.DOTALL)
_PATH = re.compile(r" - at `\$\.?([^`]*)`\Z")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")

log = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457 §3.1, with `code` and `field` as extensions."""

    title: Annotated[str, msgspec.Meta(description="The same for every refusal with this code.")]
    status: Annotated[int, msgspec.Meta(description="The HTTP status.")]
    code: Annotated[ErrorKind, msgspec.Meta(description="What programs may act on.")]
    detail: Annotated[str, msgspec.Meta(description="What is wrong, for people.")]
    type: Annotated[str, msgspec.Meta(description="Always about:blank.")] = "about:blank"
    field: Annotated[
        str | None, msgspec.Meta(description="The member of the body, or the parameter, that is to blame.")
    ] = None


REFUSALS: dict[int, ResponseSpec] = {
    status: ResponseSpec(
        data_container=Problem, description=description, media_type=MEDIA_TYPE, generate_examples=False
    )
    for status, description in (
        (400, "The request is malformed."),
        (401, "A valid token is needed, or to sign in."),
        (403, "This token may not do that."),
        (404, "There is no such thing."),
        (409, "The state of the object forbids this."),
        (412, "The object is another one than the condition says."),
        (413, "The request is too large."),
        (422, "A limit was reached."),
        (429, "Too many requests."),
        (500, "Internal error."),
        (503, "Temporarily not available."),
        (507, "The quota is used up."),
    )
}
"""For the OpenAPI document: what any operation may answer."""

BODY_REFUSALS: dict[int, ResponseSpec] = {
    **REFUSALS,
    415: ResponseSpec(
        data_container=Problem,
        description="The body is not JSON.",
        media_type=MEDIA_TYPE,
        generate_examples=False,
    ),
}
"""The same for operations with a body."""


def to_problem(error: MailError, status: int | None = None) -> Problem:
    """How a MailError looks outside."""
    match = None if error.kind in _NOT_THE_CALLERS else _FIELD.match(error.detail)
    return Problem(
        title=TITLES[error.kind],
        status=status or HTTP_STATUS[error.kind],
        code=error.kind,
        detail=error.detail,
        field=match[1] if match is not None else None,
    )


def handle_mail_error(request: Request[Any, Any, State], error: MailError) -> Response[Problem]:
    """A refusal that the code knows."""
    problem = to_problem(error)
    if error.kind is ErrorKind.INTERNAL:
        log.error("admin_api.request.failed", extra={"path": request.url.path, "reason": error.detail})
    headers = {}
    if error.kind is ErrorKind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="postbus"'
    if problem.status in (429, 503):
        headers["Retry-After"] = str(error.retry.after_seconds or RETRY_SECONDS)
    return _respond(problem, headers)


def handle_http_error(request: Request[Any, Any, State], error: HTTPException) -> Response[Problem]:
    """What the framework refuses: routes, methods, bodies, parameters."""
    if error.status_code >= 500:
        return handle_unknown_error(request, error)
    kind = _KIND_OF_STATUS.get(error.status_code, ErrorKind.INVALID)
    detail = _explain(error) if isinstance(error, ValidationException) else error.detail
    return _respond(to_problem(MailError(kind, detail), error.status_code), dict(error.headers or {}))


def handle_unknown_error(request: Request[Any, Any, State], error: Exception) -> Response[Problem]:
    """Our bug."""
    incident_id = secrets.token_hex(8)
    log.error(
        "admin_api.request.crashed",
        extra={"incident_id": incident_id, "path": request.url.path},
        exc_info=error,
    )
    return _respond(to_problem(MailError(ErrorKind.INTERNAL, f"incident {incident_id}")), {})


def explain_decoding(message: str) -> str:
    """`field: what is wrong` of a complaint by msgspec."""
    for pattern, text in ((_UNKNOWN, "there is no such field"), (_MISSING, "is needed")):
        found = pattern.search(message)
        if found is not None:
            return f"{clean_field(found[1])}: {text}"
    path = _PATH.search(message)
    field = clean_field(path[1]) if path is not None else ""
    return f"{field}: {_PATH.sub('', message)}" if field else message


def _explain(error: ValidationException) -> str:
    """The framework's first complaint about a parameter."""
    complaints = error.extra if isinstance(error.extra, list) else []
    first = complaints[0] if complaints and isinstance(complaints[0], dict) else {}
    key = str(first.get("key", ""))
    field = clean_field(_WIRE_NAMES.get(key, key))
    reason = str(first.get("message", error.detail))
    return f"{field}: {reason}" if field else reason


def clean_field(field: str) -> str:
    """A field's name as it may stand in an answer."""
    return re.sub(r"[^a-z0-9_]", "_", field.lower())[:64].lstrip("_0123456789")


def _respond(problem: Problem, headers: dict[str, str]) -> Response[Problem]:
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)
