"""Real sockets on loopback: TLS, STARTTLS, a standard client, and nonsense."""

import asyncio
import datetime
import imaplib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postbus.core.errors import MailError
from postbusd.imap_gateway.adapters.listeners import Listeners, parse_endpoint

PLAIN = b"From: bob@demo.example\r\nSubject: Plain\r\n\r\nText\r\n"


class Doors(msgspec.Struct, kw_only=True):
    imaps: int
    imap: int
    client_tls: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
async def doors(gateway: Any, certificate: Path) -> AsyncIterator[Doors]:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(certificate)
    listeners = Listeners(server_tls, gateway.server.accept, max_strangers=4, max_strangers_per_address=3)
    imaps = await listeners.open("127.0.0.1:0", name="imaps")
    imap = await listeners.open("127.0.0.1:0", name="imap")
    client_tls = ssl.create_default_context(cafile=str(certificate))
    client_tls.check_hostname = False
    yield Doors(imaps=imaps, imap=imap, client_tls=client_tls)
    await listeners.close()
    await gateway.server.drain()


def read_mail(client: imaplib.IMAP4) -> tuple[list[bytes], bytes, list[bytes]]:
    client.login("ann@demo.example", "secret")
    client.select("INBOX")
    found = client.search(None, "ALL")[1]
    parts = client.fetch("1", "(RFC822.SIZE BODY[])")[1]
    literal = next(part[1] for part in parts if isinstance(part, tuple))
    listed = client.list()[1]
    client.append("Archive", None, None, PLAIN)
    client.close()
    client.logout()
    return found, literal, [line for line in listed if isinstance(line, bytes)]


async def test_a_standard_client_reads_over_tls(gateway: Any, doors: Doors) -> None:
    await gateway.deliver(PLAIN)

    def talk() -> tuple[list[bytes], bytes, list[bytes]]:
        return read_mail(imaplib.IMAP4_SSL("127.0.0.1", doors.imaps, ssl_context=doors.client_tls, timeout=5))

    found, literal, listed = await asyncio.to_thread(talk)
    assert found == [b"1"]
    assert literal == PLAIN
    assert b'(\\HasNoChildren) "/" "INBOX"' in listed


async def test_a_standard_client_reads_after_starttls(gateway: Any, doors: Doors) -> None:
    await gateway.deliver(PLAIN)

    def talk() -> tuple[list[bytes], bytes, list[bytes]]:
        client = imaplib.IMAP4("127.0.0.1", doors.imap, timeout=5)
        assert "LOGINDISABLED" in client.capabilities
        client.starttls(doors.client_tls)
        assert "LOGINDISABLED" not in client.capabilities
        return read_mail(client)

    assert (await asyncio.to_thread(talk))[1] == PLAIN


async def test_commands_before_the_handshake_are_not_run(doors: Doors) -> None:
    """What an attacker puts behind STARTTLS in plain text must not be answered under TLS (RFC 9051 §11.1)."""

    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", doors.imap), timeout=5) as plain:
            plain.recv(4096)
            plain.sendall(b"a STARTTLS\r\nb NOOP\r\n")
            assert plain.recv(4096) == b"a OK Begin TLS now\r\n"
            with doors.client_tls.wrap_socket(plain) as secure:
                secure.sendall(b"c NOOP\r\n")
                return secure.recv(4096)

    assert await asyncio.to_thread(talk) == b"c OK Done\r\n"


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01" * 20, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 20_000 + b"\r\n"]
)
async def test_nonsense_gets_the_protocols_error(doors: Doors, nonsense: bytes) -> None:
    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", doors.imap), timeout=5) as plain:
            greeting = plain.recv(4096)
            plain.sendall(nonsense + b"\r\nz LOGOUT\r\n")
            answer = b""
            while chunk := plain.recv(4096):
                answer += chunk
            return greeting + answer

    answer = await asyncio.to_thread(talk)
    assert b" BAD " in answer
    assert b"Traceback" not in answer
    assert answer.endswith(b"z OK Done\r\n")


async def test_plain_text_on_the_tls_port_is_cut_off(doors: Doors) -> None:
    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", doors.imaps), timeout=5) as plain:
            plain.sendall(b"a NOOP\r\n")
            answer = b""
            try:
                while chunk := plain.recv(4096):
                    answer += chunk
            except ConnectionResetError:
                pass
            return answer

    assert b"OK" not in await asyncio.to_thread(talk)


async def test_a_slow_reader_gets_everything(gateway: Any, doors: Doors) -> None:
    """Output waits for the peer: a small socket buffer and a late reader lose nothing."""
    message = b"Subject: Large\r\n\r\n" + b"0123456789abcde\r\n" * 40_000
    for _ in range(4):
        await gateway.deliver(message)

    def talk() -> int:
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.settimeout(5)
            plain.connect(("127.0.0.1", doors.imaps))
            with doors.client_tls.wrap_socket(plain) as secure:
                secure.sendall(b"a LOGIN ann@demo.example secret\r\nb SELECT INBOX\r\nc FETCH 1:4 BODY.PEEK[]\r\n")
                answer = bytearray()
                while not answer.endswith(b"c OK Done\r\n"):
                    answer += secure.recv(65_536)
                return answer.count(b"0123456789abcde\r\n")

    assert await asyncio.to_thread(talk) == 160_000


async def test_who_says_nothing_keeps_nobody_out_for_ever_and_who_logs_in_is_no_stranger(doors: Doors) -> None:
    """Silent connections count before their handshake; those of who logged in do not."""

    def greet() -> bytes:
        with socket.create_connection(("127.0.0.1", doors.imaps), timeout=5) as plain:
            try:
                with doors.client_tls.wrap_socket(plain) as secure:
                    return secure.recv(4096)
            except OSError:
                return b""

    def talk() -> list[bool]:
        users = []
        for _ in range(5):
            client = imaplib.IMAP4_SSL("127.0.0.1", doors.imaps, ssl_context=doors.client_tls, timeout=5)
            client.login("ann@demo.example", "secret")
            users.append(client)
        silent = [socket.create_connection(("127.0.0.1", doors.imaps), timeout=5) for _ in range(3)]
        answers = [bool(greet())]
        for each in silent:
            each.close()
        deadline = time.monotonic() + 5
        while not greet() and time.monotonic() < deadline:
            pass
        answers.append(bool(greet()))
        for client in users:
            client.logout()
        return answers

    assert await asyncio.to_thread(talk) == [False, True]


def test_endpoints() -> None:
    assert parse_endpoint("127.0.0.1:993") == ("127.0.0.1", 993)
    assert parse_endpoint("[::1]:993") == ("::1", 993)
    for bad in ("993", "host:", "host:x", "host:70000"):
        with pytest.raises(MailError):
            parse_endpoint(bad)
