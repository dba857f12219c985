"""Idempotency-Key: a request that is sent again is answered again and not carried out."""

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.core.errors import ErrorKind, MailError
from postbus.testing.admin_rest import POWERLESS, TOKEN, FakeInstallation, RestClient
from postbusd.admin_api import repeats
from postbusd.admin_api.repeats import UNDER_WAY_MS
from postbusd.admin_api.rest.repeating import HEADER, REPLAYED

TOKENS, DOMAIN = "/api/v1/tokens", "/api/v1/domains/demo.example"
BODY = {"name": "mine", "scopes": ["read"]}


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    return RestClient(FakeInstallation(), http)


def send(
    client: RestClient, key: str, method: str = "POST", path: str = TOKENS, token: str = TOKEN, **body: Any
) -> Any:
    headers = {"Authorization": f"Bearer {token}", HEADER: key}
    return client.http.request(method, path, headers=headers, json=body or BODY)


def test_an_answer_comes_again_with_its_secret(client: RestClient) -> None:
    first, again = send(client, "a key"), send(client, "a key")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first.json()["token"] in again.text
    assert (first.headers.get(REPLAYED), again.headers[REPLAYED]) == (None, "true")
    for name in ("content-type", "cache-control"):
        assert first.headers[name] == again.headers[name]
    assert [each["name"] for each in client.ask("GET", TOKENS)[1]["tokens"]].count("mine") == 1
    (stored,) = client.installation.store.repeats.values()
    assert first.json()["token"].encode() not in (stored.body_sealed or b"")
    assert len([row for row in client.installation.store.rows.values() if row.entry.operation == "add_token"]) == 1


def test_an_object_keeps_its_etag(client: RestClient) -> None:
    first, again = (send(client, "k", "PUT", DOMAIN, incoming=True) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.headers["etag"] == again.headers["etag"]
    assert send(client, "other", "PUT", DOMAIN, incoming=True).status_code == 200


def test_a_key_is_of_one_request_and_one_actor(client: RestClient) -> None:
    assert send(client, "k").status_code == 201
    other = send(client, "k", name="other", scopes=["read"])
    assert (other.status_code, other.json()["code"], other.json()["field"]) == (422, "limit", "idempotency_key")
    assert send(client, "k", "PUT", DOMAIN, incoming=True).status_code == 422
    assert send(client, "k", "POST", f"{TOKENS}?x=1").status_code == 400
    assert send(client, "k", token=POWERLESS).status_code == 403
    assert client.http.get(TOKENS, headers={"Authorization": f"Bearer {TOKEN}", HEADER: "k"}).status_code == 200
    for key in ("", "x" * 201, "\t", "\u00e4"):
        assert send(client, key.encode("latin-1") if key else key).status_code == 400, key  # type: ignore[arg-type]


def test_what_was_refused_may_be_sent_again(client: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(client, "k", name="bootstrap", scopes=["read"]).status_code == 409
    assert send(client, "k", name="fine", scopes=["read"]).status_code == 201

    async def fail(request: object) -> None:
        raise MailError(ErrorKind.UNAVAILABLE, "away")

    with monkeypatch.context() as patch:
        patch.setattr(client.installation.directory, "put_domain", fail)
        assert send(client, "d", "PUT", DOMAIN, incoming=True).status_code == 503
    assert send(client, "d", "PUT", DOMAIN, incoming=True).status_code == 201


def test_a_request_under_way_and_one_that_nobody_knows_of(client: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(actor: str, key: str, answer: object) -> None:
        raise MailError(ErrorKind.UNAVAILABLE, "away")

    monkeypatch.setattr(client.installation.store, "finish_repeat", lose)
    assert send(client, "k").status_code == 201
    waiting = send(client, "k")
    assert (waiting.status_code, "being carried out" in waiting.json()["detail"]) == (409, True)
    client.installation.clock.advance(UNDER_WAY_MS / 1000)
    assert "is not known" in send(client, "k").json()["detail"]
    assert [each["name"] for each in client.ask("GET", TOKENS)[1]["tokens"]].count("mine") == 1


def test_a_large_answer_is_not_kept_and_not_given_twice(client: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postbusd.admin_api.rest.repeating.MAX_BODY_OCTETS", 10)
    assert repeats.MAX_BODY_OCTETS > 10
    assert send(client, "k").status_code == 201
    assert "too large" in send(client, "k").json()["detail"]


def test_the_document_tells_of_it(client: RestClient) -> None:
    paths = client.ask("GET", "/api/v1/openapi.json", token=None)[1]["paths"]
    for path, item in paths.items():
        for method, operation in item.items():
            named = [each["name"] for each in operation.get("parameters", []) if each["in"] == "header"]
            public = {} in operation.get("security", [])
            streams = operation["operationId"] == "import_mailboxes"
            assert (HEADER in named) == (method != "get" and not public and not streams), f"{method} {path}"


def test_a_table_needs_no_key(client: RestClient) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/csv", HEADER: "k"}
    answer = client.http.post("/api/v1/mailboxes/import", headers=headers, content=b"a,b.example,a,user\n")
    assert (answer.status_code, answer.json()["field"]) == (400, "idempotency_key")
