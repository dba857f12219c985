"""The administrator's API of a running installation, from outside."""

import http.client
import imaplib
import json
import time
import urllib.parse
from typing import Any

import pytest

from postbus.testing.installation import Platform

PASSWORD = "a new password"


class Api:
    """Requests with or without the token."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def ask(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, str, Any]:
        """Status, media type and decoded answer."""
        url = urllib.parse.urlsplit(self.platform.admin_url)
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=20, context=self.platform.tls())
        headers = {"Authorization": f"Bearer {self.platform.admin_token if token is None else token}"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            media_type = answer.headers.get_content_type()
            return answer.status, media_type, json.loads(text) if "json" in media_type else text
        finally:
            connection.close()


@pytest.fixture(scope="module")
def api(platform: Platform) -> Api:
    return Api(platform)


@pytest.mark.parametrize("token", ["", "x" * 40])
def test_without_the_token_nothing_is_told(api: Api, token: str) -> None:
    for path in ("/api/v1/status", "/api/v1/domains", "/api/v1/mailboxes", "/api/v1/events"):
        status, media_type, problem = api.ask("GET", path, token=token)
        assert (status, media_type, problem["code"]) == (401, "application/problem+json", "unauthenticated")


def test_a_new_mailbox_on_a_new_domain_logs_in_over_imap(api: Api) -> None:
    assert api.ask("PUT", "/api/v1/domains/api.example", {"incoming": True})[0] == 201
    status, _, mailbox = api.ask("PUT", "/api/v1/mailboxes/Kim@api.example", {"password": PASSWORD})
    assert (status, mailbox["address"]) == (201, "kim@api.example")
    listed = api.ask("GET", "/api/v1/mailboxes?domain=api.example")[2]["mailboxes"]
    assert [each["address"] for each in listed] == ["kim@api.example"]
    assert _log_in(api.platform, PASSWORD) == "OK"
    assert api.ask("PUT", "/api/v1/mailboxes/kim@api.example", {"active": False})[0] == 200
    with pytest.raises(imaplib.IMAP4.error):
        _log_in(api.platform, PASSWORD)
    assert api.ask("PUT", "/api/v1/mailboxes/kim@api.example", {"password": "another one"})[0] == 200
    with pytest.raises(imaplib.IMAP4.error):
        _log_in(api.platform, PASSWORD)
    assert _log_in(api.platform, "another one") == "OK"


def test_changes_stand_in_the_event_log(api: Api) -> None:
    api.ask("PUT", "/api/v1/domains/events.example", {"incoming": False})
    api.ask("PUT", "/api/v1/domains/events.example", {"incoming": True})
    for _ in range(100):
        events = api.ask("GET", "/api/v1/events?type=configuration&limit=1000")[2]["events"]
        found = [each["detail"].partition(",")[0] for each in events if each["domain"] == "events.example"]
        if len(found) == 2:
            break
        time.sleep(0.1)
    assert found == ["incoming=off", "incoming=on"]


def test_refusals_are_problems_with_a_field(api: Api) -> None:
    for method, path, body, expected in (
        ("PUT", "/api/v1/mailboxes/a+b@api.example", {"password": PASSWORD}, (400, "invalid", "address")),
        ("PUT", "/api/v1/mailboxes/a@nowhere.example", {"password": PASSWORD}, (404, "not_found", "address")),
        ("PUT", "/api/v1/domains/api.example", {"incomming": True}, (400, "invalid", "incomming")),
        ("GET", "/api/v1/messages/00000000000000000000000000", None, (404, "not_found", None)),
        ("GET", "/api/v1/nothing", None, (404, "not_found", None)),
    ):
        status, media_type, problem = api.ask(method, path, body)
        assert media_type == "application/problem+json"
        assert (status, problem["code"]) == expected[:2]
        assert expected[2] in (None, problem["field"])


def test_every_part_is_well(api: Api) -> None:
    _, _, status = api.ask("GET", "/api/v1/status")
    assert [part for part in status["parts"] if not part["ok"]] == []
    assert {part["name"] for part in status["parts"]} >= {"database", "bus", "directory", "delivery", "indexer"}


def test_public_routes_need_no_token(api: Api) -> None:
    assert api.ask("GET", "/api/v1/ca.pem", token="")[2].startswith(b"-----BEGIN CERTIFICATE-----")
    assert api.ask("GET", "/api/v1/healthz", token="")[2] == {"ok": True}
    assert api.ask("GET", "/api/v1/openapi.json", token="")[2]["openapi"].startswith("3.1")
    assert b"docs.js" in api.ask("GET", "/api/v1/docs", token="")[2]


def _log_in(platform: Platform, password: str) -> str:
    with imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls()) as imap:
        return imap.login("kim@api.example", password)[0]
