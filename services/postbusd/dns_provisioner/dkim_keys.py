"""DKIM keys as values: made, named, written as key records (RFC 6376 §3.6.1, RFC 8463 §4). No state and no I/O."""

import base64
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from postbus.contracts.dns_provisioner import DkimAlgorithm

RSA_BITS: Final = 2048  # RFC 8301 §3.2: "SHOULD use RSA keys of at least 2048 bits"
FIRST_ALGORITHMS: Final = (DkimAlgorithm.RSA_SHA256, DkimAlgorithm.ED25519_SHA256)
"""Of a domain's first pair, numbered from 1. Verifiers that know no Ed25519 pass over its signature."""
KEY_TYPES: Final = {DkimAlgorithm.RSA_SHA256: "rsa", DkimAlgorithm.ED25519_SHA256: "ed25519"}


def make_private_key(algorithm: DkimAlgorithm) -> tuple[bytes, bytes]:
    """A new key as PKCS #8 PEM, and what p= of its record says, decoded. Takes up to a second: call it in a thread."""
    if algorithm is DkimAlgorithm.ED25519_SHA256:
        ed25519 = Ed25519PrivateKey.generate()
        public = ed25519.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return _pem(ed25519), public
    rsa = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return _pem(rsa), rsa.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def name_selector(installation_id: str, number: int) -> str:
    """A selector that no other installation uses for the same domain."""
    return f"postbus-{installation_id}-{number}"


def format_key_record(algorithm: DkimAlgorithm, public_key: bytes) -> str:
    """The TXT record at `<selector>._domainkey.<domain>`."""
    return f"v=DKIM1; k={KEY_TYPES[algorithm]}; p={base64.b64encode(public_key).decode('ascii')}"


def _pem(key: Ed25519PrivateKey | RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
