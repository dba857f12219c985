"""TLS for listeners: one SSLContext for the life of the process, its certificates kept up to date underneath.

`ServerTls(context)` in a service's `build` is all that is needed; its `context` goes to every listener and STARTTLS.
Certificates come from dns-provisioner, are looked for again at `certificate.changed` and every minute, and are kept
when it is away. A handshake before the first certificate fails with an alert; readiness says so. The certificate is
chosen by server name (SNI, RFC 6066 §3), the first one is the default. TLS 1.2 is the least (RFC 8996).
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Sequence

import msgspec

from postbus.bus.subjects import SUBJECT_CERTIFICATE_CHANGED
from postbus.contracts.dns_provisioner import ListCertificatesRequest, ServerCertificate
from postbus.contracts.events import CertificateChanged
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.background import pause_seconds
from postbus.runtime.service import Context

log = logging.getLogger(__name__)

REFRESH_SECONDS = 60.0


class _Choice(msgspec.Struct, frozen=True):
    """A certificate ready for handshakes."""

    names: tuple[str, ...]
    context: ssl.SSLContext


class ServerTls:
    """The server side's TLS of one service."""

    def __init__(self, context: Context) -> None:
        """Begins to fetch certificates in the background; adds the readiness check `tls`."""
        self._source = context.rpc.dns_provisioner
        self._bus = context.bus
        self._choices: tuple[_Choice, ...] = ()
        self._revision = 0
        self._wanted = asyncio.Event()
        self._loaded = asyncio.Event()
        self.ca_pem = b""
        """The private CA; empty: certificates are public, or not fetched yet."""
        self.context = new_server_context()
        self.context.sni_callback = self._choose
        context.add_check("tls", self.check)
        context.spawn("tls", self._follow)

    async def wait_ready(self) -> None:
        """Returns when there is a certificate."""
        await self._loaded.wait()

    async def check(self) -> None:
        """Readiness. Raises MailError while there is no certificate."""
        if not self._choices:
            raise MailError(ErrorKind.UNAVAILABLE, "tls: no certificate yet")

    async def refresh(self) -> None:
        """Asks for newer certificates. Raises MailError."""
        reply = await self._source.list_certificates(ListCertificatesRequest(known_revision=self._revision))
        if not reply.certificates:
            return
        self._choices = tuple(_make_choice(certificate) for certificate in reply.certificates)
        self._revision = reply.revision
        self.ca_pem = reply.ca_pem
        self._loaded.set()
        log.info("tls.certificates.loaded", extra={"revision": reply.revision, "count": len(self._choices)})

    async def _follow(self) -> None:
        unsubscribe = await self._bus.listen(SUBJECT_CERTIFICATE_CHANGED, CertificateChanged, self._on_change)
        try:
            failures = 0
            while True:
                self._wanted.clear()
                try:
                    await self.refresh()
                    failures = 0
                except MailError as error:
                    failures += 1
                    # Other services may still be starting: that is no news.
                    level = logging.WARNING if self._choices or failures > 10 else logging.DEBUG
                    log.log(level, "tls.refresh.failed", extra={"reason": str(error)})
                await self._pause(failures)
        finally:
            await unsubscribe()

    async def _pause(self, failures: int) -> None:
        seconds = REFRESH_SECONDS if not failures or self._choices else min(1.0, pause_seconds(failures))
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def _on_change(self, change: CertificateChanged) -> None:
        if change.revision != self._revision:
            self._wanted.set()

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        """OpenSSL asks this in every handshake, also without SNI."""
        if not self._choices:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = choose_by_name([(choice.names, choice.context) for choice in self._choices], name)
        return None


def choose_by_name(choices: Sequence[tuple[tuple[str, ...], ssl.SSLContext]], name: str | None) -> ssl.SSLContext:
    """The context whose names fit `name`, exactly or by a wildcard (RFC 6125 §6.4.3), else the first."""
    wanted = (name or "").lower().rstrip(".")
    wildcard = f"*.{wanted.partition('.')[2]}"
    for names, context in choices:
        if wanted in names:
            return context
    for names, context in choices:
        if wildcard in names:
            return context
    return choices[0][1]


def new_server_context() -> ssl.SSLContext:
    """A server's context: TLS 1.2 or later, no compression, our order of ciphers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    return context


def _make_choice(certificate: ServerCertificate) -> _Choice:
    context = new_server_context()
    load_certificate(context, certificate.chain_pem, certificate.key_pem)
    return _Choice(tuple(name.lower() for name in certificate.names), context)


def load_certificate(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """Loads a certificate that no file holds: OpenSSL wants a path, memory has one. Raises ssl.SSLError."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, key_pem.rstrip(b"\n") + b"\n" + chain_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
