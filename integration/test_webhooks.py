"""Webhooks: their rows on real Postgres, and a running installation that tells a receiver of mail."""

import asyncio
import base64
import hashlib
import hmac
import http.server
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from typing import Any

import asyncpg
import pytest

from postbus.runtime import http_client
from postbus.runtime.dns import DnsResolver
from postbus.runtime.http_client import HttpClient, client_tls
from postbus.testing.admin_api import make_event
from postbus.testing.installation import Database, Platform, postbus, short_folder, start_platform
from postbus.testing.probes import process_ids, submit
from postbus.testing.webhooks import HOOK, WebhookStoreContract, set_event
from postbusd.admin_api.adapters.postgres import PostgresAdminStore
from postbusd.admin_api.adapters.postgres_webhooks import PostgresWebhookStore
from postbusd.admin_api.adapters.webhook_post import WebhookPoster
from postbusd.admin_api.webhooks.values import Message

PATIENCE_SECONDS = 40.0
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(
        database.dsn, user="postbus_admin_api", password=database.password("admin-api"), min_size=0, max_size=4
    ) as pool:
        for table in ("webhook", "event"):
            await pool.execute(f"DELETE FROM admin.{table}")
        yield pool
        await pool.execute("DELETE FROM admin.webhook")


class TestPostgresWebhookStore(WebhookStoreContract):
    """The same rules as the fake's."""

    @pytest.fixture
    def store(self, pool: asyncpg.Pool) -> PostgresWebhookStore:
        async def get() -> asyncpg.Pool:
            return pool

        return PostgresWebhookStore(get)

    @pytest.fixture
    def log(self, pool: asyncpg.Pool) -> PostgresAdminStore:
        async def get() -> asyncpg.Pool:
            return pool

        return PostgresAdminStore(get)

    async def test_two_processes_never_claim_the_same(
        self, store: PostgresWebhookStore, log: PostgresAdminStore
    ) -> None:
        """claim_work, at the same time."""
        await store.put_webhook(HOOK, b"key", set_event(1))
        await log.add_events([make_event(number) for number in range(200)])
        rounds = await asyncio.gather(*[store.claim_work(1_000, 500, 5, 10) for _ in range(30)])
        claimed = [each.sequence for works in rounds for work in works for each in work.claimed]
        assert len(claimed) == len(set(claimed)) > 0


class Receiver:
    """A web server that keeps what it gets; the next answers are `codes`, then 204."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.codes: list[int] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                code = receiver.codes.pop(0) if receiver.codes else 204
                self.send_response(code)
                if code != 204:
                    self.send_header("Content-Length", "4")
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                if code != 204:
                    self.wfile.write(b"said")

            def log_message(self, *args: object) -> None:
                """Silent."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/in?key=1"

    def events(self, kind: str) -> list[Any]:
        """Bodies of one type."""
        bodies = [json.loads(body) for _, body in self.requests]
        return [body for body in bodies if body["type"] == kind]

    def wait(self, kind: str, number: int) -> list[Any]:
        """Until there are so many events."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.events(kind)) < number:
            assert time.monotonic() < deadline, self.requests
            time.sleep(0.1)
        return self.events(kind)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A process for each service; webhooks may go to loopback."""
    with short_folder() as folder:
        environment = {"POSTBUS_ADMIN_API_WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8"}
        yield start_platform(folder, "--workers", "separate", environment=environment)


def run(platform: Platform, *words: str, code: int = 0) -> Any:
    """A command's JSON."""
    done = postbus(*words, "--json", "--data-dir", str(platform.data_dir), check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_receiver_is_told_of_mail_signed_and_again_after_it_was_away(platform: Platform, receiver: Receiver) -> None:
    hook = run(platform, "webhook", "add", "mail", "--url", receiver.url, "--type", "received", "--type", "delivered")
    assert run(platform, "webhook", "test", "mail")["told"]
    submit(platform, "first@hooks", platform.mailboxes[0][0])
    (body,) = receiver.wait("received", 1)
    assert body["data"]["forward_path"] or body["data"]["message_id"]
    key = base64.b64decode(hook["secret"].removeprefix("whsec_"))
    for headers, raw in receiver.requests:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
        wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{wanted}"
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        assert headers["content-type"] == "application/json"
    receiver.wait("delivered", 1)
    receiver.codes = [503]
    submit(platform, "second@hooks", platform.mailboxes[0][0])
    bodies = receiver.wait("received", 2)
    told = {each["data"]["event_id"] for each in [*bodies, *receiver.wait("delivered", 2)]}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (state := run(platform, "webhook", "show", "mail"))["waiting"]:
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    assert (state["dead"], state["failures"], state["last_outcome"]) == (0, 0, "204")
    assert len(told) == 4


def test_what_was_not_told_when_the_process_died_is_told_by_the_next(platform: Platform, receiver: Receiver) -> None:
    run(platform, "webhook", "add", "dies", "--url", receiver.url, "--type", "received")
    receiver.codes = [500]
    submit(platform, "third@hooks", platform.mailboxes[0][0])
    receiver.wait("received", 1)  # refused: it pauses for seconds
    os.kill(process_ids(platform)["admin-api"], signal.SIGKILL)
    first, again = receiver.wait("received", 2)
    assert first["data"] == again["data"]
    ids = [headers["webhook-id"] for headers, _ in receiver.requests]
    assert ids[0] == ids[1]


def make_poster(ca_file: str = "") -> WebhookPoster:
    tls = client_tls(ca_file, "webhook_ca_file")
    setting = "POSTBUS_ADMIN_API_WEBHOOK_EGRESS_ALLOW"
    return WebhookPoster(HttpClient(DnsResolver(), LOOPBACK, tls, agent="postbus/test", setting=setting))


@pytest.fixture
async def poster() -> AsyncIterator[WebhookPoster]:
    poster = make_poster()
    yield poster
    await poster.close()


MESSAGE = Message(headers=(("webhook-id", "1"),), body=b"{}")


async def test_one_connection_serves_many_and_a_refusal_ends_it(poster: WebhookPoster, receiver: Receiver) -> None:
    receiver.codes = [200, 202, 302]
    answers = await poster.post(receiver.url, [MESSAGE] * 5)
    assert [answer.status for answer in answers] == [200, 202, 302]  # nothing is followed
    assert answers[0].text == "said"
    assert len(receiver.requests) == 3


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://10.0.0.1/", "https to 10.0.0.1 is not allowed"),
        ("http://192.0.2.1/", "http to 192.0.2.1 is not allowed"),
        ("http://93.184.215.14/", "http to 93.184.215.14 is not allowed"),
        ("https://[::ffff:10.0.0.1]/", "is not allowed"),
        ("https://[fe80::1]/", "is not allowed"),
        ("http://127.0.0.1:1/", "Connect"),
    ],
)
async def test_the_egress_rule_holds(poster: WebhookPoster, url: str, text: str) -> None:
    (answer,) = await poster.post(url, [MESSAGE, MESSAGE])
    assert answer.status == 0
    assert text in answer.text


async def serve(reply: bytes, *, hang: bool = False) -> asyncio.Server:
    """A server that says the same to everybody."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(reply)
        if hang:
            await reader.read()
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"", "closed the connection"),
        (b"nonsense\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, "more than 65536 octets"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "too"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "closed"),
    ],
)
async def test_a_hostile_receiver_is_a_failure(poster: WebhookPoster, reply: bytes, text: str) -> None:
    async with await serve(reply) as server:
        (answer,) = await poster.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", [MESSAGE])
    assert answer.status == 0
    assert text in answer.text


async def test_a_silent_receiver_ends_by_the_clock(poster: WebhookPoster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "REQUEST_SECONDS", 0.3)
    async with await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", hang=True) as server:
        (answer,) = await poster.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", [MESSAGE])
    assert (answer.status, answer.text) == (0, "no answer within 0.3 s")


async def test_a_certificate_of_nobody_is_refused(poster: WebhookPoster, platform: Platform) -> None:
    """The installation's own API, whose authority only its own file knows."""
    url = f"{platform.admin_url}/api/v1/healthz"
    (answer,) = await poster.post(url, [MESSAGE])
    assert answer.status == 0
    assert "certificate: " in answer.text
    trusting = make_poster(str(platform.ca_file))
    (answer,) = await trusting.post(url, [MESSAGE])
    await trusting.close()
    assert answer.status == 405
