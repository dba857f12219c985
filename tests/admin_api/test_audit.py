"""The audit log: every write request of a known token, before it happens and how it ended; never a secret."""

import json
import re
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.core.api_token import new_api_token
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.admin_rest import POWERLESS, TOKEN, FakeInstallation, RestClient
from postbusd.admin_api.audit import CHANGED, MAX_JSON_CHARACTERS, audit_json, conceal
from postbusd.admin_api.audit_ports import AuditResult, AuditRow
from postbusd.admin_api.ports import Token
from postbusd.admin_api.rest.auditing import object_of
from postbusd.admin_api.tokens import hash_token

PATH = "/api/v1/audit"
DOMAIN = "/api/v1/domains/Demo.example"


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    return RestClient(FakeInstallation(), http)


def rows(client: RestClient) -> list[AuditRow]:
    return list(client.installation.store.rows.values())


def entries(client: RestClient, query: str = "") -> list[Any]:
    status, page = client.ask("GET", f"{PATH}?{query}")
    assert status == 200, page
    found: list[Any] = page["entries"]
    return found


def test_a_write_tells_who_what_from_where_and_how_it_was_before_and_after(client: RestClient) -> None:
    client.ask("PUT", DOMAIN, json={})
    client.ask("PUT", DOMAIN, json={"incoming": True})
    second, first = entries(client)
    assert (first["method"], first["operation"], first["object"]) == ("PUT", "put_domain", "domains/demo.example")
    assert (first["actor"], first["token_id"], first["token_name"]) == ("admin", "one", "one")
    assert first["client_address"] == "testclient"
    assert (first["result"], first["status"], first["before"]) == ("done", 201, None)
    assert first["after"] == second["before"]
    assert (first["after"]["incoming"], second["after"]["incoming"]) == (False, True)
    assert (second["status"], second["request"]) == (200, {"incoming": True})
    client.ask("DELETE", DOMAIN + "?dry_run=true")
    last = entries(client)[0]
    assert (last["operation"], last["query"], last["before"]) == ("delete_domain", "dry_run=true", second["after"])


def test_reading_is_not_written_down(client: RestClient) -> None:
    for path in ("/api/v1/domains", DOMAIN, PATH, "/api/v1/status", "/api/v1/healthz"):
        client.ask("GET", path)
        client.http.head(path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert rows(client) == []


def test_every_write_of_the_api_is_written_down_once(client: RestClient) -> None:
    paths = client.ask("GET", "/api/v1/openapi.json", token=None)[1]["paths"]
    writes = [
        (method.upper(), re.sub(r"\{[^}]*\}", "x", path), operation["operationId"])
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "get" and {} not in operation.get("security", [])
    ]
    assert len(writes) > 18
    for method, path, operation in writes:
        before = len(rows(client))
        client.ask(method, path)
        assert [row.entry.operation for row in rows(client)[before:]] == [operation]
        assert all(row.outcome is not None for row in rows(client))


def test_refused_requests_are_written_down_too(client: RestClient) -> None:
    for options, status, code in (
        ({"token": POWERLESS, "json": {}}, 403, "forbidden"),
        ({"json": {"incomming": True}}, 400, "invalid"),
        ({"content": b"{nope"}, 400, "invalid"),
        ({"data": {"incoming": "on"}}, 415, "invalid"),
        ({"json": {"catch_all": ["x@demo.example"]}}, 404, "not_found"),
    ):
        assert client.ask("PUT", DOMAIN, **options)[0] == status
        told = entries(client)[0]
        assert (told["result"], told["status"], told["code"]) == ("refused", status, code)
        assert told["detail"]
        assert told["after"] is None
    assert entries(client)[-1]["detail"] == "this token lacks the scope domains:write"


def test_unknown_tokens_are_counted_only(client: RestClient) -> None:
    for token in (None, "x" * 40):
        assert client.ask("PUT", DOMAIN, token=token, json={})[0] == 401
    assert client.ask("GET", "/api/v1/domains", token="x" * 40)[0] == 401
    assert rows(client) == []
    assert client.installation.registry.get_sample_value("postbus_admin_api_unauthenticated_total") == 3


def test_the_row_is_there_before_the_operation_begins(client: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[AuditResult] = []
    put_domain = client.installation.directory.put_domain

    async def look(request: Any) -> Any:
        seen.extend(row.result for row in rows(client))
        return await put_domain(request)

    monkeypatch.setattr(client.installation.directory, "put_domain", look)
    assert client.ask("PUT", DOMAIN, json={})[0] == 201
    assert seen == [AuditResult.UNKNOWN]
    assert rows(client)[0].result is AuditResult.DONE


def test_without_the_audit_log_nothing_is_changed(client: RestClient) -> None:
    client.installation.store.audit_away = True
    assert client.refusal("PUT", DOMAIN, json={}) == (503, "unavailable", None)
    assert client.installation.directory.domains == {}
    assert client.ask("GET", "/api/v1/domains")[0] == 200


def test_an_outcome_that_can_t_be_written_stays_unknown(
    client: RestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(sequence: int, outcome: object) -> None:
        raise MailError(ErrorKind.UNAVAILABLE, "database: away")

    monkeypatch.setattr(client.installation.store, "end_audit", fail)
    assert client.ask("PUT", DOMAIN, json={})[0] == 201
    (told,) = entries(client, "result=unknown")
    assert (told["status"], told["after"], told["object"]) == (None, None, "domains/demo.example")
    assert client.installation.registry.get_sample_value("postbus_admin_api_lost_outcomes_total") == 1
    assert [record.message for record in caplog.records] == ["admin_api.audit.outcome_lost"]


def test_our_own_bugs_are_failures(client: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(request: object) -> None:
        raise ValueError("x")

    monkeypatch.setattr(client.installation.directory, "put_domain", crash)
    assert client.ask("PUT", DOMAIN, json={})[0] == 500
    (told,) = entries(client)
    assert (told["result"], told["status"], told["code"]) == ("failed", 500, "internal")


def test_no_secret_gets_there(client: RestClient) -> None:
    client.ask("PUT", DOMAIN, json={})
    relay = {"host": "smtp.example.net", "username": "u", "password": "relay secret"}
    client.ask("PUT", DOMAIN, json={"relay": relay})
    client.ask("PUT", "/api/v1/users/kim", json={"password": "users secret"})
    client.ask("PUT", "/api/v1/mailboxes/kim@demo.example", json={"password": "mailbox secret"})
    secrets = [client.ask("PUT", "/api/v1/apps/shop", json={"domain": "demo.example"})[1]["credential"]]
    secrets.append(client.ask("POST", "/api/v1/apps/shop/credential")[1]["credential"])
    secrets.append(client.ask("POST", "/api/v1/tokens", json={"name": "a", "scopes": ["read"]})[1]["token"])
    secrets.append(client.ask("POST", "/api/v1/tokens/a/rotate")[1]["token"])
    client.ask("PUT", f"/api/v1/domains/{new_api_token()}", json={})
    text = json.dumps(entries(client))
    assert not [secret for secret in (*secrets, "secret", TOKEN) if secret in text]
    told = {each["object"]: each for each in reversed(entries(client))}
    assert told["users/kim"]["request"]["password"] == CHANGED
    assert told["domains/demo.example"]["request"]["relay"]["password"] == CHANGED
    assert told["apps/shop"]["after"]["credential"] == CHANGED
    assert told["tokens/a"]["after"]["token"] == CHANGED
    assert told["tokens/a"]["before"]["token_id"] != CHANGED


def test_every_write_only_field_of_the_api_is_concealed(client: RestClient) -> None:
    schemas = client.ask("GET", "/api/v1/openapi.json", token=None)[1]["components"]["schemas"]
    names = [
        name
        for schema in schemas.values()
        for name, field in schema.get("properties", {}).items()
        if field.get("writeOnly")
    ]
    assert names
    for name in (*names, "credential", "token"):
        assert conceal({name: "x"}) == {name: CHANGED}, name


def test_what_is_no_secret_is_told() -> None:
    value = {"token_id": "one", "totp": True, "password": "", "domain": "x", "list": [{"n": 1}], "code": None}
    assert conceal(value) == value
    assert conceal({"a": [{"secret": "x"}], "text": f"see {new_api_token()}."}) == {
        "a": [{"secret": CHANGED}],
        "text": f"see {CHANGED}.",
    }


def test_what_is_large_is_told_by_its_size() -> None:
    assert audit_json({"a": "x" * MAX_JSON_CHARACTERS}) == '{"cut":16392}'
    assert audit_json([1]) == '{"value":[1]}'
    assert audit_json(None) == ""


@pytest.mark.parametrize(
    ("template", "parameters", "asked", "expected"),
    [
        ("/domains/{name:str}", {"name": "Demo.example"}, None, "domains/demo.example"),
        ("/apps/{name:str}/credential", {"name": "shop"}, {"name": "x"}, "apps/shop"),
        ("/tokens", {}, {"name": "A"}, "tokens/a"),
        ("/tokens", {}, [], "tokens"),
        ("/queue/actions", {}, {"action": "retry"}, "queue"),
    ],
)
def test_objects_are_named_by_their_paths(
    template: str, parameters: dict[str, object], asked: object, expected: str
) -> None:
    assert object_of(template, parameters, asked) == expected


def test_an_answer_tells_the_request_s_id_and_goes_on_with_its_trace(client: RestClient) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"Authorization": f"Bearer {TOKEN}", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = client.http.put(DOMAIN, headers=headers, json={})
    (told,) = entries(client)
    assert answer.headers["x-request-id"] == told["request_id"]
    assert told["traceparent"].split("-")[1] == trace


def test_the_log_is_filtered_and_paged(client: RestClient) -> None:
    for name in ("a", "b", "c"):
        client.ask("PUT", f"/api/v1/domains/{name}.example", json={})
    client.ask("DELETE", "/api/v1/domains/b.example")
    assert [each["operation"] for each in entries(client, "object=domains/B.example")] == [
        "delete_domain",
        "put_domain",
    ]
    assert len(entries(client, "object=domains/&operation=put_domain&result=done&actor=admin")) == 3
    assert entries(client, "actor=kim") == entries(client, "until=2001-01-01") == []
    first = client.ask("GET", f"{PATH}?limit=3")[1]
    rest = client.ask("GET", f"{PATH}?limit=3&after={first['next_after']}")[1]
    assert len(first["entries"]) == 3
    assert [each["object"] for each in rest["entries"]] == ["domains/a.example"]
    assert rest["next_after"] == ""
    for query, field in (("after=x", "after"), ("since=x", "since"), ("result=x", "result")):
        assert client.refusal("GET", f"{PATH}?{query}") == (400, "invalid", field)


def test_only_superadmins_read_it_whatever_the_scopes(client: RestClient) -> None:
    kim = new_api_token()
    token = Token(actor="kim", scopes=("admin",), token_id="kim", name="kim")
    client.ask("PUT", "/api/v1/users/kim", json={})
    client.installation.store.tokens["kim"] = (hash_token(kim), token)
    for path in (PATH, "/api/v1/events", "/api/v1/queue", "/api/v1/ledger", "/api/v1/domains/x.example/dns"):
        assert client.refusal("GET", path, token=kim)[:2] == (403, "forbidden"), path
    assert client.ask("GET", "/api/v1/tokens", token=kim)[0] == 200
