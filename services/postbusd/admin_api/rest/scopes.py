"""Which scope each route needs: the area of its first path segment, `:write` unless it is a GET.

A route may say `scope="…"` itself. One that is in no area is for the scope `admin` alone, and a test refuses it.
"""

from litestar.handlers import BaseRouteHandler

from postbusd.admin_api.scopes import ADMIN

AREAS = {
    "aliases": "mailboxes",
    "apps": "users",
    "archived-mailboxes": "mailboxes",
    "audit": "audit",
    "domains": "domains",
    "events": "events",
    "groups": "users",
    "held": "ledger",
    "identity-provider": "policy",
    "ledger": "ledger",
    "lists": "lists",
    "mailboxes": "mailboxes",
    "me": "users",
    "messages": "events",
    "policy": "policy",
    "queue": "queue",
    "relay-presets": "domains",
    "status": "status",
    "tokens": "tokens",
    "users": "users",
    "webhooks": "webhooks",
}
"""First segment of the path below /api/v1 → area of `postbusd.admin_api.scopes`."""

ACTOR_CHECKED = frozenset({"domains", "mailboxes", "users", "lists", "policy", "tokens"})
"""Areas whose owner checks the actor of each request; the others are for superadmins alone."""


def needed_scope(handler: BaseRouteHandler, method: str) -> str:
    """The scope that a request to this route needs; empty: the route is public."""
    if handler.opt.get("public"):
        return ""
    own: str | None = handler.opt.get("scope")
    if own is not None:
        return own
    area = AREAS.get(next(iter(sorted(handler.paths))).strip("/").partition("/")[0])
    return ADMIN if area is None else f"{area}:{'read' if method in ('GET', 'HEAD') else 'write'}"


def is_for_superadmins(scope: str, handler: BaseRouteHandler) -> bool:
    """Whether nobody but superadmins may use a route with this scope, as nobody further in looks at the actor.

    A route of such an area that looks itself says `actor_checked=True`.
    """
    return not handler.opt.get("actor_checked") and scope.partition(":")[0] not in ACTOR_CHECKED
