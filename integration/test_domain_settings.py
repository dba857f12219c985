"""Alias domains, suspension, send-as and system addresses, as senders and readers of mail meet them."""

import contextlib
import email
import email.policy
import imaplib
import json
import os
import smtplib
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform, noop_until

PASSWORD = "a long pass phrase"
PATIENCE_SECONDS = 15.0


class Office(msgspec.Struct, frozen=True, kw_only=True):
    """A domain with two mailboxes."""

    platform: Platform
    word: str

    @property
    def domain(self) -> str:
        return f"own-{self.word}.example"

    def put(self, path: str, **body: object) -> dict[str, object]:
        return self.platform.administer(path, body)

    def get(self, path: str) -> Any:
        """What the API shows."""
        request = urllib.request.Request(
            f"{self.platform.admin_url}/api/v1/{path}", headers={"Authorization": f"Bearer {self.platform.admin_token}"}
        )
        with urllib.request.urlopen(request, timeout=CLIENT_SECONDS, context=self.platform.tls()) as answer:
            return json.load(answer)

    @contextlib.contextmanager
    def submission(self, name: str) -> Iterator[smtplib.SMTP]:
        """Logged in."""
        host, port = self.platform.host, self.platform.port("submissions")
        with smtplib.SMTP_SSL(host, port, timeout=CLIENT_SECONDS, context=self.platform.tls()) as client:
            client.login(f"{name}@{self.domain}", PASSWORD)
            yield client

    @contextlib.contextmanager
    def reader(self, name: str) -> Iterator[imaplib.IMAP4_SSL]:
        """Logged in; raises imaplib.IMAP4.error when that is refused."""
        port, tls = self.platform.port("imaps"), self.platform.tls()
        with imaplib.IMAP4_SSL(self.platform.host, port, ssl_context=tls, timeout=CLIENT_SECONDS) as client:
            client.login(f"{name}@{self.domain}", PASSWORD)
            yield client

    def rcpt(self, address: str, size: int = 0) -> tuple[int, str]:
        """The answer to a recipient from outside."""
        with smtplib.SMTP(self.platform.host, self.platform.port("smtp"), "client.example", CLIENT_SECONDS) as client:
            client.ehlo()
            client.mail("friend@example.org", [f"SIZE={size}"] if size else [])
            code, text = client.rcpt(address)
            return code, text.decode()

    def wait_rcpt(self, address: str, code: int) -> str:
        """Until all caches know."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found, text = self.rcpt(address)
            if found == code:
                return text
            assert time.monotonic() < deadline, (found, text)
            time.sleep(0.05)

    def wait_message(self, name: str, subject: str) -> bytes:
        """In INBOX."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self.reader(name) as client:
            while True:
                client.select("INBOX", readonly=True)
                numbers = client.search(None, "SUBJECT", subject)[1][0].split()
                if numbers:
                    found = client.fetch(numbers[0].decode(), "(BODY.PEEK[])")[1][0]
                    assert isinstance(found, tuple)
                    return bytes(found[1])
                assert time.monotonic() < deadline, subject
                time.sleep(0.05)


@pytest.fixture
def office(platform: Platform) -> Office:
    office = Office(platform=platform, word=os.urandom(4).hex())
    office.put(f"domains/{office.domain}", incoming=True)
    for name in ("kim", "lee"):
        office.put(f"mailboxes/{name}@{office.domain}", password=PASSWORD)
    return office


def letter(author: str, subject: str) -> bytes:
    return f"From: {author}\r\nTo: x@demo.example\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode()


def submit(client: smtplib.SMTP, author: str, forward_path: str, subject: str = "x") -> int:
    """The code of the first answer that is no yes, or of the last one."""
    for code, _ in (client.mail(author), client.rcpt(forward_path)):
        if code != 250:
            client.rset()
            return code
    return client.data(letter(author, subject))[0]


def test_an_alias_domain_means_the_same_names(office: Office) -> None:
    other = f"other-{office.word}.example"
    office.put(f"lists/team@{office.domain}", members=[f"kim@{office.domain}"])
    office.put(f"domains/{other}", incoming=True, alias_of=office.domain)
    subjects = {f"{name}-{office.word}": f"{name}@{other}" for name in ("kim", "lee+news", "team", "postmaster")}
    for subject, address in subjects.items():
        office.wait_rcpt(address, 250)
        office.platform.send(letter("friend@example.org", subject), address)
    for subject, reader in (("kim", "kim"), ("lee+news", "lee"), ("team", "kim")):
        office.wait_message(reader, f"{subject}-{office.word}")
    assert office.rcpt(f"nobody@{other}")[0] == 550
    with office.submission("kim") as client:
        assert submit(client, f"kim@{other}", f"lee@{office.domain}") == 250
        assert submit(client, f"lee@{other}", f"kim@{office.domain}") == 550
    with pytest.raises(urllib.error.HTTPError, match="409"):
        office.put(f"mailboxes/new@{other}", password=PASSWORD)


def test_a_suspended_domain_takes_nothing_and_lets_nobody_in(office: Office) -> None:
    kim = f"kim@{office.domain}"
    with office.submission("lee") as client:
        assert submit(client, f"lee@{office.domain}", kim, f"before-{office.word}") == 250
    office.wait_message("kim", f"before-{office.word}")
    with office.reader("kim") as open_one:
        office.put(f"domains/{office.domain}", incoming=True, suspended=True)
        assert office.wait_rcpt(kim, 550) == "5.2.1 this domain is suspended"
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            noop_until(open_one, time.monotonic() + PATIENCE_SECONDS)
    with pytest.raises(imaplib.IMAP4.error), office.reader("kim"):
        pass
    with pytest.raises(smtplib.SMTPAuthenticationError), office.submission("kim"):
        pass
    office.put(f"domains/{office.domain}", incoming=True)
    office.wait_rcpt(kim, 250)
    office.wait_message("kim", f"before-{office.word}")


def test_a_grant_lets_a_mailbox_send_as_others(office: Office) -> None:
    kim, lee = f"kim@{office.domain}", f"lee@{office.domain}"
    team = f"team@{office.domain}"
    office.put(f"lists/{team}", members=[lee])
    with office.submission("kim") as client:
        assert submit(client, lee, lee) == 550
        office.put(f"mailboxes/{kim}", send_as=[lee, team])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while submit(client, lee, lee, f"as-{office.word}") != 250:
            assert time.monotonic() < deadline
        assert submit(client, team, lee) == 250
        office.put(f"mailboxes/{kim}")
        while submit(client, lee, lee) != 550:
            assert time.monotonic() < deadline
    assert f"From: {lee}".encode() in office.wait_message("lee", f"as-{office.word}")


def test_a_domain_may_take_less_than_the_server(office: Office) -> None:
    kim = f"kim@{office.domain}"
    office.put(f"domains/{office.domain}", incoming=True, max_message_octets=5000)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while office.rcpt(kim, 5001)[0] != 552:
        assert time.monotonic() < deadline
    assert office.rcpt(kim, 5000)[0] == 250


def test_the_defaults_of_a_domain_hold_for_its_mailboxes(office: Office) -> None:
    kim = f"kim@{office.domain}"
    office.put(f"domains/{office.domain}", incoming=True, default_quota_octets=600)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while office.rcpt(kim, 601)[0] != 552:
        assert time.monotonic() < deadline
    assert office.rcpt(kim, 500)[0] == 250
    office.put(f"mailboxes/{kim}", quota_octets=0)
    while office.rcpt(kim, 601)[0] != 250:
        assert time.monotonic() < deadline


def test_system_addresses_reach_the_first_superadmin(office: Office) -> None:
    kim, lee = f"kim@{office.domain}", f"lee@{office.domain}"
    office.put(f"users/{lee}", superadmin=True)
    try:
        subject = f"abuse-{office.word}"
        deadline = time.monotonic() + PATIENCE_SECONDS
        found = False
        while not found and time.monotonic() < deadline:
            office.platform.send(letter(kim, subject), f"abuse@{office.domain}")
            with office.reader("lee") as client:
                time.sleep(0.3)
                client.select("INBOX", readonly=True)
                found = bool(client.search(None, "SUBJECT", subject)[1][0].split())
        assert found
    finally:
        office.put(f"users/{lee}", superadmin=False)


def test_a_signature_goes_under_what_is_submitted_at_once_when_it_is_set(office: Office) -> None:
    kim, lee = (f"{name}@{office.domain}" for name in ("kim", "lee"))
    signature = {"text": "-- \nMüller GmbH", "html": "<p>Müller GmbH</p>"}
    with office.submission("kim") as client:
        assert submit(client, kim, lee, f"plain-{office.word}") == 250
        office.put(f"domains/{office.domain}", incoming=True, signature=signature)
        deadline = time.monotonic() + PATIENCE_SECONDS
        for number in range(1_000):
            assert submit(client, kim, lee, f"signed-{number}-{office.word}") == 250
            content = office.wait_message("lee", f"signed-{number}-{office.word}")
            if b"GmbH" in content:
                break
            assert time.monotonic() < deadline
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message.get_content() == "Hello.\r\n\r\n-- \r\nMüller GmbH\r\n"
    assert (message["Subject"], message["From"]) == (f"signed-{number}-{office.word}", kim)
    assert b"GmbH" not in office.wait_message("lee", f"plain-{office.word}")
    office.platform.send(letter("friend@example.org", f"outside-{office.word}"), lee)
    assert b"GmbH" not in office.wait_message("lee", f"outside-{office.word}")


def test_the_mail_server_gets_another_name_with_a_certificate_for_it(office: Office) -> None:
    name = f"mx.{office.domain}"
    office.put(f"domains/{office.domain}", incoming=True, mail_host=name)
    plan = office.get(f"domains/{office.domain}/dns")
    assert plan["records"][0]["values"] == [f"10 {name}."]
    deadline = time.monotonic() + PATIENCE_SECONDS
    for service in ("imaps", "submissions"):
        while True:
            address = (office.platform.host, office.platform.port(service))
            try:
                with (
                    socket.create_connection(address, CLIENT_SECONDS) as plain,
                    office.platform.tls().wrap_socket(plain, server_hostname=name),
                ):
                    break
            except ssl.SSLCertVerificationError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
