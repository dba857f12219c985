"""dns-provisioner's port: the certificates and keys that other services use, and what a domain needs in DNS."""

import enum
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


class DkimAlgorithm(enum.StrEnum):
    """The `a=` of a signature."""

    RSA_SHA256 = "rsa-sha256"
    """RFC 6376 §3.3.2, 2,048 bits."""
    ED25519_SHA256 = "ed25519-sha256"
    """RFC 8463."""


class DkimKey(msgspec.Struct, frozen=True, kw_only=True):
    """A private key that signs mail of a domain."""

    domain: str
    selector: str
    algorithm: DkimAlgorithm
    private_key_pem: bytes
    """PKCS #8."""


class GetDkimKeysRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The keys in force of a domain of ours; made at the first question."""

    domain: str


class GetDkimKeysReply(msgspec.Struct, frozen=True, kw_only=True):
    """RSA first."""

    keys: tuple[DkimKey, ...]


class RecordState(enum.StrEnum):
    """A wanted record beside live DNS."""

    UNKNOWN = "unknown"
    """Not asked for, or DNS gives no answer."""
    OK = "ok"
    MISSING = "missing"
    DIFFERS = "differs"
    """There is another one, or one too many."""


class WantedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record set that a domain needs."""

    name: str
    """Absolute, without the last dot."""
    type: str
    """MX, TXT."""
    values: tuple[str, ...]
    """MX: `10 mail.example.com.`; TXT: the text, joined and unquoted."""
    purpose: str
    """For people: what it is for, one line."""
    ttl_seconds: int = 3600
    state: RecordState = RecordState.UNKNOWN
    live: tuple[str, ...] = ()
    """What DNS says, in the same form."""
    advice: str = ""
    """For people: what to do; empty when all is well."""


class PlanDomainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a domain of ours needs in DNS."""

    domain: str
    actor: str
    compare: bool = False
    """Asks live DNS."""


class PlanDomainReply(msgspec.Struct, frozen=True, kw_only=True):
    """The records, as values and as a zone file (RFC 1035 §5)."""

    domain: str
    records: tuple[WantedRecord, ...]
    zone: str


class DkimKeySource(Protocol):
    """The port of delivery, the only one that signs (architecture §6)."""

    async def get_dkim_keys(self, request: GetDkimKeysRequest) -> GetDkimKeysReply:
        """Raises MailError: NOT_FOUND for a domain that is not ours."""
        ...


class DnsPlanner(Protocol):
    """The port of admin-api."""

    async def plan_domain(self, request: PlanDomainRequest) -> PlanDomainReply:
        """What the domain needs, and with `compare` what is there."""
        ...


class DnsProvisioner(CertificateSource, DkimKeySource, DnsPlanner, Protocol):
    """All that dns-provisioner serves."""
