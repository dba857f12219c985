"""What the routes work with."""

import functools
import typing
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, InternalServerException
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from postbus.contracts.delivery import Bookkeeper, MessageTracker, QueueControl
from postbus.contracts.directory import DirectoryAdmin
from postbus.contracts.dns_provisioner import CertificateSource, DnsPlanner
from postbus.contracts.relay_test import RelayTester
from postbus.contracts.smtp_edge import SmtpEdge
from postbus.contracts.standing import ADMINISTRATOR, Standing, StandingRequest
from postbus.core.api_token import SESSION_PREFIX
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.audit import Auditor
from postbusd.admin_api.audit_ports import AuditStore
from postbusd.admin_api.password_resets import PasswordResets
from postbusd.admin_api.ports import EventStore, MessageFinder, Token
from postbusd.admin_api.repeats import Repeats
from postbusd.admin_api.rest.auditing import audited_of, begin_audit
from postbusd.admin_api.rest.problems import clean_field, explain_decoding
from postbusd.admin_api.rest.repeating import answer_again
from postbusd.admin_api.rest.scopes import is_for_superadmins, needed_scope
from postbusd.admin_api.scopes import covers
from postbusd.admin_api.sessions import Sessions
from postbusd.admin_api.status import StatusProbes
from postbusd.admin_api.token_desk import TokenDesk
from postbusd.admin_api.tokens import Tokens
from postbusd.admin_api.webhooks.desk import WebhookDesk

ApiRequest = Request[Any, Any, State]
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
MAX_PAGE = 1000
DEFAULT_PAGE = 100


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """The ports behind the API."""

    directory: DirectoryAdmin
    messages: MessageTracker
    queue: QueueControl
    relays: RelayTester
    books: Bookkeeper
    edge: SmtpEdge
    dns: DnsPlanner
    certificates: CertificateSource
    events: EventStore
    finder: MessageFinder
    audit: AuditStore
    auditor: Auditor
    tokens: Tokens
    sessions: Sessions
    repeats: Repeats
    password_resets: PasswordResets
    webhooks: WebhookDesk
    token_desk: TokenDesk
    status: StatusProbes
    clock: Clock
    version: str
    mail_host: str


def backend_of(request: ApiRequest) -> Backend:
    """The application's backend."""
    backend: Backend = request.app.state.backend
    return backend


def actor_of(request: ApiRequest) -> str:
    """Whom the request's token speaks for."""
    actor: str = request.state.actor
    return actor


def token_of(request: ApiRequest) -> Token:
    """The token that the request came with."""
    token: Token = request.state.token
    return token


async def standing_of(backend: Backend, token: Token) -> Standing:
    """What the token's actor may administer now. Raises MailError: FORBIDDEN (there is no such active user)."""
    if token.actor == ADMINISTRATOR:
        return Standing(actor=token.actor, superadmin=True)
    return await backend.directory.find_standing(StandingRequest(actor=token.actor))


async def require_token(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """The guard of every route; who is not known is counted."""
    try:
        await _check_token(connection, handler)
    except MailError as error:
        if error.kind is ErrorKind.UNAUTHENTICATED:
            connection.app.state.backend.auditor.count_unauthenticated()
        raise


async def _check_token(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """A bearer token with the scope that the route needs, unless the route says `public`."""
    wanted = needed_scope(handler, connection.scope["method"])  # type: ignore[typeddict-item]
    if not wanted:
        return
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MailError(ErrorKind.UNAUTHENTICATED, "send the header Authorization: Bearer <token>")
    backend: Backend = connection.app.state.backend
    found = await find_token(backend, token.strip())
    connection.state.actor, connection.state.token = found.actor, found
    audited = audited_of(connection.scope)
    if audited is not None:
        audited.token = found
    if not covers(found.scopes, wanted):
        raise MailError(ErrorKind.FORBIDDEN, f"this token lacks the scope {wanted}")
    if is_for_superadmins(wanted, handler) and not (await standing_of(backend, found)).superadmin:
        raise MailError(ErrorKind.FORBIDDEN, f"this is for superadmins, not for a token of {found.actor}")


async def find_token(backend: Backend, text: str) -> Token:
    """That of a bearer token: an API token's, or a session's. Raises MailError: UNAUTHENTICATED."""
    if text.startswith(SESSION_PREFIX):
        return await backend.sessions.authenticate(text)
    return await backend.tokens.authenticate(text)


async def check_request(request: ApiRequest) -> Response[Any] | None:
    """Before any operation: no text has a NUL; query and body are strictly what is taken; then the audit log knows.

    A request that was carried out before is answered here.
    """
    if request.method == "OPTIONS":
        return Response(None, status_code=204, headers={"Allow": ", ".join(sorted(_methods(request)))})
    query = list(request.query_params.multi_items())
    if _has_nul([*request.path_params.values(), *[list(pair) for pair in query]]):
        raise MailError(ErrorKind.INVALID, "the request has a NUL character")
    _check_query([name for name, _ in query], _query_names(request.route_handler))
    await _check_body(request)
    body = await request.body() if request.route_handler.parsed_data_field is not None else None
    repeated = await answer_again(request, body)
    if repeated is None:
        await begin_audit(request, body)
    return repeated


def _methods(request: ApiRequest) -> set[str]:
    """Those of the route: the framework's own handler of OPTIONS knows those of one operation only."""
    template = request.scope["path_template"]
    return {method for route in request.app.routes if route.path_format == template for method in route.methods}


def _check_query(given: Sequence[str], known: frozenset[str]) -> None:
    """A `dryrun` that is taken for nothing would delete."""
    for number, name in enumerate(given):
        if name not in known:
            raise MailError(ErrorKind.INVALID, f"{clean_field(name) or 'query'}: there is no such parameter")
        if name in given[:number]:
            raise MailError(ErrorKind.INVALID, f"{name}: is given twice")


@functools.cache
def _query_names(handler: BaseRouteHandler) -> frozenset[str]:
    """The query parameters of an operation."""
    hints = typing.get_type_hints(handler.fn, include_extras=True)
    return frozenset(
        metadata.name or name
        for name, hint in hints.items()
        for metadata in getattr(hint, "__metadata__", ())
        if isinstance(metadata, QueryParameter)
    )


async def _check_body(request: ApiRequest) -> None:
    wanted = request.route_handler.parsed_data_field
    if wanted is None:
        return
    content_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if content_type != JSON and (content_type, request.method) != (MERGE_PATCH, "PATCH"):
        raise HTTPException(f"send the body as {JSON}", status_code=415)
    try:
        body = await request.body()
    except InternalServerException as error:  # what the framework calls a client that went away
        raise MailError(ErrorKind.INVALID, "the body is not complete") from error
    if not body:
        raise MailError(ErrorKind.INVALID, "send a JSON object")
    try:
        decoded = msgspec.json.decode(body, type=wanted.annotation)
        if b"\\u0000" in body and _has_nul(msgspec.to_builtins(decoded)):
            raise MailError(ErrorKind.INVALID, "the body has a NUL character")
    except msgspec.ValidationError as error:
        raise MailError(ErrorKind.INVALID, explain_decoding(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MailError(ErrorKind.INVALID, "the body is not well-formed JSON") from error
    except RecursionError as error:
        raise MailError(ErrorKind.INVALID, "the body has too many levels") from error


def _has_nul(value: object) -> bool:
    """Whether a text within has the one character that a database can't hold."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_has_nul, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_nul, value))
