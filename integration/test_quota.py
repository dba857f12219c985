"""Quota on the whole platform: refused at RCPT, MAIL SIZE, APPEND and COPY; never half-delivered (promise 3)."""

import contextlib
import imaplib
import os
import smtplib
import time
from collections.abc import Iterator

import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform

QUOTA_OCTETS = 20_000
PASSWORD = "a long pass phrase"
TOO_LARGE = (552, b"5.2.2 the message is larger than the space that is left in the mailbox")
DEADLINE_SECONDS = 30.0


def unique(name: str) -> str:
    return f"{name}-{os.urandom(4).hex()}@demo.example"


def add_mailbox(platform: Platform, quota_octets: int | None) -> str:
    address = unique("limited" if quota_octets else "free")
    platform.administer(f"mailboxes/{address}", {"password": PASSWORD, "quota_octets": quota_octets})
    return address


@pytest.fixture
def limited(platform: Platform) -> str:
    return add_mailbox(platform, QUOTA_OCTETS)


@pytest.fixture
def free(platform: Platform) -> str:
    return add_mailbox(platform, None)


@contextlib.contextmanager
def sender(platform: Platform) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(platform.host, platform.port("smtp"), "client.example", CLIENT_SECONDS) as client:
        client.ehlo()
        yield client


@contextlib.contextmanager
def reader(platform: Platform, address: str) -> Iterator[imaplib.IMAP4_SSL]:
    client = imaplib.IMAP4_SSL(
        platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=CLIENT_SECONDS
    )
    try:
        client.login(address, PASSWORD)
        yield client
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            client.logout()


def letter(octets: int) -> bytes:
    head = b"From: ann@remote.example\r\nSubject: x\r\n\r\n"
    return head + b"y" * 78 + b"\r\n" + (b"x" * 78 + b"\r\n") * ((octets - len(head)) // 80 - 1)


def send(client: smtplib.SMTP, octets: int, *forward_paths: str, declared: bool = True) -> list[tuple[int, bytes]]:
    """Answers to each RCPT; the message goes to those who were accepted."""
    content = letter(octets)
    assert client.mail("ann@remote.example", [f"SIZE={len(content)}"] if declared else [])[0] == 250
    answers = [client.rcpt(path) for path in forward_paths]
    if any(code == 250 for code, _ in answers):
        assert client.data(content)[0] == 250
    else:
        client.rset()
    return answers


def wait_count(platform: Platform, address: str, count: int) -> None:
    """Until the INBOX has so many messages."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    with reader(platform, address) as client:
        while int(client.select("INBOX", readonly=True)[1][0] or b"0") < count:
            assert time.monotonic() < deadline, f"{address} has no {count} messages"
            time.sleep(0.1)
        assert int(client.select("INBOX", readonly=True)[1][0] or b"0") == count


def test_each_recipient_is_judged_alone_and_250_is_kept(platform: Platform, limited: str, free: str) -> None:
    with sender(platform) as client:
        assert send(client, 2 * QUOTA_OCTETS, limited, free) == [TOO_LARGE, (250, b"2.1.5 recipient accepted")]
        wait_count(platform, free, 1)
        assert [code for code, _ in send(client, QUOTA_OCTETS // 2, limited, free)] == [250, 250]
        wait_count(platform, limited, 1)
        # Not declared: accepted, and then delivered to both although it overdraws.
        assert [code for code, _ in send(client, 2 * QUOTA_OCTETS, limited, free, declared=False)] == [250, 250]
        wait_count(platform, limited, 2)
        wait_count(platform, free, 3)
        for declared in (True, False):
            refused, accepted = send(client, 200, limited, free, declared=declared)
            assert (refused[0], refused[1][:5], accepted[0]) == (552, b"5.2.2", 250)
        wait_count(platform, free, 5)
    wait_count(platform, limited, 2)


def test_a_recipient_alone_is_refused_before_data(platform: Platform, limited: str) -> None:
    with sender(platform) as client:
        client.mail("ann@remote.example", [f"SIZE={2 * QUOTA_OCTETS}"])
        assert client.rcpt(limited) == TOO_LARGE
        assert client.docmd("DATA")[0] == 554


def test_append_and_copy_are_refused_whole_and_move_is_not(platform: Platform, limited: str) -> None:
    with reader(platform, limited) as client:
        for name in ("One", "Two"):
            assert client.create(name)[0] == "OK"
        assert client.append("One", None, None, letter(QUOTA_OCTETS // 4))[0] == "OK"
        assert client.append("One", None, None, letter(QUOTA_OCTETS // 3))[0] == "OK"
        kind, answer = client.append("One", None, None, letter(QUOTA_OCTETS // 2))
        assert (kind, answer[0][:11]) == ("NO", b"[OVERQUOTA]")
        assert client.select("One")[1] == [b"2"]
        kind, answer = client.copy("1:2", "Two")
        assert (kind, answer[0][:11]) == ("NO", b"[OVERQUOTA]")
        assert client.select("Two", readonly=True)[1] == [b"0"]
        client.select("One")
        assert client.copy("1", "Two")[0] == "OK"
        assert client.uid("MOVE", "1:*", "Two")[0] == "OK"
        assert client.select("Two", readonly=True)[1] == [b"3"]
        assert client.select("One", readonly=True)[1] == [b"0"]
