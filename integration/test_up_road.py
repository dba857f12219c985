"""The road: from SMTP to IMAP through all eight services, with Python's own clients and with curl and swaks."""

import contextlib
import email
import email.policy
import hashlib
import imaplib
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import time
from email.message import EmailMessage

import pytest

from postbus.testing.installation import CLIENT_SECONDS, Platform


def _content(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def _exchange(host: str, port: int, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """What a listener answers to octets, until it closes or falls silent."""
    with contextlib.ExitStack() as opened:
        stream = opened.enter_context(socket.create_connection((host, port), timeout=CLIENT_SECONDS))
        if context is not None:
            stream = opened.enter_context(context.wrap_socket(stream, server_hostname=host))
        answer = stream.recv(65536)
        stream.sendall(data)
        stream.settimeout(2.0)
        with contextlib.suppress(TimeoutError):
            while more := stream.recv(65536):
                answer += more
        return answer


def test_plain_mail(platform: Platform) -> None:
    address = platform.mailboxes[0][0]
    platform.send(b"From: friend@example.org\r\nSubject: plain mail\r\n\r\nGood morning.\r\n", address)
    message = _content(platform.wait_message("plain mail"))
    assert message.get_content() == "Good morning.\r\n" or message.get_content() == "Good morning.\n"
    assert "mail.demo.example" in message["Received"]
    assert "spf=" in message["Authentication-Results"]
    assert "score=" in message["X-Spam-Status"]


def test_one_message_for_two_mailboxes(platform: Platform) -> None:
    platform.send(b"Subject: for both\r\n\r\nx\r\n", *(address for address, _ in platform.mailboxes))
    assert platform.wait_message("for both", 0)
    assert platform.wait_message("for both", 1)


def test_a_ten_megabyte_attachment(platform: Platform) -> None:
    content = os.urandom(10 * 1024 * 1024)
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "friend@example.org", platform.mailboxes[0][0], "ten megabytes"
    message.set_content("See the attachment.")
    message.add_attachment(content, maintype="application", subtype="octet-stream", filename="data.bin")
    platform.send(message.as_bytes(policy=email.policy.SMTP), platform.mailboxes[0][0])
    attachment = next(_content(platform.wait_message("ten megabytes")).iter_attachments())
    assert hashlib.sha256(attachment.get_content()).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    ("word", "header"),
    [
        ("encodedword", b"=?utf-8?q?encodedword_Gr=C3=BC=C3=9Fe?="),
        ("rawutf8", "rawutf8 Grüße".encode()),
        ("rawlatin1", "rawlatin1 Grüße".encode("latin-1")),
    ],
)
def test_eight_bit_headers_travel_unchanged(platform: Platform, word: str, header: bytes) -> None:
    platform.send(b"Subject: " + header + b"\r\nX-Word: " + word.encode() + b"\r\n\r\nx\r\n", platform.mailboxes[0][0])
    assert b"Subject: " + header + b"\r\n" in platform.wait_message(word)


def test_a_word_of_the_body_is_found_soon(platform: Platform) -> None:
    platform.send(b"Subject: search\r\n\r\nThe quokka is rare.\r\n", platform.mailboxes[0][0])
    platform.wait_message("search")
    with platform.reader() as client:
        client.select("INBOX", readonly=True)
        assert client.uid("SEARCH", "TEXT", '"quokka"')[1][0]


def test_idle_tells_of_new_mail(platform: Platform) -> None:
    with platform.reader(1) as client:
        client.select("INBOX", readonly=True)
        client.send(b"i1 IDLE\r\n")
        assert client.readline().startswith(b"+")
        platform.send(b"Subject: wake up\r\n\r\nx\r\n", platform.mailboxes[1][0])
        client.sock.settimeout(CLIENT_SECONDS)
        assert b"EXISTS" in client.readline()
        client.send(b"DONE\r\n")
        while not (line := client.readline()).startswith(b"i1 "):
            continue
        assert line.startswith(b"i1 OK")


def test_flags_are_kept_and_deleted_messages_go(platform: Platform) -> None:
    platform.send(b"Subject: short life\r\n\r\nx\r\n", platform.mailboxes[1][0])
    platform.wait_message("short life", 1)
    with platform.reader(1) as client:
        client.select("INBOX")
        uid = client.uid("SEARCH", "SUBJECT", '"short life"')[1][0].split()[-1].decode()
        client.uid("STORE", uid, "+FLAGS", r"(\Flagged)")
        assert client.uid("SEARCH", "FLAGGED", "UID", uid)[1][0].decode() == uid
        client.uid("STORE", uid, "+FLAGS", r"(\Deleted)")
        client.expunge()
        assert not client.uid("SEARCH", "UID", uid)[1][0]


def test_an_unknown_recipient_is_refused(platform: Platform) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        platform.send(b"\r\nx\r\n", "nobody@demo.example")
    code, text = refused.value.recipients["nobody@demo.example"]
    assert (code, text[:5]) == (550, b"5.1.1")


def test_relaying_is_refused(platform: Platform) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        platform.send(b"\r\nx\r\n", "somebody@elsewhere.example")
    code, text = refused.value.recipients["somebody@elsewhere.example"]
    assert (code, text[:5]) == (550, b"5.7.1")


@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_submission_to_a_local_mailbox(platform: Platform, listener: str) -> None:
    sender, password = platform.mailboxes[0]
    with _submission(platform, listener) as client:
        client.login(sender, password)
        client.sendmail(sender, [platform.mailboxes[1][0]], f"Subject: by {listener}\r\n\r\nx\r\n".encode())
    assert platform.wait_message(f"by {listener}", 1)


@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_submission_refuses_a_wrong_password_and_mail_without_login(platform: Platform, listener: str) -> None:
    with _submission(platform, listener) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login(platform.mailboxes[0][0], "wrong")
        assert refused.value.smtp_code == 535
    with _submission(platform, listener) as client:
        client.ehlo()
        code, _ = client.mail(platform.mailboxes[0][0])
        assert code == 530


def _submission(platform: Platform, listener: str) -> smtplib.SMTP:
    if listener == "submissions":
        return smtplib.SMTP_SSL(platform.host, platform.port(listener), context=platform.tls(), timeout=CLIENT_SECONDS)
    client = smtplib.SMTP(platform.host, platform.port(listener), timeout=CLIENT_SECONDS)
    client.starttls(context=platform.tls())
    return client


def test_imap_refuses_a_wrong_password(platform: Platform) -> None:
    client = imaplib.IMAP4_SSL(
        platform.host, platform.port("imaps"), ssl_context=platform.tls(), timeout=CLIENT_SECONDS
    )
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        client.login(platform.mailboxes[0][0], "wrong")
    client.shutdown()


@pytest.mark.parametrize("listener", ["smtp", "submission", "submissions"])
def test_malformed_smtp_gets_an_smtp_error(platform: Platform, listener: str) -> None:
    context = platform.tls() if listener == "submissions" else None
    answer = _exchange(platform.host, platform.port(listener), b"\x00\xff{}\r\nMAIL FRM\r\n" + b"QUIT\r\n", context)
    lines = answer.splitlines()
    assert lines[0].startswith(b"220")
    assert any(line.startswith(b"5") for line in lines[1:])
    assert b"Traceback" not in answer


def test_malformed_imap_gets_an_imap_error(platform: Platform) -> None:
    answer = _exchange(
        platform.host, platform.port("imaps"), b"\x00\xff(((\r\na2 DANCE\r\na3 LOGOUT\r\n", platform.tls()
    )
    assert b" BAD" in answer
    assert b"Traceback" not in answer


def test_malformed_http_gets_an_http_error(platform: Platform) -> None:
    with (
        socket.create_connection((platform.host, platform.port("api")), timeout=CLIENT_SECONDS) as plain,
        platform.tls().wrap_socket(plain, server_hostname=platform.host) as stream,
    ):
        stream.sendall(b"\x00\xff DANCE\r\n\r\n")
        answer = stream.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Traceback" not in answer


def test_octets_that_are_no_tls_break_nothing(platform: Platform) -> None:
    for listener in ("submissions", "imaps", "api"):
        with socket.create_connection((platform.host, platform.port(listener)), timeout=CLIENT_SECONDS) as stream:
            stream.sendall(b"EHLO this is no TLS\r\n\r\n")
            assert b"Traceback" not in stream.recv(65536)
    with platform.reader() as client:
        assert client.noop()[0] == "OK"


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_swaks = pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")


@needs_swaks
def test_swaks_sends(platform: Platform) -> None:
    done = subprocess.run(
        [
            *("swaks", "--server", f"{platform.host}:{platform.port('smtp')}", "--from", "friend@example.org"),
            *("--to", platform.mailboxes[0][0], "--header", "Subject: by swaks", "--body", "The numbat is rare too."),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert b"The numbat is rare too." in platform.wait_message("by swaks")


@needs_curl
def test_curl_reads_and_searches(platform: Platform) -> None:
    address, password = platform.mailboxes[0]
    platform.send(b"Subject: for curl\r\n\r\nThe bilby digs.\r\n", address)
    platform.wait_message("for curl")
    base = ["curl", "-sS", "--cacert", platform.ca_file, "--user", f"{address}:{password}"]
    url = f"imaps://{platform.host}:{platform.port('imaps')}/INBOX"
    found = subprocess.run([*base, url, "--request", "SEARCH TEXT bilby"], capture_output=True, text=True, check=True)
    number = found.stdout.split()[-1]
    assert number.isdecimal()
    read = subprocess.run([*base, f"{url};MAILINDEX={number}"], capture_output=True, text=True, check=True)
    assert "The bilby digs." in read.stdout


def test_a_message_is_delivered_and_found_within_seconds(platform: Platform) -> None:
    started = time.monotonic()
    platform.send(b"Subject: on time\r\n\r\nx\r\n", platform.mailboxes[0][0])
    platform.wait_message("on time")
    assert time.monotonic() - started < 10
