"""The REST interface over fakes: what every route takes, gives and refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client import CollectorRegistry

from postbus.bus.ports import Bus
from postbus.contracts.delivery import Accounted, GetMessageReply, GetMessageRequest, Placement
from postbus.contracts.dns_provisioner import ListCertificatesReply, ListCertificatesRequest
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError, after
from postbus.core.ids import MailboxId, QueueId
from postbus.runtime.sealing import Sealer
from postbus.testing.admin_api import MemoryAdminStore, make_event
from postbus.testing.bus import FakeBus
from postbus.testing.directory import KEYS, ManualClock, MemoryAccounts, MemoryDirectory, PlainHasher
from postbusd.admin_api.ports import Token
from postbusd.admin_api.rest.application import create_application
from postbusd.admin_api.rest.backend import Backend
from postbusd.admin_api.rest.problems import HTTP_STATUS, TITLES
from postbusd.admin_api.status import Probe, StatusProbes
from postbusd.admin_api.tokens import Tokens, hash_token
from postbusd.directory.administration import Administration
from postbusd.directory.login import PasswordAuthenticator
from postbusd.directory.resolution import CachedResolver
from postbusd.directory.routes import CachedRoutes
from postbusd.directory.service import DirectoryService

TOKEN = "postbus_" + "a" * 40
POWERLESS = "postbus_" + "b" * 40
MAX_BODY_OCTETS = 2_000
QUEUE_ID = QueueId("01JQZ8Y6KX4M2N3P5R7S9T0VWX")
PEM = b"-----BEGIN CERTIFICATE-----\n"


class FakeMessages:
    """delivery, for one message."""

    async def get_message(self, request: GetMessageRequest) -> GetMessageReply:
        if request.queue_id != QUEUE_ID:
            raise MailError(ErrorKind.NOT_FOUND, "queue_id: no such message")
        placement = Placement(mailbox_id=MailboxId("m"), address="kim@demo.example", folder="INBOX", uid=7)
        return GetMessageReply(
            queue_id=QUEUE_ID, stream_sequence=1, accounted=Accounted.FOLDER, placements=(placement,)
        )


class FakeCertificates:
    """dns-provisioner, with a CA."""

    ca_pem = PEM

    async def list_certificates(self, request: ListCertificatesRequest) -> ListCertificatesReply:
        return ListCertificatesReply(revision=1, ca_pem=self.ca_pem)


class Api:
    """What stands behind the application."""

    def __init__(self) -> None:
        clock, self.repository, hasher, bus = ManualClock(), MemoryDirectory(), PlainHasher(), FakeBus()
        accounts, registry = MemoryAccounts(), CollectorRegistry()
        self.bus: Bus = bus
        self.store = MemoryAdminStore()
        self.store.tokens["one"] = (hash_token(TOKEN), Token(actor="admin", scopes=("admin",)))
        self.store.tokens["two"] = (hash_token(POWERLESS), Token(actor="kim", scopes=("imap",)))
        self.certificates = FakeCertificates()
        self.fault: Exception | None = None
        self.directory = DirectoryService(
            resolver=CachedResolver(self.repository, accounts, clock, registry),
            authenticator=PasswordAuthenticator(self.repository, hasher, KEYS, clock, registry),
            routes=CachedRoutes(self.repository, Sealer(bytes(32)), clock),
            administration=Administration(self.repository, accounts, hasher, clock),
            repository=self.repository,
            bus=self.bus,
        )
        self.backend = Backend(
            directory=self.directory,
            messages=FakeMessages(),
            certificates=self.certificates,
            events=self.store,
            tokens=Tokens(self.store, clock, Path("absent-token")),
            status=StatusProbes([Probe(name="database", ask=self._probe)], SystemClock(), 1.0),
            version="9.9",
            mail_host="mail.demo.example",
        )

    async def _probe(self) -> None:
        if self.fault is not None:
            raise self.fault


class Client:
    """Requests with the administrator's token."""

    def __init__(self, api: Api, http: TestClient[Litestar]) -> None:
        self.api = api
        self.http = http

    def ask(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        answer = self.http.request(method, path, headers={**headers, **options.pop("headers", {})}, **options)
        if answer.status_code >= 400:
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.json()["status"] == answer.status_code
        return answer.status_code, answer.json() if answer.content else None

    def refusal(self, method: str, path: str, **options: Any) -> tuple[int, str, str | None]:
        status, problem = self.ask(method, path, **options)
        return status, problem["code"], problem["field"]


@pytest.fixture(scope="module")
def shared_api() -> Iterator[Client]:
    api = Api()
    with TestClient(create_application(api.backend, MAX_BODY_OCTETS), raise_server_exceptions=False) as http:
        yield Client(api, http)


@pytest.fixture
def client(shared_api: Client) -> Client:
    """One application for all tests of the module (its start is the slow part), its contents new for each."""
    fresh = Api()
    shared_api.http.app.state.backend = fresh.backend
    return Client(fresh, shared_api.http)


def test_every_route_but_the_public_ones_needs_a_token(client: Client) -> None:
    document = client.ask("GET", "/api/v1/openapi.json", token=None)[1]
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    assert len(operations) >= 9
    for method, path, operation in operations:
        public = {} in operation.get("security", [])
        assert public == (path in ("/api/v1/healthz", "/api/v1/ca.pem")), path
        if not public:
            for token in (None, "", "x" * 40):
                assert client.refusal(method, path, token=token) == (401, "unauthenticated", None), path
            assert client.refusal(method, path, token=POWERLESS) == (403, "forbidden", None), path


def test_a_refused_token_says_how_to_send_one(client: Client) -> None:
    answer = client.http.get("/api/v1/domains", headers={"Authorization": "Basic abc"})
    assert answer.headers["www-authenticate"] == 'Bearer realm="postbus"'


def test_a_domain_is_put_again_and_listed(client: Client) -> None:
    path = "/api/v1/domains/Demo.example"
    assert client.ask("PUT", path, json={}) == (200, {"name": "demo.example", "incoming": False})
    for _ in range(2):
        assert client.ask("PUT", path, json={"incoming": True})[1]["incoming"] is True
    listed = client.ask("GET", "/api/v1/domains")
    assert listed == (200, {"domains": [{"name": "demo.example", "incoming": True}], "next_after": ""})


def test_a_mailbox_is_created_replaced_and_listed(client: Client) -> None:
    client.ask("PUT", "/api/v1/domains/demo.example", json={})
    path = "/api/v1/mailboxes/Kim@demo.example"
    status, created = client.ask("PUT", path, json={"password": "secret", "quota_octets": 5})
    assert status == 201
    assert created == {**created, "address": "kim@demo.example", "active": True, "quota_octets": 5}
    assert "secret" not in json.dumps(created)
    status, replaced = client.ask("PUT", path, json={"active": False})
    assert (status, replaced) == (200, {**created, "active": False, "quota_octets": None})
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
        ("PUT", "/api/v1/mailboxes/a@x.test", {"json": {"password": "short"}}, (400, "invalid", "password")),
        ("PUT", "/api/v1/mailboxes/a@x.test", {"json": {"quota_octets": -1}}, (400, "invalid", "quota_octets")),
        ("PUT", "/api/v1/mailboxes/a@x.test", {"json": {"quota_octets": "7"}}, (400, "invalid", "quota_octets")),
        ("GET", "/api/v1/mailboxes?domain=a..b", {}, (400, "invalid", "domain")),
        ("GET", "/api/v1/mailboxes?limit=0", {}, (400, "invalid", "limit")),
        ("GET", "/api/v1/domains?limit=many", {}, (400, "invalid", "limit")),
        ("GET", "/api/v1/events?type=nonsense", {}, (400, "invalid", "type")),
        ("GET", "/api/v1/events?after=x", {}, (400, "invalid", "after")),
        ("GET", "/api/v1/events?queue_id=x", {}, (400, "invalid", "queue_id")),
        ("GET", "/api/v1/messages/x", {}, (400, "invalid", "queue_id")),
        ("GET", f"/api/v1/messages/{'0' * 26}", {}, (404, "not_found", "queue_id")),
        ("GET", "/api/v1/nothing", {}, (404, "not_found", None)),
        ("GET", "/api/v1/openapi/swagger", {}, (404, "not_found", None)),
        ("DELETE", "/api/v1/domains", {}, (405, "invalid", None)),
    ],
)
def test_refusals_have_a_code_and_the_field(
    client: Client, method: str, path: str, options: dict[str, Any], expected: tuple[int, str, str | None]
) -> None:
    assert client.refusal(method, path, **options) == expected


def test_a_message_is_traced(client: Client) -> None:
    status, message = client.ask("GET", f"/api/v1/messages/{QUEUE_ID.lower()}")
    assert (status, message["accounted"]) == (200, "folder")
    assert message["placements"] == [{"mailbox_id": "m", "address": "kim@demo.example", "folder": "INBOX", "uid": 7}]


async def test_the_event_log_is_read_and_followed(client: Client) -> None:
    events = [make_event(number) for number in range(3)]
    await client.api.store.add_events(events)
    _, latest = client.ask("GET", "/api/v1/events?limit=2&type=received")
    assert [each["summary"] for each in latest["events"]] == ["event 1", "event 2"]
    await client.api.store.add_events([make_event(3)])
    _, later = client.ask("GET", "/api/v1/events", params={"after": latest["next_after"]})
    assert [each["summary"] for each in later["events"]] == ["event 3"]
    _, one = client.ask("GET", "/api/v1/events", params={"queue_id": events[0].queue_id})
    assert [each["queue_id"] for each in one["events"]] == [events[0].queue_id]


def test_status_names_what_is_wrong(client: Client) -> None:
    assert client.ask("GET", "/api/v1/status")[1]["ok"] is True
    client.api.fault = MailError(ErrorKind.UNAVAILABLE, "database: away")
    status, report = client.ask("GET", "/api/v1/status")
    assert (status, report["ok"], report["version"]) == (200, False, "9.9")
    assert report["parts"][0]["reason"] == "unavailable: database: away"


def test_the_ca_is_public(client: Client) -> None:
    answer = client.http.get("/api/v1/ca.pem")
    assert (answer.status_code, answer.content) == (200, PEM)
    client.api.certificates.ca_pem = b""
    assert client.refusal("GET", "/api/v1/ca.pem", token=None) == (404, "not_found", None)
    assert client.ask("GET", "/api/v1/healthz", token=None) == (200, {"ok": True})


def test_an_absent_database_is_a_delay(client: Client) -> None:
    client.api.repository.away = True
    answer = client.http.get("/api/v1/domains", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "5")


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_has_its_problem(client: Client, kind: ErrorKind, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(request: object) -> None:
        raise MailError(kind, "name: wrong", after(7))

    monkeypatch.setattr(client.api.directory, "list_domains", fail)
    status, problem = client.ask("GET", "/api/v1/domains")
    assert (status, problem["code"], problem["field"]) == (HTTP_STATUS[kind], kind.value, "name")
    assert problem["title"] == TITLES[kind]


def test_a_bug_gives_an_incident_and_no_traceback(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(request: object) -> None:
        raise RuntimeError("private details")

    monkeypatch.setattr(client.api.directory, "list_domains", crash)
    status, problem = client.ask("GET", "/api/v1/domains")
    assert (status, problem["code"]) == (500, "internal")
    assert "private" not in json.dumps(problem)
    assert "Traceback" not in json.dumps(problem)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["admin_api.request.crashed"]


def test_the_openapi_document_is_whole(client: Client) -> None:
    document = client.ask("GET", "/api/v1/openapi.json", token=None)[1]
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["token"] == {
        "type": "http",
        "scheme": "bearer",
        "description": "An API token.",
    }
    for item in document["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            for status in ("401", "404", "503"):
                assert "application/problem+json" in operation["responses"][status]["content"]
    assert set(document["components"]["schemas"]["MailboxBody"]["properties"]) == {"password", "active", "quota_octets"}


def test_the_docs_page_loads_nothing_from_elsewhere(client: Client) -> None:
    for path in ("/api/v1/docs", "/api/v1/docs/docs.js", "/api/v1/docs/docs.css"):
        answer = client.http.get(path)
        assert answer.status_code == 200
        assert "http://" not in answer.text
        assert "https://" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_client_that_goes_away_within_a_body_is_no_bug(
    client: Client, caplog: pytest.LogCaptureFixture
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
