"""Users sign in, see and end their sessions; the second factor through the API."""

import asyncio
import base64
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.contracts.app_passwords import Access
from postbus.contracts.events import EventType
from postbus.testing.admin_api import make_event
from postbus.testing.admin_rest import FakeInstallation, RestClient
from postbus.testing.identity_provider import CLIENT_ID, CLIENT_SECRET, ISSUER, REDIRECT
from postbusd.admin_api.sessions import MAX_SESSIONS, TOUCH_MS
from postbusd.directory.totp import STEP_SECONDS, code_of, step_at

KIM, PASSWORD, NEW = "kim@demo.example", "a pass phrase", "another pass phrase"
SESSION, MINE = "/api/v1/session", "/api/v1/me/sessions"
FACTOR = "/api/v1/me/second-factor"
HOUR = 3600


@pytest.fixture
def client(http: TestClient[Litestar]) -> RestClient:
    client = RestClient(FakeInstallation(), http)
    client.ask("PUT", "/api/v1/domains/demo.example", json={"incoming": True})
    assert client.ask("PUT", f"/api/v1/mailboxes/{KIM}", json={"password": PASSWORD})[0] == 201
    return client


def sign_in(client: RestClient, password: str = PASSWORD, **fields: str) -> tuple[int, Any]:
    body = {"username": KIM, "password": password, **fields}
    return client.ask("POST", SESSION, token=None, json=body, headers={"User-Agent": "a\tbrowser"})


def begin(client: RestClient, password: str = PASSWORD, **fields: str) -> str:
    status, begun = sign_in(client, password, **fields)
    assert status == 201, begun
    return str(begun["token"])


def advance(client: RestClient, seconds: float) -> None:
    client.installation.clock.advance(seconds)
    client.installation.directory.clock.advance(seconds)


def me(client: RestClient, token: str) -> int:
    return client.ask("GET", "/api/v1/me", token=token)[0]


def events(client: RestClient, kind: str) -> list[tuple[str, str, str]]:
    found = client.ask("GET", f"/api/v1/events?type={kind}")[1]["events"]
    return [(each["summary"], each["mailbox"], each["detail"]) for each in found]


def test_a_session_is_begun_seen_and_ended(client: RestClient) -> None:
    status, begun = sign_in(client)
    assert status == 201
    assert (begun["username"], begun["method"], begun["scopes"], begun["current"]) == (KIM, "password", ["admin"], True)
    token = begun["token"]
    assert token.startswith("postbus_session_")
    shown = client.ask("GET", "/api/v1/me", token=token)[1]
    assert (shown["actor"], shown["token_name"], shown["mailboxes"]) == (KIM, "session", [KIM])
    other = begin(client)
    listed = client.ask("GET", MINE, token=token)[1]["sessions"]
    assert [(each["current"], each["user_agent"]) for each in listed] == [(True, "abrowser"), (False, "abrowser")]
    assert token not in str(listed)
    assert client.ask("DELETE", f"{MINE}/{listed[1]['session_id']}", token=token)[0] == 200
    assert client.ask("DELETE", f"{MINE}/{listed[1]['session_id']}", token=token)[0] == 404
    assert (me(client, other), me(client, token)) == (401, 200)
    assert client.ask("DELETE", SESSION, token=token) == (200, {"deleted": [f"session of {KIM}"], "dry_run": False})
    assert me(client, token) == 401
    assert client.refusal("DELETE", SESSION) == (409, "conflict", None)
    assert client.ask("GET", MINE) == (200, {"sessions": []})
    assert events(client, "login") == [(f"{KIM} signed in to the API", KIM, "password")] * 2
    audited = client.ask("GET", "/api/v1/audit")[1]
    assert listed[0]["session_id"] in str(audited)
    assert token not in str(audited)


def test_who_is_refused_is_told_and_counted(client: RestClient) -> None:
    for fields in ({"password": "wrong"}, {"username": "nobody"}, {"username": "a\u0007b"}):
        body = {"username": KIM, "password": PASSWORD, **fields}
        assert client.refusal("POST", SESSION, token=None, json=body) == (401, "unauthenticated", None)
    for body in ({}, {"username": KIM}, {"username": "", "password": "x"}, {"username": KIM, "password": "x" * 1025}):
        assert client.ask("POST", SESSION, token=None, json=body)[0] == 400
    told = events(client, "login_failed")
    assert [each[0] for each in told] == [
        f"{KIM} failed to sign in to the API",
        "nobody failed to sign in to the API",
        "somebody failed to sign in to the API",
    ]
    registry = client.installation.registry
    assert registry.get_sample_value("postbus_admin_api_sign_ins_total", {"result": "refused"}) == 3
    for number in range(6):
        sign_in(client, f"guess {number}")
    answer = client.http.post(SESSION, json={"username": KIM, "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) > 0
    client.ask("PATCH", f"/api/v1/users/{KIM}", json={"active": False})
    advance(client, HOUR)
    assert sign_in(client)[1]["code"] == "inactive"


def test_a_session_ends_with_the_password_unused_and_after_its_time(client: RestClient) -> None:
    first, second = begin(client), begin(client)
    body = {"current_password": PASSWORD, "new_password": NEW}
    assert client.ask("PUT", "/api/v1/me/password", token=first, json=body)[0] == 200
    assert (me(client, first), me(client, second)) == (401, 401)
    token = begin(client, NEW)
    for _ in range(60):
        advance(client, 11 * HOUR)
        assert me(client, token) == 200
    advance(client, 13 * HOUR)
    assert me(client, token) == 401
    token = begin(client, NEW)
    for _ in range(30 * 24 // 10):
        assert me(client, token) == 200
        advance(client, 10 * HOUR)
    assert me(client, token) == 401
    assert client.ask("GET", MINE, token=begin(client, NEW))[1]["sessions"][0]["current"]
    token = begin(client, NEW)
    client.ask("PATCH", f"/api/v1/users/{KIM}", json={"active": False})
    assert me(client, token) == 401


def test_a_session_that_is_used_is_written_now_and_then(client: RestClient) -> None:
    token = begin(client)
    begun_ms = client.installation.clock.now_ms()
    for _ in range(3):
        assert me(client, token) == 200
    advance(client, TOUCH_MS / 1000)
    assert me(client, token) == 200
    used_ms = client.ask("GET", MINE, token=token)[1]["sessions"][0]["last_used_ms"]
    assert used_ms == begun_ms + TOUCH_MS


def test_a_user_has_so_many_sessions(client: RestClient) -> None:
    first = begin(client)
    for _ in range(MAX_SESSIONS):
        advance(client, 60)
        last = begin(client)
    assert (me(client, first), me(client, last)) == (401, 200)
    assert len(client.ask("GET", MINE, token=last)[1]["sessions"]) == MAX_SESSIONS


def test_a_damaged_or_unknown_session_is_none(client: RestClient) -> None:
    token = begin(client)
    for text in (
        token[:-1],
        token + "x",
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        "postbus_session_" + "x" * 900,
    ):
        assert me(client, text) == 401


def test_a_session_makes_tokens_that_outlive_it(client: RestClient) -> None:
    token = begin(client)
    status, made = client.ask("POST", "/api/v1/tokens", token=token, json={"name": "mine", "scopes": ["read"]})
    assert (status, made["actor"], made["expires_ms"]) == (201, KIM, None)
    assert client.ask("GET", "/api/v1/tokens", token=token)[1]["tokens"][0]["name"] == "mine"


def test_an_app_password_signs_in_for_less(client: RestClient) -> None:
    path = f"/api/v1/users/{KIM}/app-passwords"
    secrets = {}
    for scope in (Access.API, Access.IMAP):
        secrets[scope] = client.ask("POST", path, json={"name": scope, "scopes": [scope]})[1]["secret"]
    assert sign_in(client, secrets[Access.IMAP])[0] == 401
    token = begin(client, secrets[Access.API])
    assert me(client, token) == 200
    for method, other, body in (
        ("POST", path, {"name": "more", "scopes": ["imap"]}),
        ("POST", "/api/v1/tokens", {"name": "more", "scopes": ["read"]}),
        ("PUT", "/api/v1/me/password", {"current_password": PASSWORD, "new_password": NEW}),
        ("POST", FACTOR, {"current_password": PASSWORD}),
    ):
        assert client.refusal(method, other, token=token, json=body) == (403, "forbidden", None)
    assert client.ask("DELETE", f"{path}/api")[0] == 200
    assert me(client, token) == 401


def test_a_second_factor_is_switched_on_used_and_off(client: RestClient) -> None:
    token = begin(client)
    assert client.ask("GET", FACTOR, token=token)[1] == {"on": False, "since_ms": None, "recovery_codes": 0}
    wrong = {"current_password": "wrong"}
    assert client.refusal("POST", FACTOR, token=token, json=wrong) == (403, "forbidden", "current_password")
    right = {"current_password": PASSWORD}
    status, made = client.ask("POST", FACTOR, token=token, json=right)
    assert status == 201
    secret = base64.b32decode(made["secret"])

    def code() -> str:
        return code_of(secret, step_at(client.installation.directory.clock.now_ms()))

    assert client.refusal("PUT", FACTOR, token=token, json={"code": "x"}) == (403, "forbidden", "code")
    status, answer = client.ask("PUT", FACTOR, token=token, json={"code": code()})
    assert status == 200
    assert sign_in(client)[1]["field"] == "code"
    assert sign_in(client, code="000000")[0] == 401
    advance(client, STEP_SECONDS)
    second = begin(client, code=code())
    begin(client, code=answer["recovery_codes"][0])
    shown = client.ask("GET", FACTOR, token=second)[1]
    assert (shown["on"], shown["recovery_codes"]) == (True, len(answer["recovery_codes"]) - 1)
    audited = str(client.ask("GET", "/api/v1/audit")[1])
    for told in (made["secret"], made["otpauth_uri"], *answer["recovery_codes"], PASSWORD):
        assert told not in audited
    assert client.ask("POST", f"{FACTOR}/remove", token=second, json=wrong)[0] == 403
    assert client.ask("POST", f"{FACTOR}/remove", token=second, json=right)[0] == 200
    assert client.ask("POST", f"{FACTOR}/remove", token=second, json=right)[0] == 404
    assert client.ask("POST", f"{FACTOR}/remove", json=right)[0] == 403
    begin(client)


def test_an_administrator_ends_the_second_factor_of_others(client: RestClient) -> None:
    token, path = begin(client), f"/api/v1/users/{KIM}/second-factor"
    assert client.refusal("DELETE", path) == (404, "not_found", "username")
    secret = base64.b32decode(client.ask("POST", FACTOR, token=token, json={"current_password": PASSWORD})[1]["secret"])
    code = code_of(secret, step_at(client.installation.directory.clock.now_ms()))
    client.ask("PUT", FACTOR, token=token, json={"code": code})
    assert client.ask("GET", path)[1]["on"]
    assert client.refusal("DELETE", path, token=token) == (403, "forbidden", "current_password")
    assert client.ask("DELETE", f"{path}?dry_run=true")[1]["dry_run"]
    assert client.ask("DELETE", path)[1]["deleted"] == [f"second factor of user {KIM}"]
    assert not client.ask("GET", path)[1]["on"]


RESET = "/api/v1/password-reset"


def ask_reset(client: RestClient, username: str = KIM) -> tuple[int, Any]:
    answer = client.ask("POST", RESET, token=None, json={"username": username})
    client.installation.settle()
    return answer


def results(client: RestClient) -> list[float | None]:
    name, registry = "postbus_admin_api_password_resets_total", client.installation.registry
    return [registry.get_sample_value(name, {"result": result}) for result in ("sent", "nobody", "failed")]


def test_a_forgotten_password_is_reset_by_the_recovery_address(client: RestClient) -> None:
    client.ask("PATCH", f"/api/v1/users/{KIM}", json={"recovery_address": "kim@else.example"})
    token = begin(client)
    answers = [ask_reset(client, username) for username in (KIM, "nobody", KIM)]
    assert answers == [(202, {"valid_seconds": 3600})] * 3
    (sent,) = client.installation.notices.sent
    assert sent.recipient == "kim@else.example"
    assert results(client) == [1, 2, 0]
    code = next(line.strip() for line in sent.text.splitlines() if line.startswith("    "))
    wrong = {"code": "x", "new_password": NEW}
    assert client.refusal("PUT", RESET, token=None, json=wrong) == (401, "unauthenticated", "code")
    short = {"code": code, "new_password": "x"}
    assert client.refusal("PUT", RESET, token=None, json=short) == (400, "invalid", "new_password")
    body = {"code": code, "new_password": NEW}
    assert client.ask("PUT", RESET, token=None, json=body) == (200, {"username": KIM})
    assert client.ask("PUT", RESET, token=None, json=body)[0] == 401
    assert me(client, token) == 401
    begin(client, NEW)
    told = client.ask("GET", f"/api/v1/events?mailbox={KIM}")[1]["events"]
    assert f"password reset of user {KIM} asked for" in [each["summary"] for each in told]
    assert code not in str(told)


def test_a_code_that_can_not_be_sent_is_counted_and_told_to_nobody(client: RestClient) -> None:
    client.ask("PATCH", f"/api/v1/users/{KIM}", json={"recovery_address": "kim@else.example"})
    client.installation.notices.away = True
    assert ask_reset(client)[0] == 202
    assert results(client) == [0, 0, 1]


PROVIDER = "/api/v1/identity-provider"
SETTINGS = {
    "issuer": ISSUER,
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "redirect_uris": [REDIRECT],
    "audiences": ["mail"],
}


def test_the_identity_provider_is_set_planned_and_removed(client: RestClient) -> None:
    assert client.ask("GET", PROVIDER)[0] == 404
    assert client.ask("DELETE", PROVIDER)[0] == 404
    plan = client.ask("PUT", f"{PROVIDER}?plan=true", json=SETTINGS)[1]
    assert (plan["action"], "client_secret" in plan["changes"]) == ("create", True)
    assert client.ask("GET", PROVIDER)[0] == 404
    assert client.ask("PUT", PROVIDER, json=SETTINGS)[0] == 201
    answer = client.http.get(PROVIDER, headers={"Authorization": f"Bearer {client.token}"})
    shown, etag = answer.json(), answer.headers["etag"]
    assert (shown["has_secret"], shown["username_claim"]) == (True, "preferred_username")
    assert CLIENT_SECRET not in answer.text
    kept = {name: value for name, value in SETTINGS.items() if name != "client_secret"}
    assert client.ask("PUT", PROVIDER, json=kept, headers={"If-Match": etag}) == (200, shown)
    assert client.ask("PUT", PROVIDER, json=kept, headers={"If-Match": '"x"'})[0] == 412
    assert client.refusal("PUT", PROVIDER, json={**kept, "issuer": "x"}) == (400, "invalid", "issuer")
    assert CLIENT_SECRET not in str(client.ask("GET", "/api/v1/audit")[1])
    gone = [f"identity provider {ISSUER}"]
    assert client.ask("DELETE", f"{PROVIDER}?dry_run=true")[1] == {"deleted": gone, "dry_run": True}
    assert client.ask("DELETE", PROVIDER)[1] == {"deleted": gone, "dry_run": False}
    assert client.ask("GET", PROVIDER)[0] == 404


def test_a_user_signs_in_by_the_identity_provider(client: RestClient) -> None:
    body = {"redirect_uri": REDIRECT}
    assert client.ask("POST", f"{SESSION}/provider", token=None, json=body)[0] == 404
    client.ask("PUT", PROVIDER, json=SETTINGS)
    other = {"redirect_uri": "https://evil.example/"}
    refusal = client.refusal("POST", f"{SESSION}/provider", token=None, json=other)
    assert refusal == (403, "forbidden", "redirect_uri")
    provider = client.installation.directory.provider

    def come_back(claimed: str) -> tuple[int, Any]:
        begun = client.ask("POST", f"{SESSION}/provider", token=None, json=body)[1]
        code, state = provider.sign_in(begun["authorization_url"], preferred_username=claimed)
        assert state == begun["state"]
        return client.ask("POST", f"{SESSION}/provider/code", token=None, json={"code": code, "state": state})

    status, begun = come_back(KIM)
    assert (status, begun["username"], begun["method"]) == (201, KIM, "identity_provider")
    assert me(client, begun["token"]) == 200
    assert come_back("nobody")[0] == 403
    wrong = {"code": "x", "state": "x"}
    assert client.refusal("POST", f"{SESSION}/provider/code", token=None, json=wrong) == (
        401,
        "unauthenticated",
        "state",
    )
    assert len(events(client, "login_failed")) == 2
    client.ask("DELETE", PROVIDER)
    assert me(client, begun["token"]) == 401


def test_recent_logins_are_the_own_ones(client: RestClient) -> None:
    at_imap = make_event(1, EventType.LOGIN_FAILED)
    others = msgspec.structs.replace(make_event(2, EventType.LOGIN), mailbox="lee@demo.example")
    mine = msgspec.structs.replace(at_imap, mailbox=KIM, service="imap-gateway")
    asyncio.run(client.installation.store.add_events([mine, others, make_event(3)]))
    token = begin(client)
    found = client.ask("GET", "/api/v1/me/logins", token=token)[1]["logins"]
    assert [(each["succeeded"], each["account"], each["service"]) for each in found] == [
        (True, KIM, "admin-api"),
        (False, KIM, "imap-gateway"),
    ]
    assert len(client.ask("GET", "/api/v1/me/logins?limit=1", token=token)[1]["logins"]) == 1
    assert client.ask("GET", "/api/v1/me/logins")[1]["logins"] == []


def test_nobody_inherits_the_session_of_a_former_user(client: RestClient) -> None:
    """By the identity provider too, whose proof a new user of the same name would have again."""
    client.ask("PUT", PROVIDER, json=SETTINGS)
    begun = client.ask("POST", f"{SESSION}/provider", token=None, json={"redirect_uri": REDIRECT})[1]
    provider = client.installation.directory.provider
    code, state = provider.sign_in(begun["authorization_url"], preferred_username=KIM)
    token = client.ask("POST", f"{SESSION}/provider/code", token=None, json={"code": code, "state": state})[1]["token"]
    path = f"/api/v1/mailboxes/{KIM}"
    assert f"user {KIM}" in client.ask("DELETE", path)[1]["deleted"]
    assert client.ask("PUT", path, json={"password": NEW})[0] == 201
    assert me(client, token) == 401
