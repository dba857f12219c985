"""dns-provisioner's port: the certificates and keys that other services use."""

from typing import Protocol

import msgspec


class ListCertificatesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All server certificates, unless the caller has `known_revision` already."""

    known_revision: int = 0


class ServerCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its key, for TLS listeners."""

    names: tuple[str, ...]
    """DNS names and IP addresses; the first certificate of a reply is the default (no or unknown SNI)."""
    chain_pem: bytes
    key_pem: bytes
    not_after_ms: int


class ListCertificatesReply(msgspec.Struct, frozen=True, kw_only=True):
    """`certificates` is empty when `known_revision` is current."""

    revision: int
    certificates: tuple[ServerCertificate, ...] = ()
    ca_pem: bytes = b""
    """The private CA that clients of this installation may trust; empty when certificates are public."""


class CertificateSource(Protocol):
    """The port of everything that listens with TLS."""

    async def list_certificates(self, request: ListCertificatesRequest) -> ListCertificatesReply:
        """The server certificates in force."""
        ...


class DnsProvisioner(CertificateSource, Protocol):
    """All that dns-provisioner serves."""
