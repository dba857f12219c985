"""The road as a sender sees it: SMTP in, IMAP out, byte for byte (architecture §3); and what is refused on the way."""

import base64
import contextlib
import email.message
import email.policy
import imaplib
import os
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

ARRIVAL_SECONDS = 30.0
TIMEOUT_SECONDS = 30.0


def unique() -> str:
    return os.urandom(6).hex()


@contextlib.contextmanager
def smtp(platform: Any) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(platform.host, platform.port("smtp"), "client.example", TIMEOUT_SECONDS) as client:
        yield client


@contextlib.contextmanager
def submission(platform: Any) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(platform.host, platform.port("submission"), "client.example", TIMEOUT_SECONDS) as client:
        client.starttls(context=platform.tls())
        yield client


@contextlib.contextmanager
def submissions(platform: Any) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP_SSL(
        platform.host, platform.port("submissions"), "client.example", timeout=TIMEOUT_SECONDS, context=platform.tls()
    ) as client:
        yield client


class Raw:
    """A bare socket."""

    def __init__(self, platform: Any, name: str) -> None:
        self._socket = socket.create_connection((platform.host, platform.port(name)), TIMEOUT_SECONDS)
        self._file = self._socket.makefile("rb")

    def answer(self) -> str:
        lines = []
        while True:
            line = self._file.readline().decode()
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    def ask(self, data: bytes) -> str:
        self._socket.sendall(data)
        return self.answer()

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        self._socket = context.wrap_socket(self._socket, server_hostname=host)
        self._file = self._socket.makefile("rb")

    def rest(self) -> bytes:
        return self._file.read()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def raw(platform: Any) -> Iterator[Raw]:
    session = Raw(platform, "smtp")
    try:
        yield session
    finally:
        session.close()


def read_back(platform: Any, mailbox: int, marker: str) -> bytes:
    """BODY[] of the message whose Subject holds `marker`, as soon as it is there."""
    address, password = platform.mailboxes[mailbox]
    client = imaplib.IMAP4_SSL(
        platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=TIMEOUT_SECONDS
    )
    try:
        client.login(address, password)
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while True:
            client.select("INBOX", readonly=True)
            _, found = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            for part in found:
                if isinstance(part, tuple) and marker.encode() in part[1]:
                    uid = part[0].split(b"UID ")[1].split(b" ")[0].decode()
                    _, body = client.uid("FETCH", uid, "(BODY.PEEK[])")
                    return bytes(next(piece[1] for piece in body if isinstance(piece, tuple)))
            assert time.monotonic() < deadline, f"{marker} did not arrive"
            time.sleep(0.2)
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            client.logout()


def message(subject: str, body: bytes = b"Hello.\r\n", header: bytes = b"") -> bytes:
    return (
        b"From: Ann <ann@remote.example>\r\nTo: alice@demo.example\r\nSubject: "
        + subject.encode()
        + b"\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <"
        + unique().encode()
        + b"@remote.example>\r\n"
        + header
        + b"\r\n"
        + body
    )


def send_and_read(platform: Any, content: bytes, marker: str, options: tuple[str, ...] = ()) -> bytes:
    with smtp(platform) as client:
        client.sendmail("ann@remote.example", [platform.mailboxes[0][0]], content, options)
    stored = read_back(platform, 0, marker)
    assert stored.endswith(content), "the message is not byte for byte what was sent"
    return stored[: -len(content)]


def test_plain_mail(platform: Any) -> None:
    marker = unique()
    prefix = send_and_read(platform, message(marker, b".dots\r\n..\r\n.\r\nend\r\n"), marker)
    assert b"\r\nReceived: from client.example (" in b"\r\n" + prefix
    assert b"\r\nAuthentication-Results: " in b"\r\n" + prefix


def test_ten_megabytes(platform: Any) -> None:
    marker = unique()
    attachment = base64.encodebytes(os.urandom(10 * 1024 * 1024)).replace(b"\n", b"\r\n")
    header = (
        b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=big.bin\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
    )
    send_and_read(platform, message(marker, attachment, header), marker)


def test_eight_bit_and_utf8_headers(platform: Any) -> None:
    marker = unique()
    header = "X-Straße: Grüße\r\nContent-Type: text/plain; charset=utf-8\r\n".encode() + b"X-Latin: \xfc\xff\r\n"
    content = message(f"Grüße {marker} 世界", "Übergrößenträger\r\n".encode() + b"\xe4\xf6\r\n", header)
    send_and_read(platform, content, marker, ("BODY=8BITMIME", "SMTPUTF8"))
    marker = unique()
    send_and_read(platform, message(f"Grüße {marker}"), marker)


def test_internationalized_reverse_path(platform: Any, raw: Raw) -> None:
    marker = unique()
    assert raw.answer().startswith("220")
    assert raw.ask(b"EHLO client.example\r\n").startswith("250-")
    assert raw.ask("MAIL FROM:<jörg@bücher.example>\r\n".encode()).startswith("553 5.6.7")
    assert raw.ask("MAIL FROM:<jörg@bücher.example> SMTPUTF8\r\n".encode()).startswith("250 2.1.0")
    assert raw.ask(f"RCPT TO:<{platform.mailboxes[0][0]}>\r\n".encode()).startswith("250 2.1.5")
    assert raw.ask(b"DATA\r\n").startswith("354")
    content = message(marker)
    assert raw.ask(content + b".\r\n").startswith("250 2.0.0 queued as ")
    stored = read_back(platform, 0, marker)
    assert stored.endswith(content)


def test_unknown_recipient(platform: Any) -> None:
    with smtp(platform) as client, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        client.sendmail("ann@remote.example", ["nobody@demo.example"], message("x"))
    code, text = refused.value.recipients["nobody@demo.example"]
    assert (code, text[:5]) == (550, b"5.1.1")


def test_relay_attempt(platform: Any) -> None:
    with smtp(platform) as client, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        client.sendmail(platform.mailboxes[0][0], ["victim@elsewhere.example"], message("x"))
    code, text = refused.value.recipients["victim@elsewhere.example"]
    assert (code, text[:5]) == (550, b"5.7.1")


@pytest.mark.parametrize("door", [submission, submissions])
def test_wrong_password(platform: Any, door: Any) -> None:
    with door(platform) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login(platform.mailboxes[0][0], "not the password")
        assert refused.value.smtp_code == 535
        assert client.mail(platform.mailboxes[0][0])[0] == 530


@pytest.mark.parametrize("door", [submission, submissions])
def test_submission_to_a_local_mailbox(platform: Any, door: Any) -> None:
    (author, password), (reader, _) = platform.mailboxes[:2]
    marker = unique()
    letter = email.message.EmailMessage(policy=email.policy.SMTP)
    letter["From"], letter["To"], letter["Subject"] = author, reader, marker
    letter.set_content("Ça va?\n")
    with door(platform) as client:
        client.login(author, password)
        client.send_message(letter)
        assert client.mail("somebody.else@demo.example")[:1] == (550,)
    stored = read_back(platform, 1, marker)
    assert stored.endswith(bytes(letter))
    head = stored[: stored.index(bytes(letter))]
    assert b"ESMTPSA id " in head
    assert b"127.0.0.1" not in head.split(b";")[0]
    assert b"Message-ID: <" in head
    assert b"Date: " in head


def test_submission_needs_tls_and_login(platform: Any) -> None:
    session = Raw(platform, "submission")
    session.answer()
    assert "AUTH" not in session.ask(b"EHLO client.example\r\n")
    assert session.ask(b"AUTH PLAIN AGEAYg==\r\n").startswith("538 5.7.11")
    assert session.ask(b"MAIL FROM:<>\r\n").startswith("530 5.7.0")
    session.close()


def test_injected_plain_text_never_reaches_the_tls_session(platform: Any) -> None:
    session = Raw(platform, "submission")
    session.answer()
    session.ask(b"EHLO client.example\r\n")
    assert session.ask(b"STARTTLS\r\nNOOP\r\nEHLO evil.example\r\n").startswith("220")
    session.secure(platform.tls(), platform.host)
    assert session.ask(b"MAIL FROM:<>\r\n").startswith("503 5.5.1")
    assert "AUTH PLAIN LOGIN" in session.ask(b"EHLO client.example\r\n")
    session.close()


def test_malformed_input(platform: Any, raw: Raw) -> None:
    raw.answer()
    for line, code in (
        (b"\x00\xff\xfe\r\n", "500"),
        (b"EHLO\r\n", "501"),
        (b"MAIL FROM:<a@b.example>\r\n", "503"),
        (b"NOOP\n", "500"),
        (b"NOOP " + b"x" * 5000 + b"\r\n", "500"),
        (b"EHLO client.example\r\n", "250"),
        (b"MAIL FROM:a b c\r\n", "501"),
        (b"MAIL FROM:<a@b.example> FOO=1\r\n", "555"),
        (b"BDAT 5 LAST\r\n", "502"),
    ):
        answer = raw.ask(line)
        assert answer.startswith(code), (line, answer)
        assert "Traceback" not in answer
    assert raw.ask(b"QUIT\r\n").startswith("221 2.0.0")
    assert raw.rest() == b""


def test_smuggling_attempt(platform: Any, raw: Raw) -> None:
    marker = unique()
    address = platform.mailboxes[0][0].encode()
    raw.answer()
    raw.ask(b"EHLO client.example\r\n")
    for line in (b"MAIL FROM:<ann@remote.example>", b"RCPT TO:<" + address + b">", b"DATA"):
        assert raw.ask(line + b"\r\n")[0] in "23"
    smuggled = b"MAIL FROM:<evil@evil.example>\r\nRCPT TO:<" + address + b">\r\nDATA\r\n" + message(marker)
    assert raw.ask(b"Subject: bait\r\n\r\nx\n.\r\n" + smuggled + b".\r\n").startswith("550 5.6.11")
    assert raw.ask(b"NOOP\r\n").startswith("250 2.0.0")


def test_early_talker(platform: Any) -> None:
    session = Raw(platform, "smtp")
    session.send(b"EHLO early.example\r\n")
    assert session.answer().startswith("554 5.5.0")
    assert session.rest() == b""
    session.close()


def test_a_pipelined_transaction(platform: Any, raw: Raw) -> None:
    marker = unique()
    raw.answer()
    raw.ask(b"EHLO client.example\r\n")
    address = platform.mailboxes[0][0]
    raw.send(
        b"MAIL FROM:<ann@remote.example>\r\nRCPT TO:<nobody@demo.example>\r\n"
        + f"RCPT TO:<{address}> NOTIFY=FAILURE ORCPT=rfc822;{address}\r\nDATA\r\n".encode()
    )
    assert [raw.answer()[:9] for _ in range(4)] == ["250 2.1.0", "550 5.1.1", "250 2.1.5", "354 end d"]
    content = message(marker)
    raw.send(content + b".\r\nQUIT\r\n")
    assert raw.answer().startswith("250 2.0.0 queued as ")
    assert raw.answer().startswith("221")
    assert read_back(platform, 0, marker).endswith(content)
