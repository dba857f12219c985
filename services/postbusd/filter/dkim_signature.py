"""DKIM signatures without keys (RFC 6376 §3): the field's tags, canonical header fields, the body's hash.

Syntax rules and header canonicalization are dkimpy's. The body is ours: dkimpy's expressions take quadratic time on
runs of white space and hold the interpreter for a whole message; here it goes in pieces, in time linear in its size.
"""

import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

import dkim
import msgspec
from dkim.canonicalization import Relaxed, Simple
from dkim.util import InvalidTagValueList, parse_tag_value

MAX_SIGNATURE_FIELD_OCTETS: Final = 8192
MAX_SIGNED_FIELDS: Final = 500
BODY_PIECE_OCTETS: Final = 64 * 1024
CLOCK_SLACK_SECONDS: Final = 3600
"""How far a signer's clock may be off for t= and x=."""

SIGNATURE_FIELD: Final = b"dkim-signature"
ALGORITHMS: Final = frozenset({b"rsa-sha256", b"ed25519-sha256"})
"""rsa-sha1 must not be accepted any more (RFC 8301 §3.1)."""

_B_TAG = re.compile(rb"((?:\A|;)\s*b\s*=)[^;]*")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}\Z")
_DIGITS = re.compile(rb"[0-9]{1,12}\Z")
_TIMES: Final = frozenset({b"t", b"x"})
_WHITE = re.compile(rb"[\t ]{2,}|\t")

RawField = tuple[bytes, bytes]
"""Name as written; everything after the colon, with the line break at the end."""


class SignatureSyntaxError(Exception):
    """The field is no signature that can be verified; the text says why."""


class BodyHashKey(msgspec.Struct, frozen=True):
    """What a body hash depends on: signatures share it."""

    relaxed: bool
    length: int | None


class BodyHash(msgspec.Struct, frozen=True):
    """SHA-256 of the canonical body, and whether l= covers all of it."""

    digest: bytes
    complete: bool


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A DKIM-Signature field, its syntax checked."""

    field: RawField
    domain: str
    """d=, lower-case."""
    selector: str
    identity_domain: str
    """Domain of i=; d= when there is none."""
    algorithm: str
    signed_names: tuple[bytes, ...]
    relaxed_header: bool
    body_hash_key: BodyHashKey
    body_hash: bytes
    value: bytes
    """b=, decoded."""
    value_start: str
    """b= as text, for header.b (RFC 6008)."""

    @property
    def key_name(self) -> str:
        """Where the key record stands (RFC 6376 §3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


def parse_signature(field: RawField, now_seconds: int) -> Signature:
    """The signature of a field, in force at the Unix time `now_seconds`. Raises SignatureSyntaxError."""
    if len(field[1]) > MAX_SIGNATURE_FIELD_OCTETS:
        raise SignatureSyntaxError("signature field too long")
    tags = _parse_tags(field[1])
    _check_times(tags, now_seconds)
    relaxed_header, relaxed_body = _parse_canonicalization(tags.get(b"c", b"simple/simple"))
    names = tuple(name.strip().lower() for name in tags[b"h"].split(b":"))
    if b"from" not in names or len(names) > MAX_SIGNED_FIELDS:
        raise SignatureSyntaxError("From not signed" if b"from" not in names else "too many signed fields")
    if tags[b"a"] not in ALGORITHMS:
        raise SignatureSyntaxError("signature algorithm not accepted")
    try:
        domain = tags[b"d"].decode("ascii").lower()
        identity = tags.get(b"i", b"@" + tags[b"d"]).decode("utf-8").lower()
        selector = tags[b"s"].decode("ascii").lower()
        body_hash, value = binascii.a2b_base64(tags[b"bh"]), binascii.a2b_base64(tags[b"b"])
    except ValueError as error:
        raise SignatureSyntaxError("signature field malformed") from error
    return Signature(
        field=field,
        domain=domain,
        selector=selector,
        identity_domain=identity.rpartition("@")[2],
        algorithm=tags[b"a"].decode("ascii"),
        signed_names=names,
        relaxed_header=relaxed_header,
        body_hash_key=BodyHashKey(relaxed_body, int(tags[b"l"]) if b"l" in tags else None),
        body_hash=body_hash,
        value=value,
        value_start=tags[b"b"][:8].decode("ascii"),
    )


def _parse_tags(value: bytes) -> dict[bytes, bytes]:
    try:
        tags: dict[bytes, bytes] = parse_tag_value(value)
        for name in (b"b", b"bh"):  # without white space dkimpy's expressions are linear
            tags[name] = b"".join(tags.get(name, b"").split())
            if not _BASE64.match(tags[name]):
                raise SignatureSyntaxError(f"{name.decode()}= is not base64")
        dkim.validate_signature_fields({name: tags[name] for name in tags if name not in _TIMES})
    except InvalidTagValueList as error:
        raise SignatureSyntaxError("signature field malformed") from error
    except IndexError as error:
        raise SignatureSyntaxError("empty signature field") from error
    except dkim.ValidationError as error:
        raise SignatureSyntaxError(str(error)) from error
    return tags


def _check_times(tags: dict[bytes, bytes], now_seconds: int) -> None:
    """t= and x= (RFC 6376 §3.5): dkimpy would ask a clock of its own."""
    times: dict[bytes, int] = {}
    for name in _TIMES & tags.keys():
        if not _DIGITS.match(tags[name]):
            raise SignatureSyntaxError("t= or x= is not a time")
        times[name] = int(tags[name])
    made, expires = times.get(b"t"), times.get(b"x")
    if made is not None and made > now_seconds + CLOCK_SLACK_SECONDS:
        raise SignatureSyntaxError("signature from the future")
    if expires is not None and (expires < now_seconds - CLOCK_SLACK_SECONDS or (made is not None and expires < made)):
        raise SignatureSyntaxError("signature expired")


def _parse_canonicalization(value: bytes) -> tuple[bool, bool]:
    header, _, body = value.lower().partition(b"/")
    names = (header, body or b"simple")
    if not set(names) <= {b"simple", b"relaxed"}:
        raise SignatureSyntaxError("unknown canonicalization")
    return names[0] == b"relaxed", names[1] == b"relaxed"


def list_signed_octets(signature: Signature, fields: Sequence[RawField]) -> bytes:
    """What the signature's b= covers (RFC 6376 §3.7); `fields` is the whole header section.

    One more From: than signed is looked for, so that adding one breaks the signature (RFC 6376 §8.15).
    """
    canonical = Relaxed.canonicalize_headers if signature.relaxed_header else Simple.canonicalize_headers
    by_name: dict[bytes, list[RawField]] = {}
    for field in fields:
        by_name.setdefault(field[0].rstrip(b" \t").lower(), []).append(field)
    chosen = []
    for name in (*signature.signed_names, b"from"):
        left = by_name.get(name)
        if left:
            chosen.append(left.pop())
    own = (signature.field[0], _B_TAG.sub(rb"\1", signature.field[1], count=1))
    last_name, last_value = canonical([own])[0]
    pieces = [name + b":" + value for name, value in canonical(chosen)]
    return b"".join([*pieces, last_name, b":", last_value.removesuffix(b"\r\n")])


def hash_body(content: bytes, body_start: int, key: BodyHashKey) -> BodyHash:
    """The hash of the canonical body (RFC 6376 §3.4.3, §3.4.4), of its first l= octets where l= is given."""
    hasher = hashlib.sha256()
    left = key.length
    complete = True
    for piece in _canonical_pieces(content, body_start, key.relaxed):
        if left is not None:
            complete = complete and len(piece) <= left
            piece = piece[:left]
            left -= len(piece)
        hasher.update(piece)
    if left:
        raise SignatureSyntaxError("l= is longer than the body")
    return BodyHash(hasher.digest(), complete)


def _canonical_pieces(content: bytes, body_start: int, relaxed: bool) -> Iterator[bytes]:
    """The canonical body in pieces of whole lines; empty lines at the end are left out."""
    waiting = 0
    written = False
    for piece in _line_pieces(content, body_start):
        if relaxed:
            if b"  " in piece or b"\t" in piece:
                piece = _WHITE.sub(b" ", piece)
            piece = piece.replace(b" \r\n", b"\r\n")
        text, breaks = _split_breaks(piece)
        if text:
            yield b"\r\n" * waiting + text
            written, waiting = True, breaks
        else:
            waiting += breaks
    if written or not relaxed:
        yield b"\r\n"


def _line_pieces(content: bytes, start: int) -> Iterator[bytes]:
    end = len(content)
    while start < end:
        cut = min(start + BODY_PIECE_OCTETS, end)
        if cut < end:
            found = content.find(b"\r\n", cut - 1)
            cut = found + 2 if found >= 0 else end
        yield content[start:cut]
        start = cut


def _split_breaks(piece: bytes) -> tuple[bytes, int]:
    """The piece without the line breaks at its end, and their number; a lone CR or LF is text."""
    text = piece.rstrip(b"\r\n")
    tail = piece[len(text) :]
    breaks = len(tail) // 2
    if tail != b"\r\n" * breaks:
        breaks = 0
        while tail.endswith(b"\r\n", 0, len(tail) - 2 * breaks):
            breaks += 1
        text = piece[: len(piece) - 2 * breaks]
    return text, breaks
