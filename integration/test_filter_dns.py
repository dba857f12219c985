"""The resolver and the whole filter against a real DNS server on loopback: UDP, TCP, truncation, failure, silence."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dkim
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from postbus.contracts.filter import CheckConnectionRequest, CheckMessageRequest, Verdict
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import QueueId
from postbus.runtime.dns import DnsResolver, DnsStatus, HostRecord, MxRecord, RecordType, TlsaRecord
from postbus.runtime.settings import RuntimeSettings
from postbus.testing.blobs import MemoryBlobStore
from postbus.testing.dns_server import LoopbackDns, serving_dns
from postbusd.filter.app import SPEC
from postbusd.filter.settings import FilterSettings


@pytest.fixture
async def server() -> AsyncIterator[LoopbackDns]:
    async with serving_dns() as found:
        yield found


@pytest.fixture
async def resolver(server: LoopbackDns) -> AsyncIterator[DnsResolver]:
    found = DnsResolver(f"127.0.0.1:{server.port}", timeout_seconds=0.5)
    yield found
    await found.close()


async def test_every_record_type_becomes_a_value(server: LoopbackDns, resolver: DnsResolver) -> None:
    server.add("host.example", "A", "192.0.2.1")
    server.add("host.example", "AAAA", "2001:db8::1")
    server.add("host.example", "MX", "10 MX.Host.example.", "5 .")
    server.add("host.example", "TXT", '"a" "b"')
    server.add("_25._tcp.host.example", "TLSA", "3 1 0 00ff")
    server.add("1.2.0.192.in-addr.arpa", "PTR", "Host.example.")
    assert (await resolver.resolve("host.example", RecordType.A)).records == (HostRecord("192.0.2.1"),)
    assert (await resolver.resolve("host.example", RecordType.AAAA)).hosts() == ("2001:db8::1",)
    exchanges = (await resolver.resolve("host.example", RecordType.MX)).exchanges()
    assert exchanges == (MxRecord(5, ""), MxRecord(10, "mx.host.example"))
    assert (await resolver.resolve("host.example", RecordType.TXT)).texts() == (b"ab",)
    tlsa = (await resolver.resolve("_25._tcp.host.example", RecordType.TLSA)).records
    assert tlsa == (TlsaRecord(3, 1, 0, b"\x00\xff"),)
    assert (await resolver.resolve("1.2.0.192.in-addr.arpa", RecordType.PTR)).hosts() == ("host.example",)


async def test_absence_is_an_answer_and_is_cached(server: LoopbackDns, resolver: DnsResolver) -> None:
    server.add("a.host.example", "A", "192.0.2.1")
    for _ in range(2):
        missing = await resolver.resolve("gone.example", RecordType.A)
        assert (missing.status, missing.ttl_seconds) == (DnsStatus.NXDOMAIN, 60.0)
        assert (await resolver.resolve("host.example", RecordType.A)).status is DnsStatus.NODATA
    assert len(server.asked) == 2


@pytest.mark.parametrize("name", ["broken.example", "silent.example"])
async def test_failure_is_unavailable(server: LoopbackDns, resolver: DnsResolver, name: str) -> None:
    with pytest.raises(MailError) as caught:
        await resolver.resolve(name, RecordType.A)
    assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_long_answers_come_over_tcp(server: LoopbackDns, resolver: DnsResolver) -> None:
    server.add("long.example", "TXT", *(f'"{number}{"x" * 200}"' for number in range(9)))
    assert len((await resolver.resolve("long.example", RecordType.TXT)).texts()) == 9
    assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]


async def test_the_ad_bit_is_passed_on(server: LoopbackDns, resolver: DnsResolver) -> None:
    server.add("secure.example", "A", "192.0.2.1")
    server.add("plain.example", "A", "192.0.2.1")
    assert (await resolver.resolve("secure.example", RecordType.A)).authenticated
    assert not (await resolver.resolve("plain.example", RecordType.A)).authenticated


class FilterContext:
    """What the filter needs of its process."""

    def __init__(self, server: LoopbackDns) -> None:
        self.clock = SystemClock()
        self.runtime = RuntimeSettings(resolver=f"127.0.0.1:{server.port}", mail_host="mail.demo.example")
        self.blobs = MemoryBlobStore()
        self.registry = CollectorRegistry()
        self.rpc = SimpleNamespace(directory=self)
        self.bus = self

    async def listen(self, subject: str, kind: type, handle: object) -> None:
        """Nothing changes."""

    def on_reconnect(self, handle: object) -> None:
        """The bus stays."""

    def spawn(self, name: str, work: object) -> None:
        """The defaults hold."""


def sign(content: bytes, server: LoopbackDns) -> bytes:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = base64.b64encode(public).decode()
    server.add("sel._domainkey.mail.example", "TXT", f'"v=DKIM1; p={text[:200]}" "{text[200:]}"')
    field: bytes = dkim.sign(content, b"sel", b"mail.example", pem)
    return field + content


def plain_message(body: bytes) -> bytes:
    return (
        b"From: Anna <anna@mail.example>\r\nTo: ben@demo.example\r\nSubject: Report\r\n"
        b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <2@mail.example>\r\n\r\n" + body
    )


def request(content: bytes, **changes: object) -> CheckMessageRequest:
    asked = CheckMessageRequest(
        queue_id=QueueId("0" * 26),
        client_address="192.0.2.1",
        helo="host.example",
        reverse_path="anna@mail.example",
        recipients=(),
        content=content,
        size_octets=len(content),
    )
    return msgspec.structs.replace(asked, **changes)


async def test_the_filter_judges_a_large_signed_message(server: LoopbackDns, tmp_path: Path) -> None:
    server.add("mail.example", "TXT", '"v=spf1 mx -all"')
    server.add("mail.example", "MX", "10 host.example.")
    server.add("host.example", "A", "192.0.2.1")
    server.add("1.2.0.192.in-addr.arpa", "PTR", "host.example.")
    server.add("_dmarc.mail.example", "TXT", '"v=DMARC1; p=reject"')
    context: Any = FilterContext(server)
    running = await SPEC.build(context, FilterSettings(check_seconds=10.0))
    port: Any = running.port
    await running.start()
    content = sign(plain_message(b"0123456789 abcdef\r\n" * 550_000), server)
    blob_id = await context.blobs.put(content)
    reply = await port.check_message(request(b"", blob_id=blob_id, size_octets=len(content)))
    assert (reply.verdict, reply.spf, reply.dkim, reply.dmarc) == (Verdict.ACCEPT, "pass", "pass", "pass")
    forged = await port.check_message(request(content.replace(b"Report", b"Refund"), client_address="198.51.100.9"))
    assert (forged.verdict, forged.spf, forged.dkim) == (Verdict.REJECT, "fail", "fail")
    assert forged.reply_enhanced == "5.7.1"
    connection = await port.check_connection(CheckConnectionRequest(client_address="192.0.2.1"))
    assert connection.client_name == "host.example"
    assert context.registry.get_sample_value("postbus_filter_dns_queries_total", {"outcome": "answer"}) > 0
    await running.drain()


async def test_the_default_dnsbl_refuses_who_is_listed(server: LoopbackDns) -> None:
    server.add("7.101.51.198.zen.spamhaus.org", "A", "127.0.0.4")
    server.add("8.101.51.198.zen.spamhaus.org", "A", "127.255.255.254")
    context: Any = FilterContext(server)
    running = await SPEC.build(context, FilterSettings())
    port: Any = running.port
    words = [
        await port.check_connection(CheckConnectionRequest(client_address=f"198.51.101.{number}"))
        for number in (7, 8, 9)
    ]
    assert [word.verdict for word in words] == [Verdict.REJECT, Verdict.ACCEPT, Verdict.ACCEPT]
    assert words[0].reply_text == (
        "198.51.101.7 is listed at zen.spamhaus.org, see https://check.spamhaus.org/results/?query=198.51.101.7"
    )
    await running.drain()


async def test_the_filter_bears_a_dead_dns(server: LoopbackDns) -> None:
    context: Any = FilterContext(server)
    running = await SPEC.build(context, FilterSettings(check_seconds=0.2))
    port: Any = running.port
    silent = request(
        plain_message(b"Hello\r\n"), reverse_path="anna@silent.example", client_address="127.0.0.1", helo="a.example"
    )
    reply = await port.check_message(silent)
    assert reply.spf == "temperror"
    assert reply.verdict is Verdict.ACCEPT
    await running.drain()
