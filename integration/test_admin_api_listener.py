"""The API's listener on real sockets: TLS only, patience has an end, stopping lets answers finish."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postbus.runtime import doors
from postbusd.admin_api.adapters import http_server
from postbusd.admin_api.adapters.http_server import HttpServer

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def make_contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Server and client contexts of a certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "both.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


class Listener:
    """A running server and how to reach it."""

    def __init__(self, server: HttpServer, port: int, client: ssl.SSLContext) -> None:
        self.server = server
        self.port = port
        self.client = client

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client)

    async def exchange(self, octets: bytes) -> bytes:
        reader, writer = await self.connect()
        try:
            writer.write(octets)
            return await reader.read()
        finally:
            writer.close()


async def until(fact: Callable[[], bool]) -> None:
    """Waits for something that becomes so."""
    async with asyncio.timeout(10):
        while True:
            if fact():
                return
            await asyncio.sleep(0.02)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4000000")]})
        await send({"type": "http.response.body", "body": b"x" * 4_000_000})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": scope["scheme"][:4].encode()})


@pytest.fixture
async def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    monkeypatch.setattr(http_server, "KEEP_ALIVE_SECONDS", 1)
    ours, theirs = make_contexts(tmp_path)
    server = HttpServer(application, ours, max_connections=50, request_seconds=1.0)
    port = server.bind("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        yield Listener(server, port, theirs)
        await server.stop()


async def test_an_answer_over_tls_has_safe_headers(listener: Listener) -> None:
    answer = await listener.exchange(REQUEST)
    head = answer.lower()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\nhttp")
    assert b"x-content-type-options: nosniff" in head
    assert b"\r\ndate: " in head
    assert b"\r\nserver: " not in head


@pytest.mark.parametrize("octets", [b"\0\xff nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"A" * 100_000])
async def test_garbage_is_answered_and_hung_up(listener: Listener, octets: bytes) -> None:
    answer = await listener.exchange(octets)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Traceback" not in answer
    assert (await listener.exchange(REQUEST)).startswith(b"HTTP/1.1 200")


async def test_plain_text_gets_no_answer(listener: Listener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(REQUEST)
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    writer.close()
    assert b"HTTP" not in answer


@pytest.mark.parametrize("octets", [b"", b"GET / HT", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"])
async def test_a_request_that_never_ends_is_hung_up(listener: Listener, octets: bytes) -> None:
    reader, writer = await listener.connect()
    writer.write(octets)
    async with asyncio.timeout(5):
        try:
            while await reader.read(1000):
                pass
        except (ConnectionResetError, ssl.SSLError):
            pass
    writer.close()


@pytest.mark.parametrize("pipelined", [1, 5])
async def test_who_does_not_take_the_answers_is_hung_up(listener: Listener, pipelined: int) -> None:
    """Without a token, large documents asked for and never read would hold their connections for ever."""
    _, writer = await listener.connect()
    transport: Any = writer.transport  # typed as one that only writes
    transport.pause_reading()
    writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * pipelined)
    await until(lambda: listener.server.connections == 1)
    await until(lambda: listener.server.connections == 0)
    writer.transport.abort()


async def test_head_is_answered_as_get_without_the_content(listener: Listener) -> None:
    """RFC 9110 §9.1: a server must support it; monitors and proxies use it."""
    answer = await listener.exchange(REQUEST.replace(b"GET /", b"HEAD /"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"content-length: 4" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_connections_that_say_nothing_leave_room_for_others(listener: Listener) -> None:
    """They are counted before any handshake, and one address never has them all."""
    silent = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(120)]
    try:
        await until(lambda: listener.server.connections >= 25)
        await asyncio.sleep(0.1)
        assert listener.server.connections == 25
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await listener.exchange(REQUEST)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", listener.port, ssl=listener.client, local_addr=("127.0.0.2", 0)
        )
        writer.write(REQUEST)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
    finally:
        for _, writer in silent:
            writer.transport.abort()
    await until(lambda: listener.server.connections == 0)
    assert (await listener.exchange(REQUEST)).startswith(b"HTTP/1.1 200")


async def test_silence_in_a_handshake_has_an_end(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "HANDSHAKE_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"\x16\x03\x01")
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    assert (await listener.exchange(REQUEST)).startswith(b"HTTP/1.1 200")


async def test_what_strangers_send_is_no_news(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    for octets in (
        b"\0\xff nonsense\r\n\r\n",
        REQUEST.replace(b"Connection: close", b"Connection: upgrade\r\nUpgrade: x"),
    ):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await listener.exchange(octets)
    assert caplog.records == []


async def test_stopping_lets_an_answer_finish(listener: Listener) -> None:
    reader, writer = await listener.connect()
    writer.write(REQUEST.replace(b"GET /", b"GET /slow"))
    await asyncio.sleep(0.1)
    await listener.server.stop()
    assert (await reader.read()).endswith(b"http")
    writer.close()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", listener.port), timeout=1):
        pass
