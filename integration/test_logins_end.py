"""Open sessions of the whole platform end within seconds of their login (architecture §6)."""

import imaplib
import os
import smtplib
from collections.abc import Iterator

import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform

PASSWORD = "a long pass phrase"
SECONDS = 5.0


@pytest.fixture
def address(platform: Platform) -> str:
    address = f"leaver-{os.urandom(4).hex()}@demo.example"
    platform.administer(f"mailboxes/{address}", {"password": PASSWORD})
    return address


@pytest.fixture
def reader(platform: Platform, address: str) -> Iterator[imaplib.IMAP4_SSL]:
    """Idles in INBOX."""
    port = platform.port("imaps")
    client = imaplib.IMAP4_SSL(platform.host, port, ssl_context=platform.tls(), timeout=CLIENT_SECONDS)
    client.login(address, PASSWORD)
    client.select("INBOX")
    client.send(b"i IDLE\r\n")
    assert client.readline() == b"+ idling\r\n"
    client.sock.settimeout(SECONDS)
    yield client
    client.shutdown()


@pytest.fixture
def writer(platform: Platform, address: str) -> Iterator[smtplib.SMTP]:
    """In the middle of a message."""
    client = smtplib.SMTP_SSL(
        platform.host, platform.port("submissions"), "client.example", timeout=CLIENT_SECONDS, context=platform.tls()
    )
    client.login(address, PASSWORD)
    client.mail(address)
    client.rcpt("postmaster@demo.example")
    assert client.docmd("DATA")[0] == 354
    assert client.sock is not None
    client.send(b"Subject: not yet\r\n")
    client.sock.settimeout(SECONDS)
    yield client
    client.close()


@pytest.mark.parametrize("change", [{"active": False}, {"password": "another pass phrase"}])
def test_sessions_end_with_their_login(
    platform: Platform, address: str, reader: imaplib.IMAP4_SSL, writer: smtplib.SMTP, change: dict[str, object]
) -> None:
    platform.administer(f"mailboxes/{address}", change)
    assert reader.readline() == b"* BYE [AUTHENTICATIONFAILED] This login has ended, log in again\r\n"
    assert reader.readline() == b""
    assert writer.getreply() == (421, b"4.7.0 this login has ended, log in again")


def test_sessions_of_others_go_on(
    platform: Platform, address: str, reader: imaplib.IMAP4_SSL, writer: smtplib.SMTP
) -> None:
    other = f"other-{os.urandom(4).hex()}@demo.example"
    platform.administer(f"mailboxes/{other}", {"password": PASSWORD})
    platform.administer(f"mailboxes/{other}", {"active": False})
    platform.administer(f"mailboxes/{address}", {"quota_octets": 1_000_000})
    reader.sock.settimeout(2.0)
    with pytest.raises(TimeoutError):
        reader.readline()
    writer.send(b"From: <%b>\r\n\r\n.\r\n" % address.encode())
    assert writer.getreply()[0] == 250
