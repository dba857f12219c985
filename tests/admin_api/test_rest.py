"""The REST interface over fakes: what every route takes, gives and refuses."""

import json
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.core.errors import ErrorKind, MailError, after
from postbus.testing.admin_api import make_event
from postbus.testing.admin_rest import MAX_BODY_OCTETS, POWERLESS, TOKEN, FakeInstallation, RestClient
from postbus.testing.admin_services import PEM
from postbusd.admin_api.rest.problems import HTTP_STATUS, TITLES

PUBLIC_WRITES = {
    ("POST", "/api/v1/session"),
    ("POST", "/api/v1/session/provider"),
    ("POST", "/api/v1/session/provider/code"),
    ("POST", "/api/v1/password-reset"),
    ("PUT", "/api/v1/password-reset"),
}
"""Of who is not known yet."""


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    return RestClient(FakeInstallation(), http)


def test_every_route_but_the_public_ones_needs_a_token(client: RestClient) -> None:
    document = client.ask("GET", "/api/v1/openapi.json", token=None)[1]
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    assert len(operations) >= 38
    for method, path, operation in operations:
        public = {} in operation.get("security", [])
        assert public == (path in ("/api/v1/healthz", "/api/v1/ca.pem") or (method, path) in PUBLIC_WRITES), path
        if not public:
            for token in (None, "", "x" * 40):
                assert client.refusal(method, path, token=token) == (401, "unauthenticated", None), path
            assert client.refusal(method, path, token=POWERLESS) == (403, "forbidden", None), path


def test_a_refused_token_says_how_to_send_one(client: RestClient) -> None:
    answer = client.http.get("/api/v1/domains", headers={"Authorization": "Basic abc"})
    assert answer.headers["www-authenticate"] == 'Bearer realm="postbus"'


def test_a_token_ends_with_the_request_after_its_end(client: RestClient) -> None:
    """Nothing remembers a token, a kept connection neither."""
    assert client.ask("GET", "/api/v1/domains")[0] == 200
    del client.installation.store.tokens["one"]
    assert client.refusal("GET", "/api/v1/domains") == (401, "unauthenticated", None)


@pytest.mark.parametrize("trouble", [MailError(ErrorKind.INTERNAL, "x"), ValueError("x")])
def test_a_token_reaches_no_log_and_no_answer(
    client: RestClient, trouble: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(request: object) -> None:
        raise trouble

    caplog.set_level("DEBUG")
    monkeypatch.setattr(client.installation.directory, "list_domains", fail)
    answers = [
        client.ask("GET", "/api/v1/domains?after=" + TOKEN),
        client.ask("GET", "/api/v1/domains", token=TOKEN[:-1]),
    ]
    assert [status for status, _ in answers] == [500, 401]
    told = json.dumps(answers) + "".join(
        json.dumps(record.__dict__, default=str) for record in caplog.records if record.name.startswith("postbus")
    )
    assert "admin_api.request" in told
    assert TOKEN[:-1] not in told


def test_a_domain_is_put_again_and_listed(client: RestClient) -> None:
    path = "/api/v1/domains/Demo.example"
    plain = {"alias_of": "", "suspended": False, "masquerading": False, "relay": None, "catch_all": []}
    limits = dict.fromkeys(("quota_octets", "default_quota_octets", "max_message_octets"))
    server: dict[str, Any] = {"mail_host": "", "signature": None, "alternate_mx": []}
    switches = {"all_mail": False, "sharing": False, "search": True}
    domain = {"name": "demo.example", "incoming": False, **plain, **limits, **server, **switches}
    assert client.ask("PUT", path, json={}) == (201, domain)
    for _ in range(2):
        assert client.ask("PUT", path, json={"incoming": True}) == (200, {**domain, "incoming": True})
    listed = client.ask("GET", "/api/v1/domains")
    assert listed == (200, {"domains": [{**domain, "incoming": True}], "next_after": ""})


def test_a_mailbox_is_created_replaced_and_listed(client: RestClient) -> None:
    client.ask("PUT", "/api/v1/domains/demo.example", json={})
    path = "/api/v1/mailboxes/Kim@demo.example"
    status, created = client.ask("PUT", path, json={"password": "secret", "quota_octets": 5})
    assert status == 201
    owner = {"kind": "user", "name": "kim@demo.example"}
    expected = {"address": "kim@demo.example", "active": True, "quota_octets": 5, "used_octets": 0, "owner": owner}
    expected |= {"effective_quota_octets": 5, "pop3": False, "send_as": []}
    assert created == {**expected, "mailbox_id": created["mailbox_id"]}
    assert "secret" not in json.dumps(created)
    status, replaced = client.ask("PUT", path, json={"active": False})
    assert (status, replaced) == (
        200,
        {**created, "active": False, "quota_octets": None, "effective_quota_octets": None},
    )
    for name in ("a", "b"):
        client.ask("PUT", f"/api/v1/mailboxes/{name}@demo.example", json={"password": "secret"})
    first = client.ask("GET", "/api/v1/mailboxes", params={"domain": "demo.example", "limit": 2})[1]
    rest = client.ask("GET", "/api/v1/mailboxes", params={"after": first["next_after"]})[1]
    addresses = [each["address"] for each in first["mailboxes"] + rest["mailboxes"]]
    assert addresses == ["a@demo.example", "b@demo.example", "kim@demo.example"]
    assert rest["next_after"] == ""


@pytest.mark.parametrize(
    ("method", "path", "options", "expected"),
    [
        ("PUT", "/api/v1/domains/x.test", {"json": {"incomming": True}}, (400, "invalid", "incomming")),
        ("PUT", "/api/v1/domains/x.test", {"json": {"incoming": "yes"}}, (400, "invalid", "incoming")),
        ("PUT", "/api/v1/domains/x.test", {"json": {"incoming": 1}}, (400, "invalid", "incoming")),
        ("PUT", "/api/v1/domains/x.test", {"json": []}, (400, "invalid", None)),
        ("PUT", "/api/v1/domains/x.test", {"content": b"{nope"}, (400, "invalid", None)),
        ("PUT", "/api/v1/domains/x.test", {"content": b'{"incoming":"\xff"}'}, (400, "invalid", "incoming")),
        ("PUT", "/api/v1/domains/x.test", {"content": b'"\xff"'}, (400, "invalid", None)),
        ("PUT", "/api/v1/domains/x.test", {}, (400, "invalid", None)),
        ("PUT", "/api/v1/domains/x.test", {"data": {"incoming": "on"}}, (415, "invalid", None)),
        ("PUT", "/api/v1/domains/x.test", {"content": b"x" * (MAX_BODY_OCTETS + 1)}, (413, "too_large", None)),
        ("PUT", "/api/v1/domains/localhost", {"json": {}}, (400, "invalid", "name")),
        ("PUT", "/api/v1/mailboxes/a+b@x.test", {"json": {}}, (400, "invalid", "address")),
        ("PUT", "/api/v1/mailboxes/a@x.test", {"json": {"password": "secret"}}, (404, "not_found", "address")),
        ("PUT", "/api/v1/mailboxes/a@x.test", {"json": {"owner": {"kind": "cat"}}}, (400, "invalid", "owner_kind")),
        ("PUT", "/api/v1/mailboxes/a@x.test", {"json": {"owner": {"kind": "app"}}}, (400, "invalid", "name")),
        ("PUT", "/api/v1/mailboxes/a@x.test", {"content": b'{"password":"a\\u0000bcdef"}'}, (400, "invalid", None)),
        ("PUT", "/api/v1/lists/a@x.test", {"content": b'{"members":["a","\\u0000"]}'}, (400, "invalid", None)),
        ("PUT", "/api/v1/mailboxes/a@x.test", {"json": {"quota_octets": "7"}}, (400, "invalid", "quota_octets")),
        ("GET", "/api/v1/mailboxes?domain=a..b", {}, (400, "invalid", "domain")),
        ("GET", "/api/v1/mailboxes?limit=0", {}, (400, "invalid", "limit")),
        ("GET", "/api/v1/domains?limit=many", {}, (400, "invalid", "limit")),
        ("GET", "/api/v1/events?type=nonsense", {}, (400, "invalid", "type")),
        ("GET", "/api/v1/events?after=x", {}, (400, "invalid", "after")),
        ("GET", "/api/v1/events?queue_id=x", {}, (400, "invalid", "queue_id")),
        ("GET", "/api/v1/messages/x", {}, (400, "invalid", "queue_id")),
        ("GET", f"/api/v1/messages/{'0' * 26}", {}, (404, "not_found", "queue_id")),
        (
            "PUT",
            "/api/v1/domains/x.test",
            {"json": {"relay": {"host": "h", "port": 0}}},
            (400, "invalid", "relay_port"),
        ),
        ("PUT", "/api/v1/domains/x.test", {"json": {"relay": {}}}, (400, "invalid", "host")),
        ("PUT", "/api/v1/domains/x.test", {"json": {"catch_all": ["a@x.test"]}}, (404, "not_found", "catch_all")),
        ("PUT", "/api/v1/aliases/a@x.test", {"json": {}}, (400, "invalid", "mailbox")),
        ("PUT", "/api/v1/apps/a", {"json": {}}, (400, "invalid", "domain")),
        ("PUT", "/api/v1/groups/a", {"json": {"members": ["nobody"]}}, (404, "not_found", "members")),
        ("POST", "/api/v1/apps/a/credential", {}, (404, "not_found", "name")),
        ("DELETE", "/api/v1/users/nobody", {}, (404, "not_found", "name")),
        ("DELETE", "/api/v1/users/nobody?dry_run=perhaps", {}, (400, "invalid", "dry_run")),
        ("GET", "/api/v1/users/%00", {}, (400, "invalid", None)),
        ("GET", "/api/v1/users?after=%00", {}, (400, "invalid", None)),
        ("GET", "/api/v1/domains/x.test/dns", {}, (404, "not_found", "name")),
        ("GET", "/api/v1/domains/x.test/dns/zone", {}, (404, "not_found", "name")),
        ("GET", "/api/v1/queue?queue_id=x", {}, (400, "invalid", "queue_id")),
        ("GET", "/api/v1/queue?domain=a..b", {}, (400, "invalid", "domain")),
        ("POST", "/api/v1/queue/actions", {"json": {"action": "retry"}}, (400, "invalid", "all")),
        ("POST", "/api/v1/queue/actions", {"json": {"action": "eat", "all": True}}, (400, "invalid", "action")),
        (
            "POST",
            "/api/v1/queue/actions",
            {"json": {"action": "hold", "all": True, "domain": "x.test"}},
            (400, "invalid", "all"),
        ),
        ("GET", "/api/v1/events?since=yesterday", {}, (400, "invalid", "since")),
        ("GET", "/api/v1/events?until=9999999", {}, (400, "invalid", "until")),
        ("GET", "/api/v1/events?domain=a..b", {}, (400, "invalid", "domain")),
        ("GET", "/api/v1/nothing", {}, (404, "not_found", None)),
        ("GET", "/api/v1/openapi/swagger", {}, (404, "not_found", None)),
        ("DELETE", "/api/v1/domains", {}, (405, "invalid", None)),
    ],
)
def test_refusals_have_a_code_and_the_field(
    client: RestClient, method: str, path: str, options: dict[str, Any], expected: tuple[int, str, str | None]
) -> None:
    assert client.refusal(method, path, **options) == expected


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("DELETE", "/api/v1/mailboxes/kim@demo.example?dryrun=true", "dryrun"),
        ("DELETE", "/api/v1/mailboxes/kim@demo.example?dry_run=true&dry_run=false", "dry_run"),
        ("GET", "/api/v1/domains?limit[]=1", "limit__"),
        ("GET", "/api/v1/events?kind=login", "kind"),
        ("GET", "/api/v1/healthz?x=1", "x"),
        ("GET", "/api/v1/domains?=1", "query"),
        ("PUT", "/api/v1/domains/a.example?incoming=true", "incoming"),
    ],
)
def test_a_query_is_strict_as_well(client: RestClient, method: str, path: str, field: str) -> None:
    """A misspelt dry_run must not delete."""
    assert client.refusal(method, path) == (400, "invalid", field)


async def test_the_event_log_is_read_and_followed(client: RestClient) -> None:
    events = [make_event(number) for number in range(3)]
    await client.installation.store.add_events(events)
    _, latest = client.ask("GET", "/api/v1/events?limit=2&type=received")
    assert [each["summary"] for each in latest["events"]] == ["event 1", "event 2"]
    await client.installation.store.add_events([make_event(3)])
    _, later = client.ask("GET", "/api/v1/events", params={"after": latest["next_after"]})
    assert [each["summary"] for each in later["events"]] == ["event 3"]
    _, one = client.ask("GET", "/api/v1/events", params={"queue_id": events[0].queue_id})
    assert [each["queue_id"] for each in one["events"]] == [events[0].queue_id]
    for params, count in (
        ({"domain": "DEMO.example"}, 4),
        ({"mailbox": "kim@demo.example"}, 0),
        ({"since": "1970-01-01T00:00:00.002Z"}, 2),
        ({"until": "1970-01-01T01:00:00.002+01:00"}, 2),
    ):
        assert len(client.ask("GET", "/api/v1/events", params=params)[1]["events"]) == count


def test_status_names_what_is_wrong(client: RestClient) -> None:
    assert client.ask("GET", "/api/v1/status")[1]["ok"] is True
    client.installation.fault = MailError(ErrorKind.UNAVAILABLE, "database: away")
    status, report = client.ask("GET", "/api/v1/status")
    assert (status, report["ok"], report["version"]) == (200, False, "9.9")
    assert report["parts"][0]["reason"] == "unavailable: database: away"


def test_the_ca_is_public(client: RestClient) -> None:
    answer = client.http.get("/api/v1/ca.pem")
    assert (answer.status_code, answer.content) == (200, PEM)
    client.installation.dns.ca_pem = b""
    assert client.refusal("GET", "/api/v1/ca.pem", token=None) == (404, "not_found", None)
    assert client.ask("GET", "/api/v1/healthz", token=None) == (200, {"ok": True})


def test_an_absent_database_is_a_delay(client: RestClient) -> None:
    client.installation.directory.away = True
    answer = client.http.get("/api/v1/domains", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "5")


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_has_its_problem(client: RestClient, kind: ErrorKind, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(request: object) -> None:
        raise MailError(kind, "name: wrong", after(7))

    monkeypatch.setattr(client.installation.directory, "list_domains", fail)
    status, problem = client.ask("GET", "/api/v1/domains")
    field = None if kind in (ErrorKind.UNAVAILABLE, ErrorKind.INTERNAL) else "name"  # not the caller's fault
    assert (status, problem["code"], problem["field"]) == (HTTP_STATUS[kind], kind.value, field)
    assert problem["title"] == TITLES[kind]


def test_a_bug_gives_an_incident_and_no_traceback(
    client: RestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(request: object) -> None:
        raise RuntimeError("private details")

    monkeypatch.setattr(client.installation.directory, "list_domains", crash)
    status, problem = client.ask("GET", "/api/v1/domains")
    assert (status, problem["code"]) == (500, "internal")
    assert "private" not in json.dumps(problem)
    assert "Traceback" not in json.dumps(problem)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["admin_api.request.crashed"]


def test_options_name_the_methods_of_every_route(client: RestClient) -> None:
    paths = client.ask("GET", "/api/v1/openapi.json")[1]["paths"]
    assert len(paths) > 20
    for path, operations in paths.items():
        answer = client.http.options(
            path.replace("{", "").replace("}", ""), headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code == 204, (path, answer.text)
        methods = {method.upper() for method in operations if method != "parameters"}
        assert set(answer.headers["allow"].split(", ")) == methods | {"OPTIONS"}


def test_the_docs_page_loads_nothing_from_elsewhere(client: RestClient) -> None:
    for path in ("/api/v1/docs", "/api/v1/docs/docs.js", "/api/v1/docs/docs.css"):
        answer = client.http.get(path)
        assert answer.status_code == 200
        assert "http://" not in answer.text
        assert "https://" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_client_that_goes_away_within_a_body_is_no_bug(
    client: RestClient, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [(b"host", b"x"), (b"authorization", f"Bearer {TOKEN}".encode()), (b"content-length", b"50")]
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "https",
        "path": "/api/v1/domains/new.example",
        "raw_path": b"/api/v1/domains/new.example",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.1", 1),
        "server": ("x", 443),
    }
    await client.http.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not caplog.records
