"""Sign-ins and bearer tokens with Canaille, a foreign identity provider: browser, code, PKCE, keys, introspection."""

import contextlib
import http.cookiejar
import imaplib
import ipaddress
import json
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from postbus.contracts.identity_provider import IdentityProvider
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import DnsResolver
from postbus.runtime.http_client import HttpClient
from postbus.runtime.sealing import Sealer
from postbus.testing.installation import CLIENT_SECONDS, Platform, noop_until, postbus, short_folder, start_platform
from postbusd.directory.adapters.provider_http import ProviderHttp
from postbusd.directory.oidc.ports import StoredProvider
from postbusd.directory.oidc.relying_party import SECRET_OWNER, Bearer, RelyingParty, challenge_of

CLIENT, OTHER, SECRET, PASSWORD = "postbus", "stranger", "s3cret-of-a-client", "a pass phrase"
KIM, STRANGER = "kim@demo.example", "eve@demo.example"
CALLBACK = "http://127.0.0.1:9/callback"
VERIFIER = "v" * 64
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


class Canaille:
    """The provider in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.issuer = f"http://127.0.0.1:{port}"

    def tell(self, what: str) -> None:
        """A line for it; waits until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() in ("ready", "done")

    def sign_in(self, url: str, username: str = KIM) -> dict[str, str]:
        """A person in a browser: what comes back to the redirect_uri."""
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        browser = urllib.request.build_opener(jar, NoRedirects)
        for _ in range(10):
            location, page = self._visit(browser, url, None)
            if not location:
                fields = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
                fields |= {name: username for name in ("login", "username") if f'name="{name}"' in page}
                fields |= {"password": PASSWORD} if 'name="password"' in page else {}
                location, page = self._visit(browser, url, fields)
                assert location, page[:500]
            url = urllib.parse.urljoin(url, location)
            if url.startswith(CALLBACK):
                return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        raise AssertionError(f"it does not come back from {url}")

    def access_token(self, client: str = CLIENT, username: str = KIM) -> str:
        """Of another program that this person has signed in to."""
        query = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": CALLBACK,
            "scope": "openid profile",
            "state": "x",
            "nonce": "y",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        found = self.sign_in(f"{self.issuer}/oauth/authorize?{urllib.parse.urlencode(query)}", username)
        form = {
            "grant_type": "authorization_code",
            "code": found["code"],
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
        manager.add_password(None, self.issuer, client, SECRET, is_authenticated=True)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
        body = urllib.parse.urlencode(form).encode()
        with opener.open(f"{self.issuer}/oauth/token", body, timeout=CLIENT_SECONDS) as answer:
            return str(json.load(answer)["access_token"])

    @staticmethod
    def _visit(browser: urllib.request.OpenerDirector, url: str, form: dict[str, str] | None) -> tuple[str, str]:
        body = urllib.parse.urlencode(form).encode() if form is not None else None
        try:
            with browser.open(url, body, timeout=CLIENT_SECONDS) as answer:
                return "", answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.headers.get("Location", ""), error.read().decode()


@pytest.fixture(scope="module")
def canaille() -> Iterator[Canaille]:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("canaille_server.py")), str(port)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            found = Canaille(process, port)
            settings = {
                "users": [KIM, STRANGER],
                "password": PASSWORD,
                "clients": [CLIENT, OTHER],
                "secret": SECRET,
                "redirect_uris": [CALLBACK],
            }
            found.tell(json.dumps(settings))
            yield found
        finally:
            process.kill()


@pytest.fixture(scope="module")
def site(canaille: Canaille) -> Iterator[Platform]:
    """An installation that knows the provider."""
    with short_folder() as folder:
        platform = start_platform(folder, environment={"POSTBUS_DIRECTORY_PROVIDER_EGRESS_ALLOW": "127.0.0.0/8"})
        try:
            platform.administer(f"mailboxes/{KIM}", {"password": PASSWORD})
            settings = ("--issuer", canaille.issuer, "--client-id", CLIENT, "--redirect-uri", CALLBACK)
            postbus("identity-provider", "set", *settings, "--data-dir", str(folder))
            body = {
                "issuer": canaille.issuer,
                "client_id": CLIENT,
                "client_secret": SECRET,
                "redirect_uris": [CALLBACK],
            }
            assert platform.administer("identity-provider", body)["has_secret"]
            yield platform
        finally:
            postbus("down", "--data-dir", str(folder))


def ask(site: Platform, method: str, path: str, body: dict[str, str] | None = None, token: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{site.admin_url}/api/v1/{path}",
        json.dumps(body).encode() if body is not None else None,
        {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
        method=method,
    )
    context = ssl.create_default_context(cafile=site.ca_file)
    try:
        with urllib.request.urlopen(request, timeout=CLIENT_SECONDS, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def come_back(site: Platform, canaille: Canaille, username: str = KIM) -> tuple[int, Any]:
    status, begun = ask(site, "POST", "session/provider", {"redirect_uri": CALLBACK})
    assert status == 201, begun
    found = canaille.sign_in(begun["authorization_url"], username)
    assert found["state"] == begun["state"]
    return ask(site, "POST", "session/provider/code", {"state": found["state"], "code": found["code"]})


@contextlib.contextmanager
def reader(site: Platform) -> Iterator[imaplib.IMAP4_SSL]:
    """Not logged in."""
    with imaplib.IMAP4_SSL(site.host, site.port("imaps"), ssl_context=site.tls(), timeout=CLIENT_SECONDS) as client:
        yield client


def offered_by_imap(site: Platform) -> str:
    with reader(site) as client:
        return " ".join(client.capabilities)


def offered_by_submission(site: Platform) -> str:
    with smtplib.SMTP_SSL(site.host, site.port("submissions"), timeout=CLIENT_SECONDS, context=site.tls()) as sender:
        sender.ehlo()
        return sender.esmtp_features["auth"]


def test_mail_programs_log_in_with_the_providers_tokens(site: Platform, canaille: Canaille) -> None:
    deadline = time.monotonic() + CLIENT_SECONDS
    for offered in (offered_by_imap, offered_by_submission):
        while "OAUTHBEARER" not in offered(site):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    token = canaille.access_token()
    by_xoauth2 = f"user={KIM}\x01auth=Bearer {token}\x01\x01"
    by_bearer = f"n,a={KIM},\x01auth=Bearer {token}\x01\x01"
    with smtplib.SMTP_SSL(site.host, site.port("submissions"), timeout=CLIENT_SECONDS, context=site.tls()) as sender:
        sender.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            sender.auth("XOAUTH2", lambda challenge=None: "" if challenge else by_xoauth2.replace(token, token[:-5]))
        assert refused.value.smtp_code == 535
        assert sender.auth("OAUTHBEARER", lambda challenge=None: by_bearer)[0] == 235
        sender.sendmail(KIM, [KIM], f"From: {KIM}\r\nSubject: by token\r\n\r\nx\r\n")
    cut = by_bearer.replace(token, token[:-5]).encode()
    with reader(site) as client, pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        client.authenticate("OAUTHBEARER", lambda challenge: b"\x01" if challenge else cut)
    other = f"user={STRANGER}\x01auth=Bearer {token}\x01\x01".encode()
    with reader(site) as client, pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        client.authenticate("XOAUTH2", lambda challenge: b"" if challenge else other)
    with reader(site) as client:
        client.authenticate("XOAUTH2", lambda challenge: by_xoauth2.encode())
        while True:
            client.select("INBOX")
            if client.search(None, "SUBJECT", '"by token"')[1][0]:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        ask(site, "PUT", f"users/{KIM}", {"active": False}, token=site.admin_token)  # type: ignore[dict-item]
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            noop_until(client, deadline)
    ask(site, "PUT", f"users/{KIM}", {"active": True}, token=site.admin_token)  # type: ignore[dict-item]


def test_a_person_signs_in_also_after_the_provider_has_other_keys(site: Platform, canaille: Canaille) -> None:
    for change in ("rotate", "expire"):
        status, begun = come_back(site, canaille)
        assert (status, begun["username"], begun["method"]) == (201, KIM, "identity_provider"), begun
        status, me = ask(site, "GET", "me", token=begun["token"])
        assert (status, me["actor"], me["mailboxes"]) == (200, KIM, [KIM])
        canaille.tell(change)
    status, problem = come_back(site, canaille, STRANGER)
    assert (status, problem["code"]) == (403, "forbidden")
    assert STRANGER in problem["detail"]


def test_a_code_is_for_one_sign_in(site: Platform, canaille: Canaille) -> None:
    first = ask(site, "POST", "session/provider", {"redirect_uri": CALLBACK})[1]
    second = ask(site, "POST", "session/provider", {"redirect_uri": CALLBACK})[1]
    found = canaille.sign_in(first["authorization_url"])
    status, problem = ask(site, "POST", "session/provider/code", {"state": second["state"], "code": found["code"]})
    assert (status, problem["field"]) == (401, "code")


def test_sessions_end_with_the_provider(site: Platform, canaille: Canaille) -> None:
    token = come_back(site, canaille)[1]["token"]
    before = ask(site, "GET", "identity-provider", token=site.admin_token)[1]
    postbus("identity-provider", "delete", "--data-dir", str(site.data_dir))
    assert ask(site, "GET", "me", token=token)[0] == 401
    assert ask(site, "POST", "session/provider", {"redirect_uri": CALLBACK})[0] == 404
    body = {name: value for name, value in before.items() if name != "has_secret"}
    site.administer("identity-provider", {**body, "client_secret": SECRET})


class Settings:
    """A ProviderReader."""

    def __init__(self, issuer: str, sealer: Sealer, client_id: str = CLIENT) -> None:
        self.stored = StoredProvider(
            provider=IdentityProvider(issuer=issuer, client_id=client_id),
            secret_sealed=sealer.seal(SECRET.encode(), SECRET_OWNER),
        )

    async def load_identity_provider(self) -> StoredProvider:
        return self.stored


def make_party(issuer: str, client_id: str = CLIENT) -> tuple[RelyingParty, HttpClient]:
    clock, sealer = SystemClock(), Sealer(bytes(32))
    tls = ssl.create_default_context()
    client = HttpClient(DnsResolver(), LOOPBACK, tls, agent="postbus/test", setting="PROVIDER_EGRESS_ALLOW")
    return RelyingParty(Settings(issuer, sealer, client_id), ProviderHttp(client), sealer, clock), client


@pytest.fixture
async def party(canaille: Canaille) -> AsyncIterator[RelyingParty]:
    party, client = make_party(canaille.issuer)
    yield party
    await client.close()


async def refusal(party: RelyingParty, token: str) -> str:
    with pytest.raises(MailError) as caught:
        await party.check(token)
    assert caught.value.kind is ErrorKind.UNAUTHENTICATED
    return caught.value.detail


async def test_a_signed_access_token_is_of_the_provider_for_us_and_now(canaille: Canaille, party: RelyingParty) -> None:
    token = canaille.access_token()
    bearer = await party.check(token)
    assert isinstance(bearer, Bearer)
    assert bearer.username == KIM
    assert bearer.expires_ms is not None
    assert await refusal(party, canaille.access_token(OTHER)) == "token: is for another audience"
    canaille.tell("past")
    assert await refusal(party, canaille.access_token()) == "token: has expired"
    canaille.tell("present")
    canaille.tell("rotate")
    assert (await party.check(canaille.access_token())).username == KIM
    assert await refusal(party, token) == "token: is signed by none of the provider's keys"


async def test_an_opaque_access_token_is_introspected_until_it_ends(canaille: Canaille, party: RelyingParty) -> None:
    canaille.tell("opaque")
    token = canaille.access_token()
    assert "." not in token
    assert (await party.check(token)).username == KIM
    assert await refusal(party, token[:-1]) == "token: is not active"
    assert await refusal(party, canaille.access_token(OTHER)) == "token: is not active"
    canaille.tell("expire")
    assert await refusal(party, token) == "token: is not active"


async def test_what_is_no_provider_is_unavailable(canaille: Canaille) -> None:
    for issuer, told in (
        (f"{canaille.issuer}/nowhere", "HTTP 404"),
        ("http://127.0.0.1:9", "Connect call failed"),
        ("http://192.0.2.1", "http to 192.0.2.1 is not allowed"),
        ("https://10.0.0.1", "https to 10.0.0.1 is not allowed"),
        (f"{canaille.issuer}/", "its configuration is of another issuer"),
    ):
        party, client = make_party(issuer)
        with pytest.raises(MailError) as caught:
            await party.check("opaque")
        await client.close()
        assert caught.value.kind is ErrorKind.UNAVAILABLE
        assert told in caught.value.detail
