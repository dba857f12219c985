"""People and what they own, by command line and API of a running installation; logins by IMAP prove them."""

import contextlib
import http.client
import imaplib
import json
import smtplib
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from postbus.testing.installation import Platform, postbus

PASSWORD = "correct horse"
DOMAIN = "people.example"
PATIENCE_SECONDS = 20.0
MANY_SECONDS = 30.0
HOSTILE_NAMES = (
    "%00",
    "%20",
    "%2e%2e%2f%2e%2e%2fetc",
    "a%0d%0aX-Evil:%201",
    "%ff%fe",
    "'%20OR%201=1--",
    "*@*",
    "@",
    "a@b@c",
    "%F0%9F%90%98@people.example",
    "x" * 3000,
    "-1",
)
HOSTILE_TEXTS = ("", "\0", "\u202e", "%", "'; DROP TABLE directory.domain; --", "x" * 5000, "\U0001f418", "-1", "1e999")
HOSTILE_BODIES = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff",
    b"[" * 100_000,
    b'{"x":' * 50_000,
    b'{"password":"\\u0000abcdef","mailbox":"\\u0000","members":["\\u0000"],"domain":"\\u0000","action":"retry"}',
    b'{"members":[' + b",".join([b'"a@b.example"'] * 20_000) + b"]}",
    b'{"quota_octets":999999999999999999999999}',
    b'{"quota_octets":-9223372036854775809}',
    b'{"relay":{"host":"x","port":99999}}',
    b'{"action":"cancel","queue_id":"../../x"}',
)


class Client:
    """The API over one kept connection."""

    def __init__(self, platform: Platform) -> None:
        url = urllib.parse.urlsplit(platform.admin_url)
        self._token = platform.admin_token
        self._line = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=60, context=platform.tls())

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and answer; bytes go as they are."""
        octets = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            return self._ask(method, path, octets)
        except (http.client.HTTPException, OSError):
            self._line.close()
            return self._ask(method, path, octets)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it was all sent
            self._line.request(method, path, body, headers)
        answer = self._line.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if "json" in answer.headers.get_content_type() else text

    def close(self) -> None:
        """Closes the connection."""
        self._line.close()


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[Client]:
    client = Client(platform)
    yield client
    client.close()


@pytest.fixture(scope="module")
def people(platform: Platform) -> Platform:
    """The platform with a domain."""
    run(platform, "domain", "add", DOMAIN)
    return platform


def run(platform: Platform, *words: str, check: bool = True) -> str:
    """A command's output."""
    return postbus(*words, "--data-dir", str(platform.data_dir), check=check).stdout


def run_json(platform: Platform, *words: str) -> Any:
    return json.loads(run(platform, *words, "--json"))


def logs_in(platform: Platform, username: str, password: str) -> bool:
    """Whether IMAP takes this login."""
    with imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=20) as imap:
        try:
            return imap.login(username, password)[0] == "OK"
        except imaplib.IMAP4.error:
            return False


def test_each_kind_of_owner_made_by_command_line_logs_in(people: Platform) -> None:
    run(people, "user", "add", "kim", "--display-name", "Kim", "--password", PASSWORD)
    run(people, "user", "add", "robin", "--password", "another horse")
    run(people, "mailbox", "add", f"kim@{DOMAIN}", "--owner", "user:kim", "--quota", "500M")
    run(people, "group", "add", "sales", "--member", "kim", "--member", "robin", "--address", f"sales-team@{DOMAIN}")
    run(people, "mailbox", "add", f"sales@{DOMAIN}", "--owner", "group:sales")
    app = run_json(people, "app", "add", "shop", "--domain", DOMAIN)
    assert logs_in(people, f"kim@{DOMAIN}", PASSWORD)
    assert logs_in(people, f"sales@{DOMAIN}", PASSWORD)
    assert logs_in(people, f"sales@{DOMAIN}", "another horse")
    assert logs_in(people, app["address"], app["credential"])
    assert not logs_in(people, f"kim@{DOMAIN}", "another horse")
    assert not logs_in(people, app["address"], PASSWORD)
    rotated = run_json(people, "app", "rotate", "shop")
    assert logs_in(people, app["address"], rotated["credential"])
    assert not logs_in(people, app["address"], app["credential"])
    shown = run_json(people, "mailbox", "show", f"kim@{DOMAIN}")
    assert (shown["owner"], shown["quota_octets"]) == ({"kind": "user", "name": "kim"}, 500 << 20)


def test_each_kind_of_owner_made_by_api_logs_in(people: Platform, client: Client) -> None:
    assert client.ask("PUT", "/api/v1/users/ada", {"password": PASSWORD})[0] == 201
    assert client.ask("PUT", "/api/v1/users/ada", {"display_name": "Ada"})[0] == 200
    assert client.ask("PUT", "/api/v1/groups/desk", {"members": ["ada"]})[0] == 201
    status, app = client.ask("PUT", "/api/v1/apps/mill", {"domain": DOMAIN, "address": f"mill@{DOMAIN}"})
    assert (status, app["address"]) == (201, f"mill@{DOMAIN}")
    for name, kind, owner in (("ada", "user", "ada"), ("desk", "group", "desk")):
        body = {"owner": {"kind": kind, "name": owner}}
        assert client.ask("PUT", f"/api/v1/mailboxes/{name}@{DOMAIN}", body)[0] == 201
        assert logs_in(people, f"{name}@{DOMAIN}", PASSWORD)
    assert logs_in(people, f"mill@{DOMAIN}", app["credential"])
    assert client.ask("PUT", "/api/v1/users/ada", {"active": False})[0] == 200
    assert not logs_in(people, f"ada@{DOMAIN}", PASSWORD)
    assert not logs_in(people, f"desk@{DOMAIN}", PASSWORD)


def test_mail_finds_its_way_by_aliases_lists_and_groups(people: Platform, client: Client) -> None:
    password = run(people, "mailbox", "add", f"lee@{DOMAIN}", "--generate").split()[-1]
    wildcard = urllib.parse.quote(f"info*@{DOMAIN}", safe="")
    assert client.ask("PUT", f"/api/v1/aliases/{wildcard}", {"mailbox": f"lee@{DOMAIN}"})[0] == 201
    run(people, "alias", "add", f"boss@{DOMAIN}", f"lee@{DOMAIN}")
    run(people, "list", "add", f"all@{DOMAIN}", "--member", f"boss@{DOMAIN}")
    assert client.ask("GET", f"/api/v1/aliases/info*@{DOMAIN}")[1]["mailbox"] == f"lee@{DOMAIN}"
    wanted = {}
    for number, address in enumerate((f"info-desk@{DOMAIN}", f"boss@{DOMAIN}", f"all@{DOMAIN}", f"lee+x@{DOMAIN}")):
        wanted[f"word{number}"] = address
        people.send(f"Subject: word{number}\r\n\r\nHello.\r\n".encode(), address)
    assert wait_subjects(people, f"lee@{DOMAIN}", password, len(wanted)) == set(wanted)


def wait_subjects(platform: Platform, username: str, password: str, count: int) -> set[str]:
    """The subjects of INBOX once there are so many messages."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=20) as imap:
        imap.login(username, password)
        while int(imap.select("INBOX", readonly=True)[1][0] or b"0") < count and time.monotonic() < deadline:
            time.sleep(0.1)
        answer: Any = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        return {part[1].decode().partition(":")[2].strip() for part in answer if isinstance(part, tuple)}


def test_what_is_deleted_is_first_told_and_then_gone(people: Platform) -> None:
    run(people, "mailbox", "add", f"away@{DOMAIN}", "--password", PASSWORD)
    run(people, "alias", "add", f"gone@{DOMAIN}", f"away@{DOMAIN}")
    refused = postbus("domain", "delete", DOMAIN, "--dry-run", "--data-dir", str(people.data_dir), check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    dry = run(people, "mailbox", "delete", f"away@{DOMAIN}", "--dry-run")
    assert f"away@{DOMAIN}" in dry
    assert f"gone@{DOMAIN}" in dry
    assert logs_in(people, f"away@{DOMAIN}", PASSWORD)
    assert run(people, "mailbox", "delete", f"away@{DOMAIN}").startswith("deleted: ")
    assert not logs_in(people, f"away@{DOMAIN}", PASSWORD)
    assert run_json(people, "alias", "list", "--domain", DOMAIN) == [
        each for each in run_json(people, "alias", "list", "--domain", DOMAIN) if each["mailbox"] != f"away@{DOMAIN}"
    ]


def test_fifty_mailboxes_in_one_call(people: Platform) -> None:
    run(people, "domain", "add", "bench.example")
    began = time.monotonic()
    made = run_json(people, "mailbox", "add", "u{1..50}@bench.example", "--password", "secret")
    took = time.monotonic() - began
    print(f"50 mailboxes in {took:.2f} s")
    assert len(made) == 50
    assert took < MANY_SECONDS
    assert logs_in(people, "u1@bench.example", "secret")
    assert logs_in(people, "u50@bench.example", "secret")


def test_a_trace_and_the_events_tell_of_a_delivery(people: Platform) -> None:
    run(people, "mailbox", "add", f"story@{DOMAIN}", "--password", PASSWORD)
    people.send(b"Subject: story\r\nMessage-ID: <story@friend.example>\r\n\r\nHello.\r\n", f"story@{DOMAIN}")
    deadline = time.monotonic() + PATIENCE_SECONDS
    types: dict[str, str] = {}
    while not {"received", "delivered"} <= set(types) and time.monotonic() < deadline:
        lines = run(people, "events", "--json", "--limit", "1000").splitlines()
        found = [json.loads(line) for line in lines]
        types = {each["type"]: each["queue_id"] for each in found if each["forward_path"] == f"story@{DOMAIN}"}
        time.sleep(0.1)
    assert types["received"] == types["delivered"]
    by_mailbox = run(people, "events", "--mailbox", f"story@{DOMAIN}", "--type", "delivered", "--since", "1h", "--json")
    assert [json.loads(line)["queue_id"] for line in by_mailbox.splitlines()] == [types["delivered"]]
    text = run(people, "trace", types["received"])
    story = text.split("\n\n")[1]
    assert story.index("received") < story.index("delivered")
    assert f"INBOX of story@{DOMAIN}" in text
    message = run_json(people, "trace", types["received"])
    assert (message["accounted"], message["story_cut"]) == ("folder", False)


def test_the_queue_says_why_mail_waits_and_obeys(people: Platform, client: Client) -> None:
    run(people, "domain", "add", "waits.example")
    run(people, "mailbox", "add", "kim@waits.example", "--password", PASSWORD)
    run(people, "domain", "set", "waits.example", "--relay", "127.0.0.1:1", "--relay-security", "none")
    with smtplib.SMTP_SSL(people.host, people.port("submissions"), context=people.tls(), timeout=20) as smtp:
        smtp.login("kim@waits.example", PASSWORD)
        message = "From: kim@waits.example\r\nMessage-ID: <waits@waits.example>\r\n\r\nHello.\r\n"
        smtp.sendmail("kim@waits.example", ["a@far.example", "b@near.example"], message)
    first, _ = wait_copies(people, lambda copy: copy["attempts"] == 1)
    assert (first["state"], first["next_hop"], first["recipient"]) == ("waiting", "127.0.0.1:1", "a@far.example")
    queue_id = first["queue_id"]
    assert "refused" in run(people, "queue", "list", "--domain", "far.example").lower()
    assert "nothing to show" in run(people, "queue", "list", "--domain", "nowhere.example")
    assert "nothing to change" in run(people, "queue", "retry", "--domain", "nowhere.example")
    assert run(people, "queue", "hold", queue_id) == "2 copies are held\n"
    assert [copy["state"] for copy in run_json(people, "queue", "show", queue_id)] == ["held", "held"]
    assert "2 copies" in run(people, "queue", "release", queue_id)
    wait_copies(people, lambda copy: copy["attempts"] == 2)
    assert run(people, "queue", "cancel", queue_id, "--domain", "far.example") == "1 copy was cancelled\n"
    status, done = client.ask("POST", "/api/v1/queue/actions", {"action": "bounce", "queue_id": queue_id})
    assert (status, done) == (200, {"changed": 1, "busy": 0, "dry_run": False})
    text = run(people, "trace", queue_id)
    assert "for a@far.example: cancelled, tried 2 times" in text
    assert "for b@near.example: failed" in text
    types = [event["type"] for event in run_json(people, "trace", queue_id)["story"]]
    assert types[0] == "received"
    assert {"queued", "deferred", "relay_failure"} <= set(types)
    assert "b@near.example" in wait_dsn(people)


def wait_copies(platform: Platform, wanted: Callable[[Any], bool]) -> list[Any]:
    """The copies of waits.example's message once all are as wanted and at rest."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        entries = run_json(platform, "queue", "list")["entries"]
        copies = [copy for copy in entries if copy["reverse_path"] == "kim@waits.example"]
        if len(copies) == 2 and all(map(wanted, copies)):
            return copies
        time.sleep(0.1)
    raise AssertionError(copies)


def wait_dsn(platform: Platform) -> str:
    """The first message of kim@waits.example: a DSN."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=20) as imap:
        imap.login("kim@waits.example", PASSWORD)
        while imap.select("INBOX", readonly=True)[1] == [b"0"] and time.monotonic() < deadline:
            time.sleep(0.1)
        answer: Any = imap.fetch("1", "(BODY.PEEK[])")[1]
        return bytes(answer[0][1]).decode()


def test_what_a_domain_needs_in_dns(people: Platform) -> None:
    records = run_json(people, "domain", "dns", DOMAIN)["records"]
    assert {"MX", "TXT"} <= {record["type"] for record in records}
    zone = run(people, "domain", "dns", DOMAIN, "--zone")
    assert "MX" in zone
    assert "v=DKIM1" in zone


def test_no_route_answers_hostile_input_with_a_fault(people: Platform, client: Client) -> None:
    document = client.ask("GET", "/api/v1/openapi.json")[1]
    faults = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path.endswith("/status"):
                continue
            for target, body in hostile_requests(path, operation):
                status, answer = client.ask(method.upper(), target, body)
                if status >= 500:
                    faults.append(f"{method} {target[:200]} {(body or b'')[:80]!r}: {answer}")
                assert status < 400 or answer["status"] == status
    assert faults == []


def hostile_requests(path: str, operation: Any) -> Iterator[tuple[str, bytes | None]]:
    """Targets and bodies: each name, each parameter, each body is once hostile."""
    plain = path.replace("{name}", "nobody").replace("{address}", f"nobody@{DOMAIN}").replace("{queue_id}", "0" * 26)
    sane = b'{"mailbox": "nobody@people.example", "action": "retry", "queue_id": "00000000000000000000000000"}'
    body = sane if "requestBody" in operation else None
    if "{" in path:
        for name in HOSTILE_NAMES:
            yield path.replace("{name}", name).replace("{address}", name).replace("{queue_id}", name), body
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query" and parameter["name"] != "compare":
            for text in HOSTILE_TEXTS:
                yield f"{plain}?{urllib.parse.urlencode({parameter['name']: text})}", body
    if body is not None:
        for octets in HOSTILE_BODIES:
            yield plain, octets
