"""The header Idempotency-Key of requests that change something: carried out once, answered as often as they are sent.

The key is claimed by the last check before the operation; the answer is kept when it goes out.
"""

import logging
from typing import Any

from litestar import Response
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.repeats import MAX_BODY_OCTETS, Repeats, fingerprint_of
from postbusd.admin_api.rest.auditing import audited_of

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Any text of one's own, 1 to 200 characters, another for each request: sent again within a day, the "
    f"same request is not carried out again but answered as before, with `{REPLAYED}: true`; another request with the "
    "same key is a 422, one that is still under way a 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
}
"""For the OpenAPI document."""

_STATE = "repeat_claim"
_KEPT_HEADERS = frozenset({"content-type", "etag", "cache-control"})

log = logging.getLogger(__name__)


async def answer_again(request: Any, body: bytes | None) -> Response[bytes] | None:  # Any: an ApiRequest
    """What was answered before; None: the operation goes on.

    Raises MailError: INVALID, LIMIT, CONFLICT, UNAVAILABLE.
    """
    key = request.headers.get(HEADER)
    token = request.state.get("token")
    if key is None or token is None or request.method in ("GET", "HEAD"):
        return None
    if not takes_key(request.route_handler):
        raise MailError(ErrorKind.INVALID, "idempotency_key: is not taken here: the same table again changes nothing")
    repeats: Repeats = request.app.state.backend.repeats
    query = request.scope["query_string"].decode("latin-1")
    fingerprint = fingerprint_of(request.method, request.url.path, query, body or b"")
    kept = await repeats.claim(token.actor, key, fingerprint)
    if kept is None:
        request.scope["state"][_STATE] = (token.actor, key)
        return None
    audited = audited_of(request.scope)
    if audited is not None:  # nothing happens: the first request stands in the audit log
        audited.token = None
    headers = {**kept.headers, REPLAYED: "true"}
    return Response(kept.body, status_code=kept.status, headers=headers, media_type=kept.headers.get("content-type"))


def takes_key(handler: BaseRouteHandler) -> bool:
    """Whether its requests are small enough to be known by; one that reads its body in parts says `streams_body`."""
    return not handler.opt.get("streams_body")


class RepeatMiddleware:
    """Around a route: keeps the answer of a request that has claimed a key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await self._app(scope, receive, _Keeper(scope, send).send)


class _Keeper:
    """Looks at the answer of a request."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: bytes | None = b""

    async def send(self, message: Message) -> None:
        """Takes what the application sends; keeps it before its last part goes out."""
        claim = self._scope["state"].get(_STATE)
        if claim is not None and message["type"] == "http.response.start":
            self._status = message["status"]
            pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in message["headers"])
            self._headers = {name: value for name, value in pairs if name in _KEPT_HEADERS}
        elif claim is not None and message["type"] == "http.response.body":
            if self._body is not None:
                whole = self._body + message.get("body", b"")
                self._body = whole if len(whole) <= MAX_BODY_OCTETS else None
            if not message.get("more_body"):
                await self._end(*claim)
        await self._send(message)

    async def _end(self, actor: str, key: str) -> None:
        repeats: Repeats = self._scope["litestar_app"].state.backend.repeats
        try:
            if self._status < 400:
                await repeats.finish(actor, key, self._status, self._headers, self._body)
            else:
                await repeats.release(actor, key)
        except MailError as error:  # a repetition is then told that nobody knows
            log.warning("admin_api.repeat.unkept", extra={"reason": str(error)})
