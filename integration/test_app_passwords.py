"""App passwords and imported hashes with real IMAP and SMTP clients."""

import base64
import hashlib
import imaplib
import json
import os
import smtplib
import time

import bcrypt
import msgspec
import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform, noop_until, postbus


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox."""

    platform: Platform
    address: str

    def read(self, password: str) -> None:
        """Logs in by IMAP. Raises imaplib.IMAP4.error."""
        port, tls = self.platform.port("imaps"), self.platform.tls()
        with imaplib.IMAP4_SSL(self.platform.host, port, ssl_context=tls, timeout=CLIENT_SECONDS) as client:
            client.login(self.address, password)
            client.select("INBOX")

    def write(self, password: str) -> None:
        """Logs in by SMTP and sends. Raises smtplib.SMTPAuthenticationError."""
        host, port = self.platform.host, self.platform.port("submissions")
        with smtplib.SMTP_SSL(host, port, timeout=CLIENT_SECONDS, context=self.platform.tls()) as client:
            client.login(self.address, password)
            client.sendmail(self.address, [self.address], f"From: {self.address}\r\nSubject: x\r\n\r\nx\r\n".encode())


@pytest.fixture
def person(platform: Platform) -> Person:
    address = f"p-{os.urandom(4).hex()}@demo.example"
    platform.administer(f"mailboxes/{address}", {"password": "a long pass phrase"})
    return Person(platform=platform, address=address)


def run(person: Person, *words: str) -> str:
    """`postbus app-password`."""
    return postbus("app-password", *words, "--data-dir", str(person.platform.data_dir)).stdout


def test_an_app_password_is_for_its_protocols_and_ends_at_once(person: Person) -> None:
    made = json.loads(run(person, "add", person.address, "--name", "telephone", "--scope", "imap", "--json"))
    person.read(made["secret"])
    with pytest.raises(smtplib.SMTPAuthenticationError):
        person.write(made["secret"])
    sender = json.loads(run(person, "add", person.address, "--name", "printer", "--scope", "smtp", "--json"))
    person.write(sender["secret"])
    with pytest.raises(imaplib.IMAP4.error):
        person.read(sender["secret"])
    listed = json.loads(run(person, "list", person.address, "--json"))
    assert [(each["name"], each["scopes"]) for each in listed] == [("printer", ["smtp"]), ("telephone", ["imap"])]
    assert all(each["last_used_ms"] for each in listed)
    assert made["secret"] not in json.dumps(listed)
    port, tls = person.platform.port("imaps"), person.platform.tls()
    with imaplib.IMAP4_SSL(person.platform.host, port, ssl_context=tls, timeout=CLIENT_SECONDS) as open_one:
        open_one.login(person.address, made["secret"])
        open_one.select("INBOX")
        assert "deleted: app password telephone" in run(person, "delete", person.address, "telephone")
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            noop_until(open_one, time.monotonic() + CLIENT_SECONDS)
    with pytest.raises(imaplib.IMAP4.error):
        person.read(made["secret"])
    person.write(sender["secret"])
    wanted, end = {f"{person.address}, app password {name}" for name in ("telephone", "printer")}, time.monotonic() + 20
    while not wanted <= {each["detail"] for each in logins(person)}:
        assert time.monotonic() < end, logins(person)
        time.sleep(0.2)


def logins(person: Person) -> list[dict[str, str]]:
    """What the event log says of them."""
    words = ("events", "--type", "login", "--mailbox", person.address, "--json")
    lines = postbus(*words, "--data-dir", str(person.platform.data_dir)).stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_people_of_another_system_log_in_with_their_passwords(person: Person) -> None:
    salted = base64.b64encode(hashlib.sha1(b"old secret" + b"salt").digest() + b"salt").decode()
    for password_hash in (bcrypt.hashpw(b"old secret", bcrypt.gensalt(5)).decode(), f"{{SSHA}}{salted}"):
        person.platform.administer(f"mailboxes/{person.address}", {"password_hash": password_hash})
        for _ in range(2):
            person.read("old secret")
            person.write("old secret")
        with pytest.raises(imaplib.IMAP4.error):
            person.read("a long pass phrase")
