"""One context for all listeners: certificates by server name, taken over while it is in use. Handshakes in memory."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from postbus.contracts.dns_provisioner import ListCertificatesReply, ListCertificatesRequest, ServerCertificate
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.service import Context
from postbus.runtime.tls import ServerTls, choose_by_name, new_server_context
from postbusd.dns_provisioner.authority import make_authority, make_server_certificate

NOW_MS = 1_790_000_000_000
AUTHORITY = make_authority("mail.demo.example", NOW_MS)


def certificate(*names: str) -> ServerCertificate:
    pair = make_server_certificate(AUTHORITY, names, 90, NOW_MS)
    return ServerCertificate(
        names=names, chain_pem=pair.certificate_pem, key_pem=pair.key_pem, not_after_ms=pair.not_after_ms
    )


class FakeContext:
    """The parts of a Context that ServerTls uses."""

    def __init__(self) -> None:
        self.rpc = self.dns_provisioner = self.bus = self
        self.reply: ListCertificatesReply | None = None
        self.checks: dict[str, Callable[[], Awaitable[None]]] = {}
        self.loops: list[str] = []

    def add_check(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        self.checks[name] = check

    def spawn(self, name: str, work: Callable[[], Any]) -> None:
        self.loops.append(name)

    async def list_certificates(self, request: ListCertificatesRequest) -> ListCertificatesReply:
        if self.reply is None:
            raise MailError(ErrorKind.UNAVAILABLE, "dns-provisioner: away")
        if request.known_revision == self.reply.revision:
            return ListCertificatesReply(revision=self.reply.revision)
        return self.reply


def make() -> tuple[FakeContext, ServerTls]:
    context = FakeContext()
    return context, ServerTls(cast(Context, context))


def handshake(server: ssl.SSLContext, name: str | None, version: ssl.TLSVersion | None = None) -> tuple[bytes, str]:
    """The server's certificate and the TLS version. Raises ssl.SSLError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    if version is not None:
        client.maximum_version = version
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = ends[0].getpeercert(binary_form=True)
    assert found is not None
    return found, ends[0].version() or ""


def der(wanted: ServerCertificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(wanted.chain_pem.decode())


async def test_before_the_first_certificate_handshakes_fail_and_readiness_says_so() -> None:
    context, tls = make()
    with pytest.raises(MailError, match="no certificate yet"):
        await context.checks["tls"]()
    with pytest.raises(MailError, match="away"):
        await tls.refresh()
    with pytest.raises(ssl.SSLError):
        handshake(tls.context, "mail.demo.example")
    assert context.loops == ["tls"]


async def test_the_certificate_is_chosen_by_server_name() -> None:
    context, tls = make()
    main, other = certificate("mail.demo.example", "127.0.0.1"), certificate("mail.other.example", "*.wild.example")
    context.reply = ListCertificatesReply(revision=1, certificates=(main, other), ca_pem=AUTHORITY.certificate_pem)
    await tls.refresh()
    await tls.wait_ready()
    await context.checks["tls"]()
    assert tls.ca_pem == AUTHORITY.certificate_pem
    for name, expected in (
        ("mail.demo.example", main),
        ("MAIL.OTHER.EXAMPLE", other),
        ("a.wild.example", other),
        ("nobody.example", main),
        (None, main),
    ):
        assert handshake(tls.context, name)[0] == der(expected)


async def test_tls_1_3_and_1_2_are_spoken() -> None:
    context, tls = make()
    context.reply = ListCertificatesReply(revision=1, certificates=(certificate("a.example"),))
    await tls.refresh()
    assert handshake(tls.context, "a.example")[1] == "TLSv1.3"
    assert handshake(tls.context, "a.example", ssl.TLSVersion.TLSv1_2)[1] == "TLSv1.2"
    assert new_server_context().minimum_version == ssl.TLSVersion.TLSv1_2


async def test_a_newer_certificate_takes_over_and_the_last_one_is_kept() -> None:
    context, tls = make()
    first, second = certificate("a.example"), certificate("a.example")
    context.reply = ListCertificatesReply(revision=1, certificates=(first,))
    await tls.refresh()
    context.reply = None
    with pytest.raises(MailError):
        await tls.refresh()
    assert handshake(tls.context, "a.example")[0] == der(first)
    context.reply = ListCertificatesReply(revision=2, certificates=(second,))
    await tls.refresh()
    await tls.refresh()
    assert handshake(tls.context, "a.example")[0] == der(second)


def test_an_exact_name_wins_over_a_wildcard() -> None:
    wild, exact = new_server_context(), new_server_context()
    choices = [(("*.a.example",), wild), (("x.a.example",), exact)]
    assert choose_by_name(choices, "x.a.example") is exact
    assert choose_by_name(choices, "y.a.example") is wild
    assert choose_by_name(choices, "y.x.a.example") is wild
