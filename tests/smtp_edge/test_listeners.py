"""The aiosmtpd subclass on loopback sockets, under asyncio's loop and uvloop."""

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postbus.core.errors import MailError
from postbus.runtime.tls import load_certificate, new_server_context
from postbus.testing.smtp_edge import Edge
from postbusd.smtp_edge.adapters.listeners import Listeners
from postbusd.smtp_edge.conversation import ListenerKind
from postbusd.smtp_edge.settings import SmtpEdgeSettings

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Scenario = Callable[[Edge, Listeners], Awaitable[None]]


@pytest.fixture(scope="module")
def server_context() -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.demo.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    context = new_server_context()
    load_certificate(
        context,
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return context


@pytest.fixture(params=sorted(LOOPS))
def play(request: pytest.FixtureRequest, tmp_path: Path, server_context: ssl.SSLContext) -> Callable[[Scenario], None]:
    """Runs a scenario against listeners, and drains them."""

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            edge = Edge(tmp_path, SmtpEdgeSettings(greet_pause_seconds=0.05))
            listeners = Listeners(edge.site, server_context)
            async with asyncio.timeout(10):
                try:
                    await scenario(edge, listeners)
                finally:
                    await listeners.drain()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return run


async def dial(listeners: Listeners, kind: ListenerKind) -> Streams:
    ((host, port),) = await listeners.open(kind, "127.0.0.1:0")
    return await asyncio.open_connection(host, port)


async def ask(streams: Streams, data: bytes) -> str:
    reader, writer = streams
    writer.write(data)
    return await answer(reader)


async def answer(reader: asyncio.StreamReader) -> str:
    lines = []
    while True:
        line = (await reader.readline()).decode()
        lines.append(line.rstrip("\r\n"))
        if line[3:4] != "-":
            return "|".join(lines)


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def upgrade(streams: Streams) -> None:
    await streams[1].start_tls(client_context())


async def close(streams: Streams) -> None:
    streams[1].close()


async def send_mail(streams: Streams) -> str:
    await ask(streams, b"EHLO client.example\r\n")
    await ask(streams, b"MAIL FROM:<ann@remote.example>\r\n")
    await ask(streams, b"RCPT TO:<alice@demo.example>\r\n")
    await ask(streams, b"DATA\r\n")
    return await ask(streams, b"Subject: x\r\n\r\nbody\r\n.\r\n")


def test_a_message_over_a_socket(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        streams = await dial(listeners, ListenerKind.SMTP)
        assert (await answer(streams[0])).startswith("220 mail.demo.example ESMTP")
        assert (await send_mail(streams)).startswith("250 2.0.0 queued")
        assert (await ask(streams, b"QUIT\r\n")).startswith("221")
        assert await streams[0].read() == b""
        assert edge.bus.mail[0].client.address == "127.0.0.1"
        await close(streams)

    play(scenario)


def test_starttls_discards_injected_plain_text(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        streams = await dial(listeners, ListenerKind.SMTP)
        await answer(streams[0])
        await ask(streams, b"EHLO client.example\r\n")
        assert (await ask(streams, b"STARTTLS\r\nMAIL FROM:<evil@evil.example>\r\nNOOP\r\n")).startswith("220")
        await upgrade(streams)
        assert (await ask(streams, b"RCPT TO:<alice@demo.example>\r\n")).startswith("503 5.5.1")
        assert "STARTTLS" not in await ask(streams, b"EHLO client.example\r\n")
        assert (await send_mail(streams)).startswith("250 2.0.0 queued")
        assert edge.bus.mail[0].client.tls.startswith("TLSv1.3 with cipher TLS_")
        await close(streams)

    play(scenario)


def test_465_speaks_tls_first(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        ((host, port),) = await listeners.open(ListenerKind.SUBMISSIONS, "127.0.0.1:0")
        streams = await asyncio.open_connection(host, port, ssl=client_context())
        assert (await answer(streams[0])).startswith("220 ")
        assert "AUTH PLAIN LOGIN" in await ask(streams, b"EHLO client.example\r\n")
        assert (await ask(streams, b"AUTH PLAIN AGEAYg==\r\n")).startswith("535 5.7.8")
        assert (await ask(streams, b"QUIT\r\n")).startswith("221")
        await close(streams)
        plain = await asyncio.open_connection(host, port)
        plain[1].write(b"EHLO not.tls\r\n")
        assert b"220" not in await plain[0].read()
        await close(plain)

    play(scenario)


def test_who_is_silent_on_465_counts_before_the_handshake(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        edge.change(max_sessions_per_address=2)
        own = Listeners(edge.site, listeners.tls_context)
        ((host, port),) = await own.open(ListenerKind.SUBMISSIONS, "127.0.0.1:0")
        silent = [await asyncio.open_connection(host, port) for _ in range(2)]
        with pytest.raises(OSError):  # noqa: PT011  # which one is the system's affair
            await asyncio.open_connection(host, port, ssl=client_context())
        for streams in silent:
            await close(streams)
        while True:
            try:
                streams = await asyncio.open_connection(host, port, ssl=client_context())
                break
            except OSError:
                await asyncio.sleep(0)
        assert (await answer(streams[0])).startswith("220 ")
        await close(streams)
        await own.drain()

    play(scenario)


def test_who_closes_its_half_still_gets_the_replies(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        streams = await dial(listeners, ListenerKind.SMTP)
        await answer(streams[0])
        streams[1].write(
            b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@demo.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
        )
        streams[1].write_eof()
        assert (await streams[0].read()).endswith(b"221 2.0.0 bye\r\n")
        assert len(edge.bus.mail) == 1
        await close(streams)

    play(scenario)


def test_early_talkers_are_refused(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        streams = await dial(listeners, ListenerKind.SMTP)
        streams[1].write(b"EHLO early.example\r\n")
        assert await answer(streams[0]) == "554 5.5.0 you spoke before the greeting"
        assert await streams[0].read() == b""
        await close(streams)

    play(scenario)


def test_a_large_message_passes_in_pieces(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        body = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 150_000
        streams = await dial(listeners, ListenerKind.SMTP)
        await answer(streams[0])
        for line in (b"EHLO c.example", b"MAIL FROM:<>", b"RCPT TO:<alice@demo.example>", b"DATA"):
            await ask(streams, line + b"\r\n")
        assert (await ask(streams, body + b".\r\n")).startswith("250")
        assert list(edge.blobs.blobs.values()) == [body]
        await close(streams)

    play(scenario)


def test_drain_refuses_new_connections(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        ((host, port),) = await listeners.open(ListenerKind.SMTP, "127.0.0.1:0")
        streams = await asyncio.open_connection(host, port)
        await answer(streams[0])
        await listeners.drain()
        assert (await answer(streams[0])).startswith("421 4.3.2")
        with pytest.raises(OSError, match=r".*"):
            await asyncio.open_connection(host, port)
        await close(streams)

    play(scenario)


def test_a_busy_port_is_said(play: Callable[[Scenario], None]) -> None:
    async def scenario(edge: Edge, listeners: Listeners) -> None:
        ((host, port),) = await listeners.open(ListenerKind.SMTP, "127.0.0.1:0")
        with pytest.raises(MailError, match=f"{host}:{port}"):
            await listeners.open(ListenerKind.SUBMISSION, f"{host}:{port}")

    play(scenario)
