"""Users, groups, apps, mailboxes, aliases, lists and domains over REST: made, shown, listed, replaced, deleted."""

from typing import Any
from urllib.parse import quote

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.testing.admin_rest import ACTOR, FakeInstallation, RestClient


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    """With a domain, a user with a mailbox, and nothing else."""
    client = RestClient(FakeInstallation(), http)
    client.ask("PUT", "/api/v1/domains/demo.example", json={"incoming": True})
    client.ask("PUT", "/api/v1/mailboxes/kim@demo.example", json={"password": "secret"})
    return client


OBJECTS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "domains",
        "second.example",
        {},
        {
            "name": "second.example",
            "incoming": False,
            "catch_all": [],
            "relay": None,
            "masquerading": False,
            "alias_of": "",
            "suspended": False,
            "quota_octets": None,
            "default_quota_octets": None,
            "max_message_octets": None,
            "mail_host": "",
            "signature": None,
            "alternate_mx": [],
            "all_mail": False,
            "sharing": False,
            "search": True,
        },
    ),
    (
        "users",
        "robin",
        {"display_name": "Robin"},
        {
            "username": "robin",
            "display_name": "Robin",
            "active": True,
            "superadmin": False,
            "admin_of": [],
            "recovery_address": "",
        },
    ),
    (
        "groups",
        "sales",
        {"members": ["kim@demo.example"], "address": "sales@demo.example"},
        {"name": "sales", "members": ["kim@demo.example"], "address": "sales@demo.example"},
    ),
    (
        "apps",
        "shop",
        {"domain": "demo.example"},
        {"name": "shop", "address": "shop.app@demo.example", "active": True},
    ),
    (
        "mailboxes",
        "robin@demo.example",
        {"password": "secret"},
        {
            "address": "robin@demo.example",
            "active": True,
            "quota_octets": None,
            "effective_quota_octets": None,
            "pop3": False,
            "send_as": [],
            "used_octets": 0,
            "owner": {"kind": "user", "name": "robin@demo.example"},
        },
    ),
    (
        "aliases",
        "info*@demo.example",
        {"mailbox": "kim@demo.example"},
        {"address": "info*@demo.example", "mailbox": "kim@demo.example"},
    ),
    (
        "lists",
        "team@demo.example",
        {"members": ["kim@demo.example", "far@other.example"], "members_only": True},
        {
            "address": "team@demo.example",
            "members": ["kim@demo.example", "far@other.example"],
            "active": True,
            "members_only": True,
            "groups": [],
        },
    ),
]


@pytest.mark.parametrize(("plural", "name", "body", "shown"), OBJECTS, ids=[each[0] for each in OBJECTS])
def test_an_object_lives_from_put_to_delete(
    client: RestClient, plural: str, name: str, body: dict[str, Any], shown: dict[str, Any]
) -> None:
    path = f"/api/v1/{plural}/{name}"
    assert client.refusal("GET", path)[:2] == (404, "not_found")
    status, made = client.ask("PUT", path, json=body)
    made.pop("credential", None)
    shown = {**shown, **{field: made[field] for field in ("mailbox_id",) if field in made}}
    assert (status, made) == (201, shown)
    assert client.ask("PUT", path, json=body) == (200, shown)
    assert client.ask("GET", path) == (200, shown)
    assert shown in client.ask("GET", f"/api/v1/{plural}")[1][plural]
    status, planned = client.ask("DELETE", path, params={"dry_run": True})
    assert (status, planned["dry_run"]) == (200, True)
    assert name in planned["deleted"][0]
    assert client.ask("GET", path)[0] == 200
    assert client.ask("DELETE", path) == (200, {"deleted": planned["deleted"], "dry_run": False})
    assert client.refusal("DELETE", path)[:2] == (404, "not_found")
    assert set(client.installation.directory.actors) == {ACTOR}


@pytest.mark.parametrize(("plural", "name", "body", "shown"), OBJECTS, ids=[each[0] for each in OBJECTS])
def test_names_may_be_percent_encoded_whole(
    client: RestClient, plural: str, name: str, body: dict[str, Any], shown: dict[str, Any]
) -> None:
    encoded = "".join(f"%{octet:02X}" for octet in name.encode())
    assert client.ask("PUT", f"/api/v1/{plural}/{encoded}", json=body)[0] == 201
    status, got = client.ask("GET", f"/api/v1/{plural}/{quote(name, safe='')}")
    assert (status, {**got, "mailbox_id": ""}) == (200, {**shown, "mailbox_id": ""})


@pytest.mark.parametrize("plural", [each[0] for each in OBJECTS if each[0] not in ("domains", "apps")])
def test_pages_follow_each_other(client: RestClient, plural: str) -> None:
    body = next(each[2] for each in OBJECTS if each[0] == plural)
    body = {key: value for key, value in body.items() if key != "address"}
    names = [f"{letter}{'' if plural in ('users', 'groups') else '@demo.example'}" for letter in "abcd"]
    for name in names:
        assert client.ask("PUT", f"/api/v1/{plural}/{name}", json=body)[0] == 201
    seen: list[str] = []
    after = ""
    while True:
        page = client.ask("GET", f"/api/v1/{plural}", params={"after": after, "limit": 2})[1]
        seen += [next(iter(value for key, value in each.items() if key in KEYS)) for each in page[plural]]
        after = page["next_after"]
        if not after:
            break
    assert [name for name in seen if name in names] == names
    assert len(set(seen)) == len(seen)


KEYS = ("username", "name", "address")


def test_lists_are_narrowed_to_a_domain(client: RestClient) -> None:
    client.ask("PUT", "/api/v1/domains/other.example", json={})
    client.ask("PUT", "/api/v1/aliases/a@other.example", json={"mailbox": "kim@demo.example"})
    client.ask("PUT", "/api/v1/lists/l@other.example", json={})
    client.ask("PUT", "/api/v1/apps/shop", json={"domain": "other.example"})
    for plural, count in (("aliases", 1), ("lists", 1), ("apps", 1), ("mailboxes", 1)):
        assert len(client.ask("GET", f"/api/v1/{plural}?domain=other.example")[1][plural]) == count
    for plural in ("aliases", "lists", "apps"):
        assert client.ask("GET", f"/api/v1/{plural}?domain=demo.example")[1][plural] == []


def test_a_relay_is_replaced_and_its_password_kept_but_never_shown(client: RestClient) -> None:
    path, directory = "/api/v1/domains/demo.example", client.installation.directory
    relay = {"host": "smart.example", "port": 465, "security": "tls", "username": "kim"}
    shown = client.ask("PUT", path, json={"relay": {**relay, "password": "hush hush"}})[1]
    assert shown["relay"] == relay
    assert "hush" not in str(client.ask("GET", path))
    client.ask("PUT", path, json={"relay": {**relay, "port": 587}})
    assert directory.relay_passwords["demo.example"] == "hush hush"
    other = {"relay": {**relay, "username": "robin"}}
    assert client.refusal("PUT", path, json=other) == (400, "invalid", "relay.password")
    assert directory.relay_passwords["demo.example"] == "hush hush"
    assert client.ask("PUT", path, json={})[1]["relay"] is None


def test_what_is_left_out_of_a_mailbox_gets_its_default_but_password_and_owner(client: RestClient) -> None:
    client.ask("PUT", "/api/v1/users/robin", json={})
    owner = {"kind": "user", "name": "robin"}
    path = "/api/v1/mailboxes/post@demo.example"
    assert client.ask("PUT", path, json={"owner": owner, "quota_octets": 7, "active": False})[0] == 201
    shown = client.ask("PUT", path, json={})[1]
    assert (shown["owner"], shown["quota_octets"], shown["active"]) == (owner, None, True)
    assert client.installation.directory.passwords == {"kim@demo.example": "secret"}


def test_the_credential_of_an_app_is_told_once_and_rotated(client: RestClient) -> None:
    directory = client.installation.directory
    answer = client.http.put(
        "/api/v1/apps/shop",
        json={"domain": "demo.example", "active": False},
        headers={"Authorization": f"Bearer {client.token}"},
    )
    first = answer.json()["credential"]
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert directory.is_credential("shop", first)
    assert "credential" not in client.ask("PUT", "/api/v1/apps/shop", json={"active": False})[1]
    assert "credential" not in client.ask("GET", "/api/v1/apps/shop")[1]
    status, rotated = client.ask("POST", "/api/v1/apps/shop/credential")
    assert (status, rotated["active"]) == (200, False)
    assert first != rotated["credential"]
    assert directory.is_credential("shop", rotated["credential"])


def test_what_is_still_needed_is_not_deleted(client: RestClient) -> None:
    for path in ("/api/v1/domains/demo.example", "/api/v1/users/kim@demo.example"):
        for query in ("", "?dry_run=true"):
            assert client.refusal("DELETE", path + query) == (409, "conflict", "name")
    client.ask("PUT", "/api/v1/aliases/info@demo.example", json={"mailbox": "kim@demo.example"})
    ended = client.ask("DELETE", "/api/v1/mailboxes/kim@demo.example")[1]["deleted"]
    assert ended == ["mailbox kim@demo.example", "alias info@demo.example", "user kim@demo.example"]
    assert client.ask("DELETE", "/api/v1/domains/demo.example")[0] == 200


def test_what_a_domain_needs_in_dns(client: RestClient) -> None:
    path = "/api/v1/domains/demo.example/dns"
    plan = client.ask("GET", path)[1]
    assert plan["domain"] == "demo.example"
    assert [(each["type"], each["state"]) for each in plan["records"]] == [("MX", "unknown"), ("TXT", "unknown")]
    client.installation.dns.live.add("demo.example")
    mx, dmarc = client.ask("GET", path, params={"compare": True})[1]["records"]
    assert (mx["state"], mx["live"], mx["advice"]) == ("ok", mx["values"], "")
    assert (dmarc["state"], dmarc["live"], dmarc["advice"]) == ("missing", [], "add this TXT record")
    answer = client.http.get(f"{path}/zone", headers={"Authorization": f"Bearer {client.token}"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.splitlines()[0] == "demo.example. 3600 IN MX 10 mail.demo.example."


@pytest.mark.parametrize("plural", sorted({each[0] for each in OBJECTS} | {"domains"}))
def test_a_list_comes_the_other_way_round(client: RestClient, plural: str) -> None:
    for label in "abc":
        name = {"domains": f"{label}.example", "users": label, "groups": label, "apps": label}.get(
            plural, f"{label}@demo.example"
        )
        body = {"apps": {"domain": "demo.example"}, "aliases": {"mailbox": "kim@demo.example"}}.get(plural, {})
        body = {"password": "a pass phrase"} if plural == "mailboxes" else body
        assert client.ask("PUT", f"/api/v1/{plural}/{name}", json=body)[0] == 201
    upwards = client.ask("GET", f"/api/v1/{plural}")[1][plural]
    found, after = [], ""
    while True:
        page = client.ask("GET", f"/api/v1/{plural}?sort=-name&limit=2&after={after}")[1]
        found += page[plural]
        after = page["next_after"]
        if not after:
            break
    assert found == upwards[::-1]
    assert client.refusal("GET", f"/api/v1/{plural}?sort=size") == (400, "invalid", "sort")
