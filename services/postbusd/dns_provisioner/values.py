"""What dns-provisioner keeps: a private CA, server certificates and DKIM keys, the private ones sealed."""

import msgspec

from postbus.contracts.dns_provisioner import DkimAlgorithm


class SealedPair(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and its key as they are stored."""

    pair_id: str
    """UUID text form; bound to the sealed key."""
    certificate_pem: bytes
    key_sealed: bytes
    not_after_ms: int
    names: tuple[str, ...] = ()
    """Of a server certificate; the CA has none."""


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in force at one revision."""

    revision: int
    authority: SealedPair | None = None
    certificates: tuple[SealedPair, ...] = ()


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and its key in the clear, in memory only."""

    certificate_pem: bytes
    key_pem: bytes
    not_after_ms: int


class SealedDkimKey(msgspec.Struct, frozen=True, kw_only=True):
    """A DKIM key as it is stored."""

    domain: str
    selector: str
    algorithm: DkimAlgorithm
    key_sealed: bytes
    """PKCS #8 PEM, bound to `seal_owner`."""
    public_key: bytes
    """What p= of its record says, decoded."""

    @property
    def seal_owner(self) -> str:
        """What the sealed key is bound to."""
        return f"dkim:{self.domain}:{self.selector}"


class PublicDkimKey(msgspec.Struct, frozen=True, kw_only=True):
    """What the DNS is told of a key."""

    selector: str
    algorithm: DkimAlgorithm
    public_key: bytes
