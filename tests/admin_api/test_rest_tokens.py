"""/api/v1/tokens: made once, told once, never more than who asks has."""

import json
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.core.api_token import PATTERN
from postbus.testing.admin_rest import TOKEN, FakeInstallation, RestClient
from postbusd.admin_api.ports import EventQuery, Token
from postbusd.admin_api.tokens import BOOTSTRAP_ID

PATH = "/api/v1/tokens"
LATER_MS = 4_000_000_000_000


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    return RestClient(FakeInstallation(), http)


def make(client: RestClient, name: str, *scopes: str, token: str = TOKEN, **more: object) -> str:
    """A token's text."""
    status, made = client.ask("POST", PATH, token=token, json={"name": name, "scopes": scopes, **more})
    assert status == 201, made
    text: str = made["token"]
    return text


def refused(client: RestClient, token: str, name: str, scopes: list[str], **more: object) -> tuple[int, Any, Any]:
    return client.refusal("POST", PATH, token=token, json={"name": name, "scopes": scopes, **more})


def test_a_token_works_and_its_text_is_told_once(client: RestClient) -> None:
    status, made = client.ask("POST", PATH, json={"name": "Backup", "scopes": ["read"], "expires_ms": LATER_MS})
    assert status == 201
    assert PATTERN.fullmatch(made["token"])
    assert (made["name"], made["actor"], made["created_by"]) == ("backup", "admin", "admin")
    assert client.ask("GET", "/api/v1/domains", token=made["token"])[0] == 200
    shown = client.ask("GET", f"{PATH}/backup")[1]
    assert shown["last_used_ms"] >= shown["created_ms"]
    assert {**shown, "last_used_ms": None, "token": made["token"]} == made
    assert made["token"] not in json.dumps(client.ask("GET", PATH)[1])
    assert made["token"] not in repr(client.installation.store.tokens)


def test_a_refusal_names_the_missing_scope(client: RestClient) -> None:
    text = make(client, "reader", "domains:read")
    for method, path, scope in (
        ("PUT", "/api/v1/domains/x.example", "domains:write"),
        ("GET", "/api/v1/mailboxes", "mailboxes:read"),
        ("DELETE", "/api/v1/apps/shop", "users:write"),
        ("POST", "/api/v1/queue/actions", "queue:write"),
    ):
        status, problem = client.ask(method, path, token=text)
        assert (status, problem["detail"]) == (403, f"this token lacks the scope {scope}")
    assert client.ask("GET", "/api/v1/domains", token=text)[0] == 200


def test_use_is_noted_once_an_hour(client: RestClient) -> None:
    text = make(client, "busy", "status:read")
    for _ in range(5):
        assert client.ask("GET", "/api/v1/status", token=text)[0] == 200
    assert client.installation.store.touches == 2  # this token's and the administrator's


def test_no_token_gives_more_than_it_has(client: RestClient) -> None:
    narrow = make(client, "narrow", "tokens:write", "domains:read", expires_ms=LATER_MS)
    assert refused(client, narrow, "a", ["admin"], expires_ms=LATER_MS) == (403, "forbidden", "scopes")
    assert refused(client, narrow, "a", ["read"], expires_ms=LATER_MS) == (403, "forbidden", "scopes")
    assert refused(client, narrow, "a", ["domains:write"], expires_ms=LATER_MS) == (403, "forbidden", "scopes")
    assert refused(client, narrow, "a", ["domains:read"]) == (403, "forbidden", "expires_ms")
    assert refused(client, narrow, "a", ["domains:read"], expires_ms=LATER_MS + 1) == (403, "forbidden", "expires_ms")
    make(client, "a", "domains:read", "tokens:read", token=narrow, expires_ms=LATER_MS - 1)


def test_what_can_do_more_is_neither_rotated_nor_deleted(client: RestClient) -> None:
    narrow = make(client, "narrow", "tokens:write")
    make(client, "strong", "admin")
    strong = f"{PATH}/strong"
    assert client.refusal("POST", f"{strong}/rotate", token=narrow) == (403, "forbidden", "scopes")
    assert client.refusal("DELETE", strong, token=narrow) == (403, "forbidden", "scopes")
    assert client.ask("GET", strong, token=narrow)[0] == 200


def test_a_user_s_token_sees_and_makes_those_of_the_user_only(client: RestClient) -> None:
    client.ask("PUT", "/api/v1/users/kim", json={"password": "secret pass"})
    kim = make(client, "kims", "tokens:write", actor="kim")
    make(client, "more", "read", actor="kim")
    assert [each["name"] for each in client.ask("GET", PATH, token=kim)[1]["tokens"]] == ["kims", "more"]
    assert client.refusal("GET", f"{PATH}/one", token=kim) == (404, "not_found", "name")
    assert refused(client, kim, "a", ["tokens:read"], actor="admin") == (403, "forbidden", "actor")
    make(client, "own", "tokens:read", token=kim)
    assert client.ask("GET", f"{PATH}/own")[1]["actor"] == "kim"


def test_the_actor_must_be_there_and_takes_its_tokens_along(client: RestClient) -> None:
    assert refused(client, TOKEN, "a", ["read"], actor="nobody") == (404, "not_found", "actor")
    client.ask("PUT", "/api/v1/users/kim", json={"password": "secret pass"})
    assert refused(client, TOKEN, "a", ["read"], actor="Kim") == (400, "invalid", "actor")
    text = make(client, "kims", "read", actor="kim")
    assert client.ask("DELETE", "/api/v1/users/kim?dry_run=true")[0] == 200
    assert client.ask("GET", PATH, token=text)[0] == 200
    assert client.ask("DELETE", "/api/v1/users/kim")[0] == 200
    assert client.ask("GET", PATH, token=text)[0] == 401


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "", "scopes": ["read"]}, (400, "invalid", "name")),
        ({"name": "a b", "scopes": ["read"]}, (400, "invalid", "name")),
        ({"name": "x" * 65, "scopes": ["read"]}, (400, "invalid", "name")),
        ({"name": "bootstrap", "scopes": ["read"]}, (409, "conflict", "name")),
        ({"name": "one", "scopes": ["read"]}, (409, "already_exists", "name")),
        ({"name": "a", "scopes": []}, (400, "invalid", "scopes")),
        ({"name": "a", "scopes": ["everything"]}, (400, "invalid", "scopes")),
        ({"name": "a"}, (400, "invalid", "scopes")),
        ({"name": "a", "scopes": ["read"], "expires_ms": 5}, (400, "invalid", "expires_ms")),
        ({"name": "a", "scopes": ["read"], "expires_ms": -5}, (400, "invalid", "expires_ms")),
    ],
)
def test_what_a_token_can_t_be(client: RestClient, body: dict[str, object], expected: tuple[int, str, str]) -> None:
    assert client.refusal("POST", PATH, json=body) == expected


def test_a_rotated_token_ends_at_once(client: RestClient) -> None:
    old = make(client, "backup", "read")
    status, rotated = client.ask("POST", f"{PATH}/Backup/rotate")
    assert status == 200
    assert client.ask("GET", "/api/v1/domains", token=old)[0] == 401
    assert client.ask("GET", "/api/v1/domains", token=rotated["token"])[0] == 200
    assert (rotated["name"], rotated["scopes"], rotated["last_used_ms"]) == ("backup", ["read"], None)


def test_a_deleted_token_ends_at_once(client: RestClient) -> None:
    text = make(client, "backup", "read")
    told = {"deleted": ["token backup of admin"], "dry_run": True}
    assert client.ask("DELETE", f"{PATH}/backup?dry_run=true") == (200, told)
    assert client.ask("GET", "/api/v1/domains", token=text)[0] == 200
    assert client.ask("DELETE", f"{PATH}/backup") == (200, {**told, "dry_run": False})
    assert client.ask("GET", "/api/v1/domains", token=text)[0] == 401
    assert client.refusal("DELETE", f"{PATH}/backup") == (404, "not_found", "name")


def test_the_bootstrap_token_is_the_host_s(client: RestClient) -> None:
    bootstrap = Token(actor="admin", scopes=("admin",), token_id=BOOTSTRAP_ID, name=BOOTSTRAP_ID)
    client.installation.store.tokens[BOOTSTRAP_ID] = (b"0" * 32, bootstrap)
    assert client.ask("GET", f"{PATH}/bootstrap")[1]["scopes"] == ["admin"]
    for method, path in (("DELETE", ""), ("DELETE", "?dry_run=true"), ("POST", "/rotate")):
        status, problem = client.ask(method, f"{PATH}/bootstrap{path}")
        assert (status, problem["code"]) == (409, "conflict")
        assert "postbus admin reset-token" in problem["detail"]


def test_tokens_come_in_pages(client: RestClient) -> None:
    client.installation.store.tokens.pop("two")
    for name in ("c", "a", "b"):
        make(client, name, "read")
    first = client.ask("GET", f"{PATH}?limit=2")[1]
    rest = client.ask("GET", f"{PATH}?limit=2&after={first['next_after']}")[1]
    assert [each["name"] for each in first["tokens"] + rest["tokens"]] == ["a", "b", "c", "one"]
    assert rest["next_after"] == ""


async def test_every_write_leaves_an_event_without_the_text(client: RestClient) -> None:
    texts = [make(client, "backup", "read"), client.ask("POST", f"{PATH}/backup/rotate")[1]["token"]]
    client.ask("DELETE", f"{PATH}/backup")
    events = (await client.installation.store.list_events(EventQuery(after=None, limit=10))).events
    assert [event.summary for event in events] == [
        f"API token backup {verb} by admin" for verb in ("made", "rotated", "deleted")
    ]
    assert events[0].detail == "actor=admin, scopes=read"
    assert not any(text in repr(events) for text in texts)
