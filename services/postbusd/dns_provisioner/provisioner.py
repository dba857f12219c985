"""Certificates: made, renewed and handed out; replicas agree through the store."""

import ipaddress
import logging
from collections.abc import Sequence

from postbus.contracts.dns_provisioner import ListCertificatesReply, ListCertificatesRequest, ServerCertificate
from postbus.core.clock import Clock
from postbus.core.ids import new_uuid7
from postbus.runtime.sealing import Sealer
from postbusd.dns_provisioner.authority import make_authority, make_server_certificate
from postbusd.dns_provisioner.ports import CertificateStore
from postbusd.dns_provisioner.settings import DnsProvisionerSettings
from postbusd.dns_provisioner.values import KeyPair, SealedPair, Stock

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def certificate_names(mail_host: str, extra_names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the server certificate, mail_host first: lower-case DNS names, IP addresses in canonical form."""
    return tuple(dict.fromkeys(_canonical(name) for name in (mail_host, *LOCAL_NAMES, *extra_names)))


def _canonical(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return (
            name.lower().rstrip(".").encode("idna").decode("ascii") if not name.isascii() else name.lower().rstrip(".")
        )


class CertificateProvisioner:
    """Implements `postbus.contracts.dns_provisioner.CertificateSource`."""

    def __init__(
        self, store: CertificateStore, sealer: Sealer, clock: Clock, mail_host: str, settings: DnsProvisionerSettings
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._mail_host = mail_host
        self._names = certificate_names(mail_host, settings.extra_names)
        self._settings = settings
        self._reply: ListCertificatesReply | None = None
        self.soonest_end_ms = 0
        """When the first certificate in force ends; 0: none is known yet."""

    def set_locations(self, mail_hosts: Sequence[str]) -> None:
        """Names of the mail server that the policy and domains give it: in the next certificate."""
        self._names = certificate_names(self._mail_host, (*self._settings.extra_names, *mail_hosts))

    async def list_certificates(self, request: ListCertificatesRequest) -> ListCertificatesReply:
        """See `CertificateSource.list_certificates`; makes the first certificate when there is none yet."""
        revision = await self._store.load_revision()
        if revision and revision == request.known_revision:
            return ListCertificatesReply(revision=revision)
        if self._reply is None or self._reply.revision != revision:
            stock = await self._store.load()
            if not stock.certificates:
                stock, _ = await self._store.change(self._decide)
            self._note_end(stock)
            self._reply = self._make_reply(stock)
        return self._reply

    async def renew(self) -> int | None:
        """Makes what is missing or about to end; the new revision, or None when all was well. Raises MailError."""
        stock, changed = await self._store.change(self._decide)
        self._note_end(stock)
        if changed:
            log.info("certificate.made", extra={"revision": stock.revision, "names": list(self._names)})
        return stock.revision if changed else None

    def _decide(self, stock: Stock) -> Stock | None:
        """What shall be in force; called while nobody else can change it."""
        now_ms = self._clock.now_ms()
        due_ms = now_ms + self._settings.renew_before_days * DAY_MS
        authority = stock.authority
        # A CA that ends within a certificate's life would cut it short.
        if authority is None or authority.not_after_ms < now_ms + self._settings.certificate_days * DAY_MS:
            made = make_authority(self._names[0], now_ms)
            authority = self._seal("authority", made, ())
        elif any(self._is_fit(certificate, due_ms) for certificate in stock.certificates):
            return None
        issuer = KeyPair(
            certificate_pem=authority.certificate_pem,
            key_pem=self._sealer.open(authority.key_sealed, f"authority:{authority.pair_id}"),
            not_after_ms=authority.not_after_ms,
        )
        pair = make_server_certificate(issuer, self._names, self._settings.certificate_days, now_ms)
        return Stock(
            revision=stock.revision, authority=authority, certificates=(self._seal("certificate", pair, self._names),)
        )

    def _note_end(self, stock: Stock) -> None:
        self.soonest_end_ms = min((certificate.not_after_ms for certificate in stock.certificates), default=0)

    def _is_fit(self, certificate: SealedPair, due_ms: int) -> bool:
        return set(self._names) <= set(certificate.names) and certificate.not_after_ms > due_ms

    def _seal(self, kind: str, pair: KeyPair, names: tuple[str, ...]) -> SealedPair:
        pair_id = new_uuid7(self._clock.now_ms())
        return SealedPair(
            pair_id=pair_id,
            certificate_pem=pair.certificate_pem,
            key_sealed=self._sealer.seal(pair.key_pem, f"{kind}:{pair_id}"),
            not_after_ms=pair.not_after_ms,
            names=names,
        )

    def _make_reply(self, stock: Stock) -> ListCertificatesReply:
        return ListCertificatesReply(
            revision=stock.revision,
            certificates=tuple(
                ServerCertificate(
                    names=certificate.names,
                    chain_pem=certificate.certificate_pem,
                    key_pem=self._sealer.open(certificate.key_sealed, f"certificate:{certificate.pair_id}"),
                    not_after_ms=certificate.not_after_ms,
                )
                for certificate in stock.certificates
            ),
            ca_pem=stock.authority.certificate_pem if stock.authority else b"",
        )
