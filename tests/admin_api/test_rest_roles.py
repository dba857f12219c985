"""Domain admins and users see and change what is theirs, through every route."""

import asyncio
import re
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.contracts.events import Event
from postbus.testing.admin_api import make_event
from postbus.testing.admin_rest import FakeInstallation, RestClient
from postbusd.admin_api.ports import Token
from postbusd.admin_api.rest.application import ROUTES
from postbusd.admin_api.tokens import hash_token

ANN, PAT, ROOT, GONE = "ann@a.example", "pat@a.example", "root", "gone@a.example"
OBJECTS = {
    "domains": "{0}.example",
    "users": "kim@{0}.example",
    "groups": "staff-{0}",
    "apps": "shop-{0}",
    "mailboxes": "kim@{0}.example",
    "aliases": "info@{0}.example",
    "lists": "team@{0}.example",
}
BODIES: dict[str, dict[str, Any]] = {
    "groups": {"address": "staff@{0}.example"},
    "apps": {"domain": "{0}.example"},
    "aliases": {"mailbox": "kim@{0}.example"},
    "mailboxes": {"password": "secret"},
}
OWN = {
    "add_token",
    "list_tokens",
    "get_token",
    "rotate_token",
    "delete_token",
    "list_relay_presets",
    "get_me",
    "put_own_password",
    "end_session",
    "list_own_logins",
    "list_own_sessions",
    "end_own_session",
    "get_own_second_factor",
    "begin_second_factor",
    "confirm_second_factor",
    "remove_own_second_factor",
}
"""Operations that every actor has, on what is the actor's own or nobody's: test_tokens_are_the_own_ones."""
PRIVATE = [each for each in ROUTES if not each.opt.get("public") and each.handler_name not in OWN]


def token_of(actor: str) -> str:
    return "postbus_" + actor.partition("@")[0].ljust(40, "x")


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    client = RestClient(FakeInstallation(), http)
    for label in "ab":
        for plural in ("domains", "mailboxes", "groups", "apps", "aliases", "lists"):
            body = {key: value.format(label) for key, value in BODIES.get(plural, {}).items()}
            status, answer = client.ask("PUT", path_of(plural, label), json=body)
            assert status == 201, answer
    for actor, roles in ((ANN, {"admin_of": ["a.example"]}), (PAT, {}), (ROOT, {"superadmin": True})):
        client.ask("PUT", f"/api/v1/users/{actor}", json=roles)
    for actor in (ANN, PAT, ROOT, GONE):
        token = Token(actor=actor, scopes=("admin",), token_id=actor, name=actor.partition("@")[0])
        client.installation.store.tokens[actor] = (hash_token(token_of(actor)), token)
    return client


def path_of(plural: str, label: str) -> str:
    return f"/api/v1/{plural}/{OBJECTS[plural].format(label)}"


def ask_as(client: RestClient, actor: str, method: str, path: str, **options: Any) -> tuple[int, Any]:
    return client.ask(method, path, token=token_of(actor), **options)


@pytest.mark.parametrize("plural", OBJECTS)
def test_a_domain_admin_has_the_own_objects_and_no_others(client: RestClient, plural: str) -> None:
    own, other = path_of(plural, "a"), path_of(plural, "b")
    before = client.ask("GET", other)
    assert ask_as(client, ANN, "GET", own)[0] == 200
    assert ask_as(client, ANN, "PATCH", own, json={})[0] == 200
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = {key: value.format("b") for key, value in BODIES.get(plural, {}).items()}
        options = {"json": body} if method == "PUT" else {"json": {}} if method == "PATCH" else {}
        for actor in (ANN, PAT, GONE):
            status, problem = ask_as(client, actor, method, other, **options)
            assert (status, problem["code"]) == (403, "forbidden"), (actor, method)
    assert client.ask("GET", other) == before
    listed = ask_as(client, ANN, "GET", f"/api/v1/{plural}")[1][plural]
    everything = ask_as(client, ROOT, "GET", f"/api/v1/{plural}")[1][plural]
    assert OBJECTS[plural].format("a") in str(listed)
    assert OBJECTS[plural].format("b") not in str(listed)
    assert OBJECTS[plural].format("b") in str(everything)
    assert ask_as(client, PAT, "GET", f"/api/v1/{plural}")[0] == 403


@pytest.mark.parametrize("route", PRIVATE, ids=lambda r: r.handler_name)
def test_no_route_gives_a_user_anything_of_others(client: RestClient, route: Any) -> None:
    """Every route of the API, with the names of others in its path."""
    template = next(iter(sorted(route.paths)))
    plural = template.strip("/").partition("/")[0]
    name = OBJECTS.get(plural, "01a0c4506c00795aac6528a09f633366").format("b")
    path = "/api/v1" + re.sub(r"\{[^}]*\}", name, template)
    for actor in (PAT, GONE):
        for method in sorted(set(route.http_methods) - {"HEAD", "OPTIONS"}):
            options = body_for(route)
            headers = {"Authorization": f"Bearer {token_of(actor)}", **options.pop("headers", {})}
            answer = client.http.request(method, path, headers=headers, **options)
            assert answer.status_code == 403, (actor, method, path, answer.text)


def body_for(route: Any) -> dict[str, Any]:
    """A body that the route takes, so that the refusal is about the actor."""
    bodies: dict[str, dict[str, Any]] = {
        "put_alias": {"mailbox": "kim@b.example"},
        "change_queue": {"action": "retry", "queue_ids": ["01a0c4506c00795aac6528a09f633366"]},
        "settle_ledger": {"reason": "x"},
        "change_held": {"action": "retry", "queue_ids": ["01a0c4506c00795aac6528a09f633366"]},
        "add_app_password": {"name": "x", "scopes": ["imap"]},
        "rename_mailbox": {"address": "new@b.example"},
        "put_webhook": {"url": "https://hooks.example/x"},
        "put_identity_provider": {"issuer": "https://id.example", "client_id": "x"},
        "change_webhook_deliveries": {"action": "retry"},
    }
    if route.handler_name == "import_mailboxes":
        return {"content": b"kim,b.example,kim,user\n", "headers": {"Content-Type": "text/csv"}}
    if route.parsed_data_field is None:
        return {}
    return {"json": bodies.get(route.handler_name, {})}


def test_what_is_the_sites_is_for_superadmins(client: RestClient) -> None:
    for path in ("/api/v1/policy", "/api/v1/queue", "/api/v1/audit", "/api/v1/webhooks", "/api/v1/ledger"):
        assert ask_as(client, ROOT, "GET", path)[0] == 200, path
        assert ask_as(client, ANN, "GET", path)[0] == 403, path


def test_a_token_ends_with_its_user_and_a_role_with_its_loss(client: RestClient) -> None:
    assert ask_as(client, ANN, "GET", path_of("domains", "a"))[0] == 200
    client.ask("PATCH", f"/api/v1/users/{ANN}", json={"active": False})
    assert ask_as(client, ANN, "GET", path_of("domains", "a"))[0] == 403
    client.ask("PATCH", f"/api/v1/users/{ANN}", json={"active": True, "admin_of": []})
    assert ask_as(client, ANN, "GET", path_of("domains", "a"))[0] == 403
    assert ask_as(client, ROOT, "DELETE", f"/api/v1/users/{ANN}")[0] == 200
    assert ask_as(client, ANN, "GET", path_of("domains", "a"))[0] == 401


def test_tokens_are_the_own_ones(client: RestClient) -> None:
    names = {each["name"] for each in ask_as(client, ROOT, "GET", "/api/v1/tokens")[1]["tokens"]}
    assert {"ann", "pat", "root", "one"} <= names
    assert [each["name"] for each in ask_as(client, PAT, "GET", "/api/v1/tokens")[1]["tokens"]] == ["pat"]
    for method, path in (("GET", "/api/v1/tokens/ann"), ("DELETE", "/api/v1/tokens/ann")):
        assert ask_as(client, PAT, method, path)[0] == 404
    body = {"name": "more", "scopes": ["read"], "actor": ANN}
    assert ask_as(client, PAT, "POST", "/api/v1/tokens", json=body)[0] == 403
    assert ask_as(client, ROOT, "POST", "/api/v1/tokens", json=body)[0] == 201


def told_event(number: int, **fields: str) -> Event:
    return msgspec.structs.replace(make_event(number), **{"domain": "", "mailbox": "", **fields})


def test_the_policy_opens_the_event_log(client: RestClient) -> None:
    told = [
        told_event(1, domain="a.example"),
        told_event(2, domain="", mailbox="pat@b.example"),
        told_event(3, domain="b.example"),
        told_event(4, domain=""),
    ]
    asyncio.run(client.installation.store.add_events(told))
    client.ask("PUT", f"/api/v1/users/{PAT}", json={"password": "a pass phrase"})
    client.ask("PUT", "/api/v1/mailboxes/pat@b.example", json={"owner": {"kind": "user", "name": PAT}})

    def seen(actor: str, query: str = "") -> list[str] | int:
        status, answer = ask_as(client, actor, "GET", f"/api/v1/events{query}")
        return [each["summary"] for each in answer["events"]] if status == 200 else status

    everything = ["event 1", "event 2", "event 3", "event 4"]
    assert (seen(ROOT), seen(ANN), seen(PAT), seen(GONE)) == (everything, 403, 403, 403)
    client.ask("PATCH", "/api/v1/policy", json={"events_for_domain_admins": True})
    assert (seen(ROOT), seen(ANN), seen(PAT)) == (everything, ["event 1"], 403)
    assert seen(ANN, "?domain=b.example") == []
    client.ask("PATCH", "/api/v1/policy", json={"events_for_domain_admins": False, "events_for_users": True})
    assert (seen(ROOT), seen(ANN), seen(PAT)) == (everything, [], ["event 2"])
    assert seen(PAT, "?mailbox=kim@b.example") == []
    assert ask_as(client, PAT, "GET", "/api/v1/messages?address=kim@b.example")[0] == 403


def test_everybody_sees_who_one_is_and_changes_the_own_password(client: RestClient) -> None:
    client.ask("PATCH", f"/api/v1/users/{PAT}", json={"password": "a pass phrase"})
    status, me = ask_as(client, PAT, "GET", "/api/v1/me")
    assert (status, me["actor"], me["superadmin"], me["admin_of"], me["scopes"]) == (200, PAT, False, [], ["admin"])
    assert ask_as(client, ANN, "GET", "/api/v1/me")[1]["admin_of"] == ["a.example"]
    assert client.ask("GET", "/api/v1/me")[1]["actor"] == "admin"
    path = "/api/v1/me/password"
    body = {"current_password": "a pass phrase", "new_password": "another pass phrase"}
    assert ask_as(client, PAT, "PUT", path, json={**body, "current_password": "wrong one"})[0] == 403
    assert ask_as(client, PAT, "PUT", path, json={**body, "new_password": "x"})[1]["field"] == "new_password"
    assert ask_as(client, PAT, "PUT", path, json=body) == (200, {"changed": True})
    assert ask_as(client, PAT, "PUT", path, json=body)[0] == 403
    assert client.ask("PUT", path, json=body)[0] == 403
    assert "pass phrase" not in str(client.ask("GET", "/api/v1/audit")[1])
    for _ in range(6):
        ask_as(client, PAT, "PUT", path, json=body)
    assert ask_as(client, PAT, "PUT", path, json={**body, "current_password": "another pass phrase"})[0] == 429


def test_nobody_inherits_the_tokens_of_a_former_user(client: RestClient) -> None:
    kim, path = "kim@a.example", "/api/v1/mailboxes/kim@a.example"
    store = client.installation.store

    def put_token() -> None:
        token = Token(actor=kim, scopes=("admin",), token_id=kim, name="kim")
        store.tokens[kim] = (hash_token(token_of(kim)), token)

    def me() -> int:
        return ask_as(client, kim, "GET", "/api/v1/me")[0]

    client.ask("DELETE", "/api/v1/groups/staff-a")
    put_token()
    assert me() == 200
    assert client.ask("PATCH", path, json={"password": "another pass phrase"})[0] == 200
    assert me() == 200
    assert f"user {kim}" in client.ask("DELETE", path)[1]["deleted"]
    assert me() == 401
    put_token()  # as if the process had ended before the tokens went
    assert me() == 403
    assert client.ask("PUT", path, json={"password": "a new pass phrase"})[0] == 201
    assert me() == 401
    client.ask("DELETE", path)
    put_token()
    assert client.ask("PUT", f"/api/v1/users/{kim}", json={})[0] == 201
    assert me() == 401
    assert client.ask("PUT", "/api/v1/users/admin", json={})[0] == 400
    assert client.ask("GET", "/api/v1/me")[0] == 200
