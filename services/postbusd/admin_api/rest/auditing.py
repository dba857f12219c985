"""What the audit log sees of a request: around every route that changes something and is not public.

The row is begun by `begin_audit`, the last step before an operation; whatever ended the request earlier is written with
its outcome when the answer goes out. The object as it was comes from the GET route of the same path.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from postbus.core.errors import MailError
from postbus.core.ids import new_uuid7
from postbus.core.trace import HEADER, TraceContext, parse_traceparent, use_trace
from postbusd.admin_api.audit import MAX_DETAIL_CHARACTERS, MAX_TEXT_CHARACTERS, Auditor, audit_json
from postbusd.admin_api.audit_ports import AuditEntry, AuditOutcome
from postbusd.admin_api.ports import Token

STATE = "audited_request"
REQUEST_ID_HEADER = "X-Request-Id"
ROOT = "/api/v1/"
MAX_ANSWER_OCTETS = 1024 * 1024
"""Of an answer that is looked at; a longer one, or one that comes in parts, is told by its status only."""

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_PARAMETER = re.compile(r"\{[^}]*\}")


class AuditedRequest:
    """One write request on its way."""

    def __init__(self, request_id: str, trace: TraceContext) -> None:
        self.request_id = request_id
        self.trace = trace
        self.token: Token | None = None
        """Set when it is known; a request without one is not written."""
        self.sequence: int | None = None
        """Set when the operation may have begun."""


class AuditMiddleware:
    """Around a route: gives the request its id and trace, writes its outcome before the answer goes out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if _method(scope) in _READING:
            await self._app(scope, receive, send)
            return
        clock_ms = scope["litestar_app"].state.backend.clock.now_ms()
        headers = dict(scope["headers"])
        with use_trace(parse_traceparent(headers.get(HEADER.encode(), b"").decode("latin-1"))) as trace:
            audited = AuditedRequest(new_uuid7(clock_ms), trace)
            scope["state"][STATE] = audited
            await self._app(scope, receive, _Teller(scope, audited, send).send)


class _Teller:
    """Holds the answer back until its outcome is written."""

    def __init__(self, scope: Scope, audited: AuditedRequest, send: Send) -> None:
        self._scope = scope
        self._audited = audited
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Takes what the application sends."""
        if message["type"] == "http.response.start":
            MutableScopeHeaders.from_message(message)[REQUEST_ID_HEADER] = self._audited.request_id
            self._start = message
            return
        if self._start is not None and message["type"] == "http.response.body":
            start, self._start = self._start, None
            await self._tell(start, b"" if message.get("more_body") else message["body"])
            await self._send(start)
        await self._send(message)

    async def _tell(self, start: Message, body: bytes) -> None:
        """Writes the outcome. An answer in parts has begun well: its operation says itself what it did."""
        audited = self._audited
        if audited.token is None:
            return
        auditor: Auditor = self._scope["litestar_app"].state.backend.auditor
        outcome = make_outcome(int(start["status"]), body)  # type: ignore[typeddict-item]
        if audited.sequence is not None:
            await auditor.end(audited.sequence, outcome)
        else:
            await auditor.refuse(_entry(self._scope, audited, None, ""), outcome)


def audited_of(scope: Scope) -> AuditedRequest | None:
    """The audited request; None: it changes nothing."""
    found: AuditedRequest | None = scope["state"].get(STATE)
    return found


async def begin_audit(request: Any, body: bytes | None) -> None:  # Any: an ApiRequest; its module needs this one
    """The last step before an operation: from here on it is in the audit log. Raises MailError: UNAVAILABLE."""
    audited = audited_of(request.scope)
    if audited is None or audited.token is None:
        return
    asked = _decode(body) if body else None
    entry = _entry(request.scope, audited, asked, await _read_before(request))
    audited.sequence = await request.app.state.backend.auditor.begin(entry)


def make_outcome(status: int, body: bytes) -> AuditOutcome:
    """What is told of an answer."""
    answer = _decode(body) if len(body) <= MAX_ANSWER_OCTETS else None
    if status < 400:
        return AuditOutcome(status=status, after=audit_json(answer))
    problem = answer if isinstance(answer, dict) else {}
    return AuditOutcome(
        status=status,
        code=str(problem.get("code", "")),
        detail=_storable(str(problem.get("detail", "")), MAX_DETAIL_CHARACTERS),
    )


def object_of(template: str, parameters: Mapping[str, object], asked: object) -> str:
    """`domains/example.org`: the path up to its last parameter; of a POST without one, with the name in its body."""
    segments = template.strip("/").split("/")
    count = max((number for number, each in enumerate(segments, 1) if _PARAMETER.fullmatch(each)), default=0)
    if count == 0:
        name = asked.get("name") if isinstance(asked, dict) else None
        return "/".join([segments[0], *([name] if isinstance(name, str) and name else [])]).lower()
    named = [
        str(parameters.get(each.strip("{}").partition(":")[0], "")) if _PARAMETER.fullmatch(each) else each
        for each in segments[:count]
    ]
    return "/".join(named).lower()


def _entry(scope: Scope, audited: AuditedRequest, asked: object, before: str) -> AuditEntry:
    token, handler = audited.token, scope["route_handler"]
    assert token is not None
    client = scope.get("client")
    return AuditEntry(
        request_id=audited.request_id,
        actor=token.actor,
        token_id=token.token_id,
        token_name=token.name,
        client_address=client[0] if client else "",
        method=_method(scope),
        operation=handler.handler_name,
        object=_storable(object_of(_template(handler), scope["path_params"], asked)),
        query=_storable(scope["query_string"].decode("ascii", "replace")),
        traceparent=audited.trace.format(),
        request=audit_json(asked),
        before=before,
    )


async def _read_before(request: Any) -> str:  # Any: an ApiRequest
    """The object as it is now, as its GET route shows it; empty: it is not there or can't be read."""
    reader = _find_reader(request)
    if reader is None:
        return ""
    wanted = {name: value for name, value in request.path_params.items() if f"{{{name}:" in _template(reader)}
    try:
        found = await reader.fn(request=request, **wanted)
    except (MailError, HTTPException):
        return ""
    return audit_json(msgspec.to_builtins(found.content if isinstance(found, Response) else found))


def _find_reader(request: Any) -> BaseRouteHandler | None:  # Any: an ApiRequest
    """The GET route of the object: the longest path with a parameter at its end that this one begins with."""
    state = request.app.state
    if "object_readers" not in state:
        state.object_readers = {
            _template(handler): handler
            for route in request.app.routes
            for handler in getattr(route, "route_handlers", ())
            if "GET" in handler.http_methods and _template(handler).endswith("}")
        }
    segments = _template(request.route_handler).strip("/").split("/")
    for count in range(len(segments), 0, -1):
        found: BaseRouteHandler | None = state.object_readers.get("/" + "/".join(segments[:count]))
        if found is not None:
            return found
    return None


def _method(scope: Scope) -> str:
    return str(dict(scope).get("method", "GET"))


def _template(handler: BaseRouteHandler) -> str:
    """`/domains/{name:str}`."""
    return "/" + next(iter(sorted(handler.paths))).strip("/")


def _decode(body: bytes) -> object:
    try:
        return msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _storable(text: str, most: int = MAX_TEXT_CHARACTERS) -> str:
    return text.replace("\0", "\ufffd")[:most]
