"""If-Match, ETag, JSON merge patches and plans, of every object."""

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.testing.admin_rest import TOKEN, FakeInstallation, RestClient

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
OBJECTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "domains": ("demo.example", {"incoming": True}, {"catch_all": ["kim@demo.example"]}, "catch_all"),
    "users": ("robin", {"display_name": "Robin", "admin_of": ["demo.example"]}, {"active": False}, "active"),
    "groups": ("staff", {"members": ["kim@demo.example"]}, {"address": "staff@demo.example"}, "address"),
    "mailboxes": ("kim@demo.example", {"active": True}, {"send_as": ["lee@demo.example"]}, "send_as"),
    "aliases": ("info@demo.example", {"mailbox": "kim@demo.example"}, {"mailbox": "lee@demo.example"}, "mailbox"),
    "lists": ("team@demo.example", {"members": ["kim@demo.example"]}, {"members_only": True}, "members_only"),
    "apps": ("shop", {"domain": "demo.example"}, {"active": False}, "active"),
}
"""Plural → name, what a PUT has, a patch, the field that it changes."""


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    client = RestClient(FakeInstallation(), http)
    client.ask("PUT", "/api/v1/domains/demo.example", json={"incoming": True})
    for name in ("kim", "lee"):
        client.ask("PUT", f"/api/v1/mailboxes/{name}@demo.example", json={"password": "secret"})
    return client


def put(client: RestClient, plural: str) -> str:
    """Makes the object; its path."""
    name, body, _, _ = OBJECTS[plural]
    path = f"/api/v1/{plural}/{name}"
    assert client.ask("PUT", path, json=body)[0] in (200, 201)
    return path


def etag(client: RestClient, path: str) -> str:
    """Of a GET."""
    return str(client.http.get(path, headers=HEADERS).headers["etag"])


@pytest.mark.parametrize("plural", OBJECTS)
def test_what_changed_meanwhile_is_left_alone(client: RestClient, plural: str) -> None:
    path, (_, _, change, _) = put(client, plural), OBJECTS[plural]
    first = etag(client, path)
    assert etag(client, path) == first
    answer = client.http.patch(path, headers={**HEADERS, "If-Match": first}, json=change)
    assert answer.status_code == 200
    assert answer.headers["etag"] == etag(client, path) != first
    for method, options in (("PATCH", {"json": change}), ("PUT", {"json": OBJECTS[plural][1]}), ("DELETE", {})):
        for condition in (first, f"W/{answer.headers['etag']}", '"none"'):
            asked = client.refusal(method, path, headers={"If-Match": condition}, **options)
            assert asked == (412, "changed", "if_match"), (method, condition)
    assert etag(client, path) == answer.headers["etag"]
    either = f'"none", {answer.headers["etag"]}'
    assert client.ask("PATCH", path, headers={"If-Match": either}, json={})[0] == 200


def test_if_match_is_read_strictly(client: RestClient) -> None:
    path = "/api/v1/domains/demo.example"
    for bad in ("none", '"a', '"a" "b"', "*, *", "x" * 2000):
        assert client.refusal("PUT", path, headers={"If-Match": bad}, json={}) == (400, "invalid", "if_match")
    assert client.ask("PATCH", path, headers={"If-Match": "*"}, json={})[0] == 200
    fresh = "/api/v1/domains/fresh.example"
    assert client.refusal("PUT", fresh, headers={"If-Match": "*"}, json={}) == (412, "changed", "if_match")
    assert client.refusal("PATCH", fresh, json={})[:2] == (404, "not_found")


@pytest.mark.parametrize("plural", OBJECTS)
def test_a_patch_changes_what_it_names_and_null_gives_the_default(client: RestClient, plural: str) -> None:
    path, (_, _, change, field) = put(client, plural), OBJECTS[plural]
    before = client.ask("GET", path)[1]
    media_type = {"Content-Type": "application/merge-patch+json"}
    status, after = client.ask("PATCH", path, headers=media_type, json=change)
    assert (status, after) == (200, {**before, **change})
    assert client.ask("GET", path)[1] == after
    if plural == "aliases":
        assert client.refusal("PATCH", path, json={field: None}) == (400, "invalid", field)
    else:
        assert client.ask("PATCH", path, json={field: None})[1] == before
    assert client.refusal("PATCH", path, json={"nonsense": 1}) == (400, "invalid", "nonsense")
    assert client.refusal("PATCH", path, json={field: {}})[:2] == (400, "invalid")
    assert client.refusal("PATCH", path, json=[])[:2] == (400, "invalid")
    assert client.refusal("PATCH", path, headers={"Content-Type": "text/plain"}, content="{}")[0] == 415


def test_a_patch_keeps_the_password_of_a_relay(client: RestClient) -> None:
    path, relay = "/api/v1/domains/demo.example", {"host": "smart.example", "username": "us", "password": "hush hush"}
    client.ask("PATCH", path, json={"relay": relay})
    assert client.ask("PATCH", path, json={"relay": {"port": 2525}})[1]["relay"]["port"] == 2525
    assert client.installation.directory.relay_passwords["demo.example"] == "hush hush"
    assert client.refusal("PATCH", path, json={"relay": {"host": "b.example"}}) == (400, "invalid", "relay.password")
    assert client.ask("PATCH", path, json={"relay": None})[1]["relay"] is None


@pytest.mark.parametrize("plural", OBJECTS)
def test_a_plan_tells_the_change_and_makes_none(client: RestClient, plural: str) -> None:
    path, (_, body, change, field) = put(client, plural), OBJECTS[plural]
    before = client.ask("GET", path)[1]
    for method, asked in (("PATCH", change), ("PUT", {**body, **change})):
        status, plan = client.ask(method, f"{path}?plan=true", json=asked)
        assert (status, plan["action"], plan["changes"]) == (200, "change", [field])
        assert (plan["before"], plan["after"]) == (before, {**before, **change})
    assert client.ask("PUT", f"{path}?plan=true", json=body)[1]["action"] == "none"
    assert client.ask("GET", path)[1] == before


def test_a_plan_of_a_new_object_and_of_a_secret(client: RestClient) -> None:
    for path, body in (
        ("/api/v1/domains/new.example", {}),
        ("/api/v1/mailboxes/new@demo.example", {"password": "secret"}),
        ("/api/v1/apps/new", {"domain": "demo.example"}),
        ("/api/v1/users/new", {"password": "secret"}),
        ("/api/v1/groups/new", {}),
    ):
        status, plan = client.ask("PUT", f"{path}?plan=true", json=body)
        assert (status, plan["action"], plan["before"]) == (200, "create", None)
        assert ("password" in plan["changes"]) is ("password" in body)
        assert "secret" not in str(plan)
        assert client.refusal("GET", path)[0] == 404
    assert client.ask("PATCH", "/api/v1/users/lee@demo.example?plan=true", json={"password": "x" * 9})[1][
        "changes"
    ] == ["password"]
    assert client.refusal("PUT", "/api/v1/aliases/a@none.example?plan=true", json={"mailbox": "x@y.example"})[0] == 404


def test_the_policy_has_them_too(client: RestClient) -> None:
    first = etag(client, "/api/v1/policy")
    plan = client.ask("PATCH", "/api/v1/policy?plan=true", json={"required_score": 7.5})[1]
    assert (plan["action"], plan["changes"]) == ("change", ["required_score"])
    assert etag(client, "/api/v1/policy") == first
    changed = client.ask("PATCH", "/api/v1/policy", headers={"If-Match": first}, json={"required_score": 7.5})
    assert (changed[0], changed[1]["required_score"]) == (200, 7.5)
    refused = client.refusal("PUT", "/api/v1/policy", headers={"If-Match": first}, json={})
    assert refused == (412, "changed", "if_match")
