"""Signs a message (RFC 6376 §5; RFC 8463 for Ed25519): relaxed/relaxed, SHA-256, one field per key.

Every field that readers see or programs act on is signed, and those that must stand once are signed once more than
they occur ("oversigned", RFC 6376 §8.15), so that a second From or Subject, or a Reply-To out of nothing, breaks the
signature. No l=, no x=: the first lets strangers add to the body, the second is for replay that nobody checks. The
body is read once for all keys.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from postbus.contracts.dns_provisioner import DkimAlgorithm
from postbus.core.errors import ErrorKind, MailError
from postbus.dkim.canonical import relax_body, relax_value, split_message

MIN_RSA_BITS: Final = 1024  # RFC 8301 §3.2
MAX_LINE_OCTETS: Final = 76
MAX_SIGNED_INSTANCES: Final = 30
"""Of one name, counted from the bottom: the signature field stays below the 8 KB that verifiers read."""

OVERSIGNED: Final = (
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
"""RFC 6376 §5.4.1, and what decides how the body is read."""
SIGNED: Final = (
    b"sender",
    b"in-reply-to",
    b"references",
    b"content-disposition",
    b"content-id",
    b"content-description",
    b"resent-date",
    b"resent-from",
    b"resent-sender",
    b"resent-to",
    b"resent-cc",
    b"resent-message-id",
    b"list-id",
    b"list-help",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-subscribe",
    b"list-post",
    b"list-owner",
    b"list-archive",
)
"""Signed as often as they occur: those who pass mail on may add more of them (RFC 6376 §5.4.1, RFC 8058 §4)."""

_DIGEST: Final = Prehashed(hashes.SHA256())


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A private key ready to sign; loading one takes longer than signing, so callers keep it."""

    domain: str
    selector: str
    algorithm: DkimAlgorithm
    key: RSAPrivateKey | Ed25519PrivateKey


def load_signing_key(domain: str, selector: str, algorithm: DkimAlgorithm, private_key_pem: bytes) -> SigningKey:
    """Reads a PKCS #8 key. Raises MailError: INVALID when it is none, or none for this algorithm."""
    try:
        key = load_pem_private_key(private_key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _invalid(selector, domain, "malformed") from error
    if algorithm is DkimAlgorithm.ED25519_SHA256 and isinstance(key, Ed25519PrivateKey):
        return SigningKey(domain=domain, selector=selector, algorithm=algorithm, key=key)
    if algorithm is DkimAlgorithm.RSA_SHA256 and isinstance(key, RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return SigningKey(domain=domain, selector=selector, algorithm=algorithm, key=key)
    raise _invalid(selector, domain, f"no key for {algorithm.value}")


def sign_message(content: bytes, keys: Sequence[SigningKey], now_seconds: int) -> bytes:
    """DKIM-Signature fields to put before `content` (CRLF line ends), one per key in their order, each with its CRLF.

    `now_seconds` is Unix time, for t=. Any content can be signed, also one without a header section or body.
    """
    if not keys:
        return b""
    fields, body_start = split_message(content)
    hasher = hashlib.sha256()
    for piece in relax_body(content, body_start):
        hasher.update(piece)
    body_hash = base64.b64encode(hasher.digest()).decode("ascii")
    names = choose_names(fields)
    signed = b"".join(_signed_fields(fields, names))
    return b"".join(_make_field(key, now_seconds, names, body_hash, signed) for key in keys)


def choose_names(fields: Mapping[bytes, Sequence[bytes]]) -> list[bytes]:
    """The h= list for a header section: a name as often as it is signed."""
    names: list[bytes] = []
    for name in OVERSIGNED:
        names += [name] * (min(len(fields.get(name, ())), MAX_SIGNED_INSTANCES) + 1)
    for name in SIGNED:
        names += [name] * min(len(fields.get(name, ())), MAX_SIGNED_INSTANCES)
    return names


def _signed_fields(fields: Mapping[bytes, Sequence[bytes]], names: Sequence[bytes]) -> list[bytes]:
    """Canonical fields in the order of h=, instances from the bottom; what is not there is nothing (§5.4.2)."""
    left = {name: list(values) for name, values in fields.items()}
    lines: list[bytes] = []
    for name in names:
        values = left.get(name)
        if values:
            lines.append(name + b":" + relax_value(values.pop()) + b"\r\n")
    return lines


def _make_field(key: SigningKey, now_seconds: int, names: Sequence[bytes], body_hash: str, signed: bytes) -> bytes:
    """The field, its b= made over `signed` and itself (RFC 6376 §3.7)."""
    pieces = [
        "v=1; ",
        f"a={key.algorithm.value}; ",
        "c=relaxed/relaxed; ",
        f"d={key.domain}; ",
        f"s={key.selector}; ",
        f"t={now_seconds}; ",
        *_h_tag([name.decode("ascii") for name in names]),
        f"bh={body_hash}; ",
        "b=",
    ]
    text = _fold("DKIM-Signature: ", pieces)
    own = b"dkim-signature:" + relax_value(text.partition(":")[2].replace("\r\n", "").encode("ascii"))
    value = base64.b64encode(_sign(key, hashlib.sha256(signed + own).digest())).decode("ascii")
    return (_fold(text, [value[at : at + 64] for at in range(0, len(value), 64)]) + "\r\n").encode("ascii")


def _h_tag(names: Sequence[str]) -> list[str]:
    """h= in pieces that a fold may stand between."""
    return [f"{'h=' if index == 0 else ''}{name}:" for index, name in enumerate(names[:-1])] + [f"{names[-1]}; "]


def _fold(text: str, pieces: Sequence[str]) -> str:
    """The text with the pieces after it, folded between them where a line would grow too long."""
    at = len(text) - (text.rfind("\n") + 1)
    made = [text]
    for piece in pieces:
        if at + len(piece.rstrip()) > MAX_LINE_OCTETS:
            made[-1] = made[-1].rstrip(" ")
            made.append("\r\n\t")
            at = 1
        made.append(piece)
        at += len(piece)
    return "".join(made)


def _sign(key: SigningKey, digest: bytes) -> bytes:
    if isinstance(key.key, Ed25519PrivateKey):
        return key.key.sign(digest)  # RFC 8463 §3: PureEd25519 over the hash
    return key.key.sign(digest, PKCS1v15(), _DIGEST)


def _invalid(selector: str, domain: str, detail: str) -> MailError:
    return MailError(ErrorKind.INVALID, f"DKIM key {selector} of {domain}: {detail}")
