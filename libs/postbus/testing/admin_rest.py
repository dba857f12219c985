"""The REST interface over fakes, for tests of the API and of the command line that speaks to it."""

import re
import time
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client import CollectorRegistry

from postbus.core.clock import SystemClock
from postbus.runtime.sealing import Sealer
from postbus.testing.admin_api import MemoryAdminStore
from postbus.testing.admin_directory import MemoryDirectoryAdmin
from postbus.testing.admin_ledger import MemoryBooks, MemoryEdge
from postbus.testing.admin_services import MemoryDns, MemoryNotices, MemoryQueue, MemoryRelays
from postbus.testing.directory import ManualClock
from postbus.testing.webhooks import MemoryPoster, MemoryWebhookStore
from postbusd.admin_api.audit import Auditor
from postbusd.admin_api.password_resets import PasswordResets
from postbusd.admin_api.ports import Token
from postbusd.admin_api.repeats import Repeats
from postbusd.admin_api.rest.application import create_application
from postbusd.admin_api.rest.backend import Backend
from postbusd.admin_api.sessions import Sessions
from postbusd.admin_api.settings import AdminApiSettings
from postbusd.admin_api.status import Probe, StatusProbes
from postbusd.admin_api.token_desk import TokenDesk
from postbusd.admin_api.tokens import Tokens, hash_token
from postbusd.admin_api.webhooks.desk import WebhookDesk
from postbusd.admin_api.webhooks.teller import WebhookTeller

TOKEN = "postbus_" + "a" * 40
POWERLESS = "postbus_" + "b" * 40
ACTOR = "admin"
MAX_BODY_OCTETS = 2_000
SETTLE_SECONDS = 10.0


class FakeInstallation:
    """What stands behind the application; `fault` is what its probe finds."""

    def __init__(self) -> None:
        self.store = MemoryAdminStore()
        for name, text, actor, scopes in (("one", TOKEN, ACTOR, ("admin",)), ("two", POWERLESS, "kim", ("imap",))):
            token = Token(actor=actor, scopes=scopes, token_id=name, name=name)
            self.store.tokens[name] = (hash_token(text), token)
        self.directory = MemoryDirectoryAdmin()
        self.queue = MemoryQueue()
        self.books = MemoryBooks()
        self.relays = MemoryRelays(self.directory)
        self.edge = MemoryEdge(self.books.calls)
        self.dns = MemoryDns(self.directory)
        self.registry = CollectorRegistry()
        self.hooks = MemoryWebhookStore()
        self.poster = MemoryPoster()
        self.clock = ManualClock()
        sealer, clock = Sealer(b"k" * 32), SystemClock()
        teller = WebhookTeller(self.hooks, self.poster, sealer, clock, self.registry)
        self.notices = MemoryNotices()
        self.fault: Exception | None = None
        self.backend = Backend(
            directory=self.directory,
            messages=self.queue,
            queue=self.queue,
            relays=self.relays,
            books=self.books,
            edge=self.edge,
            dns=self.dns,
            certificates=self.dns,
            events=self.store,
            finder=self.store,
            audit=self.store,
            auditor=Auditor(self.store, self.registry),
            tokens=Tokens(self.store, SystemClock(), Path("absent-token")),
            sessions=Sessions(self.store, self.store, self.directory, self.clock, AdminApiSettings(), self.registry),
            repeats=Repeats(self.store, sealer, self.clock),
            password_resets=PasswordResets(
                self.directory, self.notices, self.store, self.clock, "mail.demo.example", self.registry
            ),
            webhooks=WebhookDesk(self.hooks, self.poster, teller, sealer, clock),
            token_desk=TokenDesk(self.store, self.store, SystemClock()),
            status=StatusProbes([Probe(name="database", ask=self._probe)], SystemClock(), 1.0),
            clock=SystemClock(),
            version="9.9",
            mail_host="mail.demo.example",
        )

    def settle(self) -> None:
        """Waits for what goes on after answers."""
        end = time.monotonic() + SETTLE_SECONDS
        while self.backend.password_resets.under_way:
            assert time.monotonic() < end, "resets do not end"
            time.sleep(0.001)

    async def _probe(self) -> None:
        if self.fault is not None:
            raise self.fault


class RestClient:
    """Requests in this process, with the administrator's token."""

    token = TOKEN

    def __init__(self, installation: FakeInstallation, http: TestClient[Litestar]) -> None:
        self.installation = installation
        self.http = http
        http.app.state.backend = installation.backend

    def ask(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> tuple[int, Any]:
        """Status and decoded answer."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        answer = self.http.request(method, path, headers={**headers, **options.pop("headers", {})}, **options)
        if answer.status_code >= 400:
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.json()["status"] == answer.status_code
        self._check_documented(method, path, answer.status_code)
        return answer.status_code, answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def refusal(self, method: str, path: str, **options: Any) -> tuple[int, str, str | None]:
        """Status, code and field of a refusal."""
        status, problem = self.ask(method, path, **options)
        return status, problem["code"], problem["field"]

    def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        """As the command line's wire does it."""
        answer = self.http.request(method, path, headers=headers, content=body)
        return answer.status_code, answer.content

    def _check_documented(self, method: str, path: str, status: int) -> None:
        """What an operation answers stands in the OpenAPI document."""
        if not hasattr(self.http, "openapi_paths"):
            self.http.openapi_paths = self.http.get("/api/v1/openapi.json").json()["paths"]  # type: ignore[attr-defined]
        for template, item in self.http.openapi_paths.items():  # type: ignore[attr-defined]
            pattern = re.sub(r"\{[^}]*\}", "[^/]+", template)
            if method.lower() in item and re.fullmatch(pattern, path.partition("?")[0]):
                assert str(status) in item[method.lower()]["responses"], (
                    f"{method} {template} does not tell of {status}"
                )


def make_http() -> TestClient[Litestar]:
    """One application for all tests of a module: its start is the slow part. A context manager."""
    return TestClient(create_application(FakeInstallation().backend, MAX_BODY_OCTETS), raise_server_exceptions=False)
