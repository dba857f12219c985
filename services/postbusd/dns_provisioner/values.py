"""What dns-provisioner keeps: a private CA and server certificates, their keys sealed."""

import msgspec


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
