"""Submission as people and their programs see it: who may send as whom, to whom, and how much (RFC 6409)."""

import asyncio
import contextlib
import os
import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from postbus.bus.nats import NatsBus
from postbus.core.errors import MailError
from postbus.runtime.embedded import read_secret
from postbus.runtime.layout import layout_of
from postbus.testing.installation import CLIENT_SECONDS, Platform

PASSWORD = "a long pass phrase"
MESSAGES_AN_HOUR = 2000
BOB = "bob@demo.example"


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox that submits."""

    platform: Platform
    address: str
    mailbox_id: str

    @contextlib.contextmanager
    def session(self) -> Iterator[smtplib.SMTP]:
        """Logged in on 587's stand-in."""
        host, port = self.platform.host, self.platform.port("submission")
        with smtplib.SMTP(host, port, "client.example", CLIENT_SECONDS) as client:
            client.starttls(context=self.platform.tls())
            client.login(self.address, PASSWORD)
            yield client


def add_person(platform: Platform, domain: str = "demo.example") -> Person:
    address = f"p-{os.urandom(4).hex()}@{domain}"
    made = platform.administer(f"mailboxes/{address}", {"password": PASSWORD})
    return Person(platform=platform, address=address, mailbox_id=made["mailbox_id"])


@pytest.fixture
def person(platform: Platform) -> Person:
    return add_person(platform)


@pytest.fixture(scope="module")
def off_domain(platform: Platform) -> str:
    """A domain of ours that receives nothing here."""
    name = f"off-{os.urandom(4).hex()}.example"
    platform.administer(f"domains/{name}", {"incoming": False})
    return name


def letter(author: str, subject: str = "hello") -> bytes:
    return f"From: {author}\r\nTo: {BOB}\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode()


def submit(client: smtplib.SMTP, reverse_path: str, forward_path: str, message: bytes) -> tuple[int, str]:
    """The first answer that is no yes, or the one to the final dot."""
    for code, text in (client.mail(reverse_path), client.rcpt(forward_path)):
        if code != 250:
            client.rset()
            return code, text.decode()
    code, text = client.data(message)
    return code, text.decode()


def test_aliases_wildcards_and_sub_addresses_are_own_names(platform: Platform, person: Person) -> None:
    word = os.urandom(4).hex()
    platform.administer(f"aliases/sales-{word}@demo.example", {"mailbox": person.address})
    platform.administer(f"aliases/shop-{word}-%2A@demo.example", {"mailbox": person.address})
    tagged = person.address.replace("@", "+list@")
    with person.session() as client:
        for own in (person.address.upper(), f"sales-{word}@demo.example", f"shop-{word}-7@demo.example", tagged):
            assert submit(client, own, BOB, letter(own, word))[0] == 250, own
        assert submit(client, "", BOB, letter(person.address, word))[0] == 250
    platform.wait_message(word, 1)


@pytest.mark.parametrize("other", [BOB, "postmaster@demo.example", "nobody-at-all@demo.example", "ann@remote.example"])
def test_no_one_sends_as_another(person: Person, other: str) -> None:
    refusal = f"{other} is not an address of the mailbox that logged in"
    with person.session() as client:
        assert submit(client, other, BOB, letter(other)) == (550, f"5.7.1 reverse path: {refusal}")
        assert submit(client, person.address, BOB, letter(other)) == (550, f"5.7.1 From: {refusal}")
        assert submit(client, "", BOB, letter(other)) == (550, f"5.7.1 From: {refusal}")
        both = letter(f"{person.address}, {other}")
        assert submit(client, person.address, BOB, both) == (550, f"5.7.1 From: {refusal}")
        assert submit(client, person.address, BOB, b"From: nobody\r\nSubject: x\r\n\r\nx\r\n")[0] == 550


def test_masquerading_opens_the_own_domain_and_no_other(platform: Platform) -> None:
    word = os.urandom(4).hex()
    domain = f"mask-{word}.example"
    platform.administer(f"domains/{domain}", {"incoming": True})
    platform.administer(f"mailboxes/kim@{domain}", {"password": PASSWORD})
    with smtplib.SMTP_SSL(platform.host, platform.port("submissions"), context=platform.tls()) as client:
        client.login(f"kim@{domain}", PASSWORD)
        anybody = f"nobody-{word}@{domain}"
        assert submit(client, anybody, BOB, letter(anybody))[0] == 550
        assert platform.administer(f"domains/{domain}", {"incoming": True, "masquerading": True})["masquerading"]
        deadline = time.monotonic() + 10.0
        while submit(client, anybody, BOB, letter(anybody, word))[0] != 250:
            assert time.monotonic() < deadline
        for own in (f"postmaster@{domain.upper()}", f"kim+x@{domain}"):
            assert submit(client, own, BOB, letter(own))[0] == 250
        for other in (BOB, f"kim@sub.{domain}", "ann@remote.example"):
            assert submit(client, other, BOB, letter(other))[0] == 550, other
            assert submit(client, f"kim@{domain}", BOB, letter(other))[0] == 550, other
    assert f"From: {anybody}".encode() in platform.wait_message(word, 1)


def test_a_message_without_an_author_gets_the_login_s(platform: Platform, person: Person) -> None:
    word = "authorless"
    with person.session() as client:
        message = f"Subject: {word}\r\n\r\nx\r\n".encode()
        assert submit(client, person.address, BOB, message)[0] == 250
    assert f"\r\nFrom: {person.address}\r\n".encode() in platform.wait_message(word, 1)


def test_a_group_a_list_and_a_catch_all_are_nobodys_name(platform: Platform, person: Person) -> None:
    word = os.urandom(4).hex()
    platform.administer(f"domains/all-{word}.example", {"incoming": True, "catch_all": [person.address]})
    platform.administer(f"groups/team-{word}", {"members": [person.address], "address": f"g-{word}@demo.example"})
    platform.administer(f"lists/l-{word}@demo.example", {"members": [person.address]})
    with person.session() as client:
        for shared in (f"any@all-{word}.example", f"g-{word}@demo.example", f"l-{word}@demo.example"):
            assert client.rcpt(shared)[0] == 503
            assert submit(client, person.address, shared, letter(person.address))[0] == 250, shared
            assert submit(client, shared, BOB, letter(shared))[1].startswith("5.7.1 reverse path: "), shared


def test_remote_recipients_are_for_those_who_logged_in(platform: Platform, person: Person, off_domain: str) -> None:
    for address in ("ann@remote.example", f"ann@{off_domain}"):
        with person.session() as client:
            code, text = submit(client, person.address, address, letter(person.address))
            assert (code, text[:16]) == (250, "2.0.0 queued as "), text
            assert submit(client, person.address, "ann@[192.0.2.1]", b"")[1].startswith("5.1.2 ")
        with smtplib.SMTP(platform.host, platform.port("smtp"), "client.example", CLIENT_SECONDS) as outsider:
            outsider.ehlo()
            for reverse_path in (person.address, "", "ann@remote.example"):
                code, text = submit(outsider, reverse_path, address, letter(person.address))
                assert (code, text[:5]) == (550, "5.7.1")


def test_a_mailbox_of_a_domain_without_incoming_mail_sends(platform: Platform, off_domain: str) -> None:
    person, word = add_person(platform, off_domain), os.urandom(4).hex()
    with person.session() as client:
        assert submit(client, person.address, BOB, letter(person.address, word))[0] == 250
        assert submit(client, f"other@{off_domain}", BOB, b"")[0] == 550
    platform.wait_message(word, 1)


def test_a_full_mailbox_sends(platform: Platform, person: Person) -> None:
    assert not platform.send(letter("ann@remote.example"), person.address)
    platform.administer(f"mailboxes/{person.address}", {"quota_octets": 1})
    with person.session() as client:
        assert submit(client, person.address, BOB, letter(person.address))[0] == 250


def test_a_members_only_list_takes_members_alone(platform: Platform, person: Person) -> None:
    word = os.urandom(4).hex()
    closed, stranger = f"closed-{word}@demo.example", add_person(platform)
    members = [person.address, BOB, "ann@remote.example"]
    platform.administer(f"lists/{closed}", {"members": members, "members_only": True})
    only = "5.7.1 only members may post to this list"
    with person.session() as client:
        assert submit(client, person.address, closed, letter(person.address, word))[0] == 250
    platform.wait_message(word, 1)
    with stranger.session() as client:
        assert submit(client, stranger.address, closed, b"") == (550, only)
        client.mail(stranger.address)
        assert (client.rcpt(closed)[0], client.rcpt(BOB)[0]) == (550, 250)
        assert client.data(letter(stranger.address))[0] == 250
    with smtplib.SMTP(platform.host, platform.port("smtp"), "client.example", CLIENT_SECONDS) as outsider:
        outsider.ehlo()
        assert submit(outsider, "eve@evil.example", closed, b"") == (550, only)
        code, text = submit(outsider, "ann@remote.example", closed, letter("ann@remote.example"))
        assert (code, text[: len(only)]) in {(550, only), (451, "4.7.1 the author can't be verified now, try ag")}
        outsider.mail("ann@remote.example")
        assert (outsider.rcpt(closed)[0], outsider.rcpt(BOB)[0]) == (250, 250)
        code, answer = outsider.data(letter("eve@evil.example"))
        assert (code, answer.decode()) == (
            550,
            f"5.7.1 {closed}: only members may post to this list; send to the others separately",
        )


async def count_elsewhere(platform: Platform, key: str, amount: int) -> int:
    """As another smtp-edge of this installation would count."""
    layout = layout_of(platform.data_dir, {})
    port = (layout.nats / "port").read_text().strip()
    bus = NatsBus(f"nats://127.0.0.1:{port}", "smtp-edge", read_secret(layout.secrets, "nats-smtp-edge"))
    bus.start()
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            while True:
                with contextlib.suppress(MailError):
                    return await bus.count(key, amount, 3600)
                await asyncio.sleep(0.05)
    finally:
        await bus.close()


def test_the_rate_holds_for_the_whole_installation(platform: Platform, person: Person) -> None:
    key = f"submission.messages.{person.mailbox_id}"
    with person.session() as client:
        assert submit(client, person.address, BOB, letter(person.address))[0] == 250
        code, text = 0, ""
        for _ in range(2):  # the hour may end in between
            assert asyncio.run(count_elsewhere(platform, key, MESSAGES_AN_HOUR)) >= MESSAGES_AN_HOUR
            code, text = submit(client, person.address, BOB, letter(person.address))
            if code == 450:
                break
        assert code == 450
        assert text.startswith(f"4.7.1 {MESSAGES_AN_HOUR} messages an hour are allowed from this mailbox")
    other = add_person(platform)
    with other.session() as client:
        assert submit(client, other.address, BOB, letter(other.address))[0] == 250


MSMTP = """\
account default
auth on
tls on
tls_starttls off
tls_trust_file {ca_file}
host localhost
port {port}
user {user}
password {password}
"""


@pytest.mark.skipif(shutil.which("msmtp") is None, reason="msmtp is not installed")
def test_msmtp_sends_here_and_there_but_not_as_another(platform: Platform, person: Person, tmp_path: Path) -> None:
    rc = tmp_path / "rc"
    rc.write_text(
        MSMTP.format(
            ca_file=platform.ca_file, port=platform.port("submissions"), user=person.address, password=PASSWORD
        )
    )
    rc.chmod(0o600)
    word = os.urandom(4).hex()

    def msmtp(reverse_path: str, author: str) -> subprocess.CompletedProcess[bytes]:
        command = ["msmtp", "-C", str(rc), "-f", reverse_path, BOB, "ann@remote.example"]
        text = letter(author, word).replace(b"\r\n", b"\n")
        return subprocess.run(command, input=text, capture_output=True, check=False, timeout=CLIENT_SECONDS)

    assert msmtp(person.address, person.address).returncode == 0
    platform.wait_message(word, 1)
    for done in (msmtp(person.address, BOB), msmtp(BOB, person.address)):
        assert done.returncode in {os.EX_DATAERR, os.EX_UNAVAILABLE}
        assert b"550 5.7.1" in done.stderr
        assert BOB.encode() in done.stderr
