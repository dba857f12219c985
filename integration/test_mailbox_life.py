"""Archive, restore, rename and purge of mailboxes, as an IMAP client sees them."""

import contextlib
import imaplib
import os
import time
from collections.abc import Iterator

import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform, postbus

PASSWORD = "a long pass phrase"


@contextlib.contextmanager
def session(platform: Platform, address: str) -> Iterator[imaplib.IMAP4_SSL]:
    port, tls = platform.port("imaps"), platform.tls()
    with imaplib.IMAP4_SSL(platform.host, port, ssl_context=tls, timeout=CLIENT_SECONDS) as client:
        client.login(address, PASSWORD)
        yield client


def view(platform: Platform, address: str) -> dict[str, object]:
    """UIDVALIDITY, UIDs, flags and contents of two folders."""
    found: dict[str, object] = {}
    with session(platform, address) as client:
        for folder in ("INBOX", "Trash"):
            client.select(folder, readonly=True)
            found[f"{folder} validity"] = client.response("UIDVALIDITY")[1]
            found[folder] = client.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")[1]
    return found


def run(platform: Platform, *words: str) -> str:
    return postbus("mailbox", *words, "--data-dir", str(platform.data_dir)).stdout


def wait(platform: Platform, address: str, messages: int) -> None:
    deadline = time.monotonic() + CLIENT_SECONDS
    while time.monotonic() < deadline:
        with session(platform, address) as client:
            if int(client.select("INBOX", readonly=True)[1][0] or 0) == messages:
                return
        time.sleep(0.1)
    raise AssertionError(f"{address} has no {messages} messages")


@pytest.fixture
def address(platform: Platform) -> str:
    """With three messages, one of them in another folder, one of them read; its owner is a user of another name."""
    word = os.urandom(4).hex()
    address = f"m-{word}@demo.example"
    platform.administer(f"users/u-{word}", {"password": PASSWORD})
    platform.administer(f"mailboxes/{address}", {"owner": {"kind": "user", "name": f"u-{word}"}})
    for number in range(3):
        platform.send(f"From: friend@example.org\r\nSubject: {word} {number}\r\n\r\nx\r\n".encode(), address)
    wait(platform, address, 3)
    with session(platform, address) as client:
        client.select("INBOX")
        client.uid("STORE", "1", "+FLAGS", r"(\Seen $Important)")
        client.uid("MOVE", "2", "Trash")
    return address


def test_a_restored_mailbox_is_what_it_was(platform: Platform, address: str) -> None:
    before = view(platform, address)
    assert "deleted: mailbox" in run(platform, "delete", address)
    with pytest.raises(imaplib.IMAP4.error):
        view(platform, address)
    assert address in run(platform, "archived", "--domain", "demo.example")
    run(platform, "restore", address)
    assert view(platform, address) == before
    platform.send(b"From: friend@example.org\r\nSubject: later\r\n\r\nx\r\n", address)
    wait(platform, address, 3)


def test_a_renamed_mailbox_is_what_it_was(platform: Platform, address: str) -> None:
    before, new = view(platform, address), f"new-{address}"
    with session(platform, address) as client:
        client.select("INBOX")
        run(platform, "rename", address, new, "--keep-alias")
        assert client.noop()[0] == "OK"
    assert view(platform, new) == before
    with pytest.raises(imaplib.IMAP4.error):
        view(platform, address)
    platform.send(b"From: friend@example.org\r\nSubject: later\r\n\r\nx\r\n", address)
    wait(platform, new, 3)
    assert "INBOX            3" in run(platform, "usage", new)


def test_a_purged_mailbox_is_gone(platform: Platform, address: str) -> None:
    word = address.partition("@")[0].removeprefix("m-")
    assert "its mail: 3 messages" in run(platform, "delete", address, "--purge", "--dry-run")
    run(platform, "delete", address, "--purge")
    deadline = time.monotonic() + CLIENT_SECONDS
    while address in run(platform, "archived"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    platform.administer(f"mailboxes/{address}", {"owner": {"kind": "user", "name": f"u-{word}"}})
    with session(platform, address) as client:
        assert client.select("INBOX")[1] == [b"0"]
        assert client.uid("SEARCH", "TEXT", word)[1] == [b""]
