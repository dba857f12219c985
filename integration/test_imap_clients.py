"""Foreign clients on the running platform: imaplib and curl over IMAPS, IDLE on a bare TLS socket."""

import contextlib
import imaplib
import re
import shutil
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

MESSAGE = (
    b"From: Bob <bob@demo.example>\r\nTo: ann@demo.example\r\nSubject: %b\r\n"
    b"Date: Mon, 2 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%b@demo.example>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b1\r\n\r\n"
    b"--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbcezi mitenand\r\n\r\n"
    b"--b1\r\nContent-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"AAECAwQ=\r\n\r\n--b1--\r\n"
)
ADDRESS_SECONDS = 20.0


def make_message() -> tuple[bytes, str]:
    """A message and a word that only its subject has."""
    word = f"word{uuid.uuid4().hex[:12]}"
    return MESSAGE % (word.encode(), word.encode()), word


@contextlib.contextmanager
def logged_in(platform: Any) -> Iterator[imaplib.IMAP4_SSL]:
    client = imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=30)
    try:
        client.login(*platform.mailboxes[0])
        yield client
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            client.logout()


@pytest.fixture
def folder(platform: Any) -> Iterator[str]:
    """A folder of its own for the test."""
    name = f"Test-{uuid.uuid4().hex[:8]}"
    with logged_in(platform) as client:
        assert client.create(name)[0] == "OK"
        yield name
        client.delete(name)


def literals(data: list[Any]) -> list[bytes]:
    return [part[1] for part in data if isinstance(part, tuple)]


def joined(data: list[Any]) -> bytes:
    return b" ".join(b"".join(part) if isinstance(part, tuple) else part for part in data if part)


def test_a_wrong_password_is_refused(platform: Any) -> None:
    client = imaplib.IMAP4_SSL(platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=30)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        client.login(platform.mailboxes[0][0], "wrong")
    client.shutdown()


def test_listing_and_status(platform: Any, folder: str) -> None:
    with logged_in(platform) as client:
        listed = joined(client.list()[1])
        for name in (b'"INBOX"', b'"Sent"', b'"Drafts"', b'"Spam"', b'"Trash"', b'"Archive"', folder.encode()):
            assert name in listed
        assert b"\\Junk" in listed
        client.append(folder, "", None, make_message()[0])
        status = joined(client.status(folder, "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)")[1])
        assert b"MESSAGES 1" in status
        assert b"UNSEEN 1" in status
        assert b"UIDNEXT 2" in status


def test_every_fetch_item(platform: Any, folder: str) -> None:
    message, word = make_message()
    with logged_in(platform) as client:
        assert client.append(folder, "(\\Flagged)", '" 1-Feb-2026 12:00:00 +0100"', message)[0] == "OK"
        assert client.select(folder)[1] == [b"1"]
        basics = joined(client.fetch("1", "(FLAGS UID INTERNALDATE RFC822.SIZE ENVELOPE)")[1])
        assert b"FLAGS (\\Flagged)" in basics
        assert b'INTERNALDATE " 1-Feb-2026 11:00:00 +0000"' in basics
        assert b"RFC822.SIZE %d" % len(message) in basics
        assert b'"%b" (("Bob" NIL "bob" "demo.example"))' % word.encode() in basics
        structure = joined(client.fetch("1", "(BODYSTRUCTURE BODY)")[1])
        assert b'"application" "octet-stream" ("name" "a.bin")' in structure
        assert b'"mixed"' in structure
        assert literals(client.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]) == [
            b"Subject: %b\r\n\r\n" % word.encode()
        ]
        assert literals(client.fetch("1", "(BODY.PEEK[1] BODY.PEEK[2] BODY.PEEK[2.MIME]<0.12>)")[1]) == [
            b"Gr\xc3\xbcezi mitenand\r\n",
            b"AAECAwQ=\r\n",
            b"Content-Type",
        ]
        assert b"\\Seen" not in joined(client.fetch("1", "(FLAGS)")[1])
        assert literals(client.uid("FETCH", "1", "(BODY[])")[1]) == [message]
        assert b"\\Seen" in joined(client.fetch("1", "(FLAGS)")[1])
        assert literals(client.fetch("1", "(RFC822)")[1]) == [message]


def test_searching_flags_dates_and_text(platform: Any, folder: str) -> None:
    message, word = make_message()
    other = make_message()[0]
    with logged_in(platform) as client:
        client.append(folder, "(\\Seen)", None, message)
        client.append(folder, "", None, other)
        client.select(folder)
        assert client.search(None, "SEEN")[1] == [b"1"]
        assert client.search(None, "UNSEEN", "SENTON", "2-Nov-2026")[1] == [b"2"]
        # promise 6: found at once, indexed or not yet
        assert client.search(None, "SUBJECT", word)[1] == [b"1"]
        assert client.uid("SEARCH", "NOT", "TEXT", word)[1] == [b"2"]
        assert client.search(None, "BODY", "mitenand", "HEADER", "Message-ID", word)[1] == [b"1"]


def test_storing_copying_moving_and_expunging(platform: Any, folder: str) -> None:
    with logged_in(platform) as client:
        for _ in range(3):
            client.append(folder, "", None, make_message()[0])
        client.select(folder)
        assert b"\\Deleted" in joined(client.store("2", "+FLAGS", "(\\Deleted $Label)")[1])
        assert client.expunge()[1] == [b"2"]
        assert client.uid("SEARCH", "ALL")[1] == [b"1 3"]
        assert client.copy("1", "Archive")[0] == "OK"
        assert client.uid("MOVE", "3", "Trash")[0] == "OK"
        assert client.uid("SEARCH", "ALL")[1] == [b"1"]


class BareClient:
    """Lines on a TLS socket, for what imaplib can't do."""

    def __init__(self, platform: Any, context: ssl.SSLContext) -> None:
        plain = socket.create_connection((platform.host, platform.port("imaps")), timeout=ADDRESS_SECONDS)
        self.socket = context.wrap_socket(plain, server_hostname=platform.host)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()

    def ask(self, line: bytes) -> list[bytes]:
        self.socket.sendall(line + b"\r\n")
        tag = line.partition(b" ")[0]
        answers = [self.lines.readline()]
        while not answers[-1].startswith((tag + b" ", b"+ ")):
            assert answers[-1], answers
            answers.append(self.lines.readline())
        return answers

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def test_idle_tells_of_new_mail_flags_and_expunges(platform: Any, folder: str) -> None:
    address, password = platform.mailboxes[0]
    watcher = BareClient(platform, platform.tls())
    try:
        assert b" OK " in watcher.ask(f'a LOGIN "{address}" "{password}"'.encode())[-1]
        watcher.ask(b"b SELECT " + folder.encode())
        assert watcher.ask(b"c IDLE")[-1].startswith(b"+ ")
        with logged_in(platform) as client:
            client.append(folder, "", None, make_message()[0])
            assert watcher.lines.readline() == b"* 1 EXISTS\r\n"
            client.select(folder)
            client.store("1", "+FLAGS", "(\\Deleted)")
            assert watcher.lines.readline() == b"* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n"
            client.expunge()
            assert watcher.lines.readline() == b"* 1 EXPUNGE\r\n"
        watcher.socket.sendall(b"DONE\r\n")
        assert watcher.lines.readline().startswith(b"c OK")
    finally:
        watcher.close()


def test_nonsense_on_the_listener_gets_bad(platform: Any) -> None:
    client = BareClient(platform, platform.tls())
    try:
        client.socket.sendall(b"\x00\x01\xff\r\n\r\nGET / HTTP/1.1\r\n")
        for _ in range(3):
            assert re.match(rb"(\*|GET) BAD ", client.lines.readline())
    finally:
        client.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_a_message(platform: Any, folder: str) -> None:
    message, word = make_message()
    with logged_in(platform) as client:
        client.append(folder, "", None, message)
    address, password = platform.mailboxes[0]
    base = f"imaps://{platform.host}:{platform.port('imaps')}/{folder}"

    def curl(*arguments: str) -> bytes:
        command = ["curl", "--silent", "--show-error", "--cacert", platform.ca_file, "--user", f"{address}:{password}"]
        return subprocess.run([*command, *arguments], capture_output=True, check=True, timeout=60).stdout

    assert curl(f"{base};UID=1") == message
    assert word.encode() in curl(f"{base};UID=1;SECTION=HEADER")
    assert curl(base, "--request", f"SEARCH SUBJECT {word}").strip() == b"* SEARCH 1"
