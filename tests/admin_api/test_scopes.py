"""Scopes: a closed list, each route needs one, each one is needed by a route."""

import pytest

from postbusd.admin_api.rest.application import ROUTES
from postbusd.admin_api.rest.scopes import AREAS, needed_scope
from postbusd.admin_api.scopes import ADMIN, READ, SCOPES, covers

PUBLIC = {
    "get_health",
    "get_ca",
    "get_openapi",
    "get_docs",
    "get_docs_script",
    "get_docs_style",
    "begin_session",
    "begin_provider_sign_in",
    "finish_provider_sign_in",
    "begin_password_reset",
    "finish_password_reset",
}


def needed() -> dict[str, str]:
    """Route → scope."""
    return {
        route.handler_name: needed_scope(route, method) for route in ROUTES for method in sorted(route.http_methods)
    }


def test_every_route_but_the_public_ones_declares_a_scope() -> None:
    for name, scope in needed().items():
        assert (scope == "") == (name in PUBLIC), name
        assert scope in ("", *SCOPES), name
        assert scope not in (ADMIN, READ), f"{name}: its first path segment is in no area"


def test_every_scope_is_needed_by_a_route_and_every_area_has_one() -> None:
    reading = {scope for scope in SCOPES if scope not in (ADMIN, READ)}
    assert set(needed().values()) - {""} == reading
    segments = {next(iter(route.paths)).strip("/").partition("/")[0] for route in ROUTES}
    assert set(AREAS) <= segments


def test_reading_and_writing_are_told_by_the_method() -> None:
    found = needed()
    assert found["get_domain"] == found["get_domain_zone"] == "domains:read"
    assert found["put_domain"] == found["delete_domain"] == "domains:write"
    assert (found["change_queue"], found["list_held"], found["get_message"]) == (
        "queue:write",
        "ledger:read",
        "events:read",
    )


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        (["admin"], "admin", True),
        (["admin"], "tokens:write", True),
        (["read"], "audit:read", True),
        (["read"], "read", True),
        (["read"], "domains:write", False),
        (["read"], "admin", False),
        (["domains:write"], "domains:read", True),
        (["domains:read"], "domains:write", False),
        (["domains:write"], "mailboxes:read", False),
        (["domains:write", "queue:read"], "queue:read", True),
        (["domains:read"], "read", False),
        ([], "status:read", False),
        (["imap"], "domains:read", False),
    ],
)
def test_what_a_token_covers(held: list[str], wanted: str, expected: bool) -> None:
    assert covers(held, wanted) is expected
