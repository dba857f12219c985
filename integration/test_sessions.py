"""Users sign in to a whole platform by the command line; a second factor shuts mail programs' password out."""

import base64
import imaplib
import json
import os
import smtplib
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from postbus.testing.installation import CLIENT_SECONDS, ROOT, Platform, noop_until, postbus
from postbusd.directory.totp import code_of, step_at

PASSWORD = "a long pass phrase"


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox's user, with a configuration folder of the own."""

    platform: Platform
    address: str
    folder: Path

    def run(self, *words: str, typed: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command, as this person types it."""
        environment = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(self.folder), "HOME": str(self.folder)}
        done = subprocess.run(
            [str(ROOT / "postbus"), *words],
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=CLIENT_SECONDS,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def sign_in(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`postbus login` from elsewhere."""
        where = ("--url", self.platform.admin_url, "--ca-file", str(self.platform.ca_file))
        return self.run("login", self.address, "--password-stdin", *where, *words, typed=f"{PASSWORD}\n", check=check)

    def app_password(self) -> str:
        """One for IMAP, that the person makes."""
        words = ("app-password", "add", self.address, "--name", "telephone", "--scope", "imap", "--json")
        return str(json.loads(self.run(*words).stdout)["secret"])

    def reader(self, password: str) -> imaplib.IMAP4_SSL:
        """An open IMAP session. Raises imaplib.IMAP4.error."""
        port = self.platform.port("imaps")
        client = imaplib.IMAP4_SSL(self.platform.host, port, ssl_context=self.platform.tls(), timeout=CLIENT_SECONDS)
        try:
            client.login(self.address, password)
        except imaplib.IMAP4.error:
            client.shutdown()
            raise
        client.select("INBOX")
        return client


@pytest.fixture
def person(platform: Platform, tmp_path: Path) -> Person:
    address = f"s-{os.urandom(4).hex()}@demo.example"
    platform.administer(f"mailboxes/{address}", {"password": PASSWORD})
    return Person(platform=platform, address=address, folder=tmp_path)


def test_a_person_signs_in_looks_and_signs_out(person: Person) -> None:
    assert f"as {person.address}" in person.sign_in().stdout
    assert person.address in person.run("me", "show").stdout
    assert "this one" in person.run("me", "sessions").stdout
    refused = person.run("domain", "list", check=False)
    assert (refused.returncode, "administrators" in refused.stderr) == (1, True)
    person.reader(person.app_password()).logout()
    person.run("logout")
    assert person.run("logout", check=False).returncode == 1
    told = postbus("events", "--json", "--mailbox", person.address, "--data-dir", str(person.platform.data_dir)).stdout
    assert "signed in to the API" in told


def test_a_password_that_changes_ends_the_session(person: Person) -> None:
    person.sign_in()
    person.platform.administer(f"mailboxes/{person.address}", {"password": "another pass phrase"})
    assert "sign in again" in person.run("me", "show", check=False).stderr


def test_with_a_second_factor_mail_programs_need_app_passwords(person: Person) -> None:
    person.sign_in()
    secret = person.app_password()
    by_app, by_password = person.reader(secret), person.reader(PASSWORD)
    begun = json.loads(
        person.run("me", "second-factor", "on", "--password-stdin", "--json", typed=f"{PASSWORD}\n").stdout
    )
    shared = base64.b32decode(begun["secret"])
    step = step_at(time.time_ns() // 1_000_000)
    told = person.run("me", "second-factor", "on", "--code", code_of(shared, step)).stdout
    recovery = told.splitlines()[1].strip()
    with pytest.raises(imaplib.IMAP4.abort):
        noop_until(by_password, time.monotonic() + 10)
    by_password.shutdown()
    by_app.noop()
    by_app.logout()
    with pytest.raises(imaplib.IMAP4.error, match="app password"):
        person.reader(PASSWORD)
    port = person.platform.port("submissions")
    with (
        smtplib.SMTP_SSL(person.platform.host, port, timeout=CLIENT_SECONDS, context=person.platform.tls()) as client,
        pytest.raises(smtplib.SMTPResponseException) as refusal,
    ):
        client.login(person.address, PASSWORD)
    assert refusal.value.smtp_code == 535
    assert b"app password" in refusal.value.smtp_error
    person.reader(secret).logout()
    refused = person.sign_in(check=False)
    assert (refused.returncode, "code:" in refused.stderr) == (1, True)
    assert person.sign_in("--code", code_of(shared, step), check=False).returncode == 1
    person.sign_in("--code", recovery)
    assert "9 recovery codes left" in person.run("me", "second-factor").stdout
    person.run("me", "second-factor", "off", "--password-stdin", typed=f"{PASSWORD}\n")
    person.reader(PASSWORD).logout()


def test_a_forgotten_password_is_reset_by_the_recovery_address(person: Person) -> None:
    recovery, _ = person.platform.mailboxes[0]
    person.platform.administer(f"users/{person.address}", {"recovery_address": recovery})
    where = ("--url", person.platform.admin_url, "--ca-file", str(person.platform.ca_file))
    assert "on its way" in person.run("reset-password", person.address, *where).stdout
    with person.platform.reader() as client:
        text = wait_for_mail(client, f"A new password for {person.address}")
    assert b"From: Postbus <postmaster@" in text
    assert b"Auto-Submitted: auto-generated" in text
    code = text.partition(b"--code ")[2].split()[0].decode()
    done = person.run("reset-password", "--code", code, "--password-stdin", *where, typed="another pass phrase\n")
    assert f"{person.address} has a new password" in done.stdout
    person.reader("another pass phrase").logout()
    again = person.run(
        "reset-password", "--code", code, "--password-stdin", *where, typed="x pass phrase\n", check=False
    )
    assert (again.returncode, "code:" in again.stderr) == (1, True)


def wait_for_mail(client: imaplib.IMAP4_SSL, subject: str) -> bytes:
    """The message with this subject, once it is in INBOX."""
    end = time.monotonic() + CLIENT_SECONDS
    while True:
        client.select("INBOX", readonly=True)
        found = client.uid("SEARCH", "SUBJECT", f'"{subject}"')[1][0].split()
        if found:
            part = client.uid("FETCH", found[-1].decode(), "(BODY.PEEK[])")[1][0]
            assert isinstance(part, tuple)
            return bytes(part[1])
        assert time.monotonic() < end, "no mail came"
        time.sleep(0.2)
