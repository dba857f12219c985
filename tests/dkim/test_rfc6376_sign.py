"""Signatures of ours: read by dkimpy, by filter's verifier and by a plain reading of the RFC.

dkimpy reads Ed25519 with PyNaCl only, which is no dependency: there the other two speak.
"""

import base64
import functools
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.contracts.dns_provisioner import DkimAlgorithm
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.dkim.canonical import relax_body
from postbus.dkim.sign import SigningKey, load_signing_key, sign_message
from postbus.mime.scanner import scan_message
from postbus.testing.dns import FakeResolver
from postbusd.filter.dkim import DkimResult, DkimVerifier
from postbusd.filter.view import take_apart

NOW = 1_700_000_000
HEADER = (
    b"From: Anna <anna@example.com>\r\nTo: ben@example.net\r\nSubject: Lunch\r\n today\r\n"
    b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
)
MESSAGE = HEADER + b"\r\nHello  Ben, \t\r\n\r\nat noon?\r\n\r\n\r\n"

ODD = {
    "plain": MESSAGE,
    "folded headers": b"From: Anna\r\n\t<anna@example.com>  \r\nSubject:\r\n   a \r\n \t b\t\r\nX: y\r\n\r\nHi\r\n",
    "empty body": HEADER + b"\r\n",
    "only blank lines": HEADER + b"\r\n\r\n\r\n \t\r\n\r\n",
    "trailing blank lines": HEADER + b"\r\nHi\r\n\r\n \r\n\t\r\n",
    "no line break at the end": HEADER + b"\r\nHi  there ",
    "header only": HEADER,
    "8-bit": HEADER.replace(b"Lunch", "Frühstück".encode()) + b"\r\n\xff\xfe gr\xfc\xdfe\r\n",
    "duplicated headers": b"From: eve@example.org\r\nSubject: one\r\n"
    + HEADER
    + b"To: second@example.net\r\n\r\nHi\r\n",
    "many of one name": b"To: a@example.net\r\n" * 60 + HEADER + b"\r\nHi\r\n",
    "long lines": HEADER + b"X-Long: " + b"x" * 3000 + b"\r\n\r\n" + b"y z" * 100_000 + b"\r\n",
    "beyond one piece": HEADER + b"\r\n" + b"line  of \t text \r\n\r\n" * 10_000,
    "lone CR": HEADER + b"\r\na\rb\r\r\n\r\r\n",
    "upper case names": b"FROM:a@example.com\r\nsUBJECT:x\r\nmime-VERSION: 1.0\r\n\r\nHi\r\n",
    "a list's": b"List-Id: <l.example.com>\r\nList-Unsubscribe: <mailto:l@example.com>\r\nSender: l@example.com\r\n"
    + MESSAGE,
    "leading white line": b"From: a@example.com\r\nSubject: x\r\n \r\n y\r\n\r\nHi\r\n",
}


@functools.cache
def keys() -> tuple[SigningKey, SigningKey]:
    return load(DkimAlgorithm.RSA_SHA256, "pb-1"), load(DkimAlgorithm.ED25519_SHA256, "pb-2")


def load(algorithm: DkimAlgorithm, selector: str) -> SigningKey:
    return load_signing_key("example.com", selector, algorithm, make_pem(algorithm))


@functools.cache
def make_pem(algorithm: DkimAlgorithm, bits: int = 2048) -> bytes:
    private = (
        rsa.generate_private_key(public_exponent=65537, key_size=bits)
        if algorithm is DkimAlgorithm.RSA_SHA256
        else ed25519.Ed25519PrivateKey.generate()
    )
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@functools.cache
def zone() -> dict[str, str]:
    rsa_key, ed_key = keys()
    rsa_public = rsa_key.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    ed_public = ed_key.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {
        "pb-1._domainkey.example.com": f"v=DKIM1; k=rsa; p={base64.b64encode(rsa_public).decode()}",
        "pb-2._domainkey.example.com": f"v=DKIM1; k=ed25519; p={base64.b64encode(ed_public).decode()}",
    }


def sign(content: bytes) -> bytes:
    return sign_message(content, keys(), NOW)


def on_the_wire(content: bytes) -> bytes:
    """SMTP ends every line (RFC 5321 §4.1.1.4)."""
    return content if content.endswith(b"\r\n") else content + b"\r\n"


async def verify(content: bytes) -> list[tuple[DkimResult, str, str]]:
    """By filter."""
    resolver = FakeResolver()
    for name, text in zone().items():
        resolver.add_txt(name, text)
    with ThreadPoolExecutor(1) as executor:
        verifier = DkimVerifier(resolver, executor, SystemClock(), 5)
        outcomes = await verifier.verify(take_apart(content, scan_message(content)), 1e12)
    return [(outcome.result, outcome.selector, outcome.detail) for outcome in outcomes]


def verify_elsewhere(content: bytes, index: int = 0) -> bool:
    """By dkimpy."""

    def look_up(name: bytes, **_: object) -> bytes:
        return zone()[name.decode().removesuffix(".")].encode()

    return bool(dkimpy.DKIM(content).verify(idx=index, dnsfunc=look_up))


def verify_plainly(content: bytes, index: int) -> bool:
    """The RFC's text, step by step, for clear messages (fields without odd names)."""
    header, _, body = content.partition(b"\r\n\r\n")
    fields = [field.split(b":", 1) for field in re.sub(rb"\r\n(?=[ \t])", b"", header).split(b"\r\n")]
    own = [value for name, value in fields if name.lower() == b"dkim-signature"][index]
    tags = dict(tag.strip().split(b"=", 1) for tag in re.sub(rb"[ \t]+", b" ", own).split(b";"))
    body = re.sub(rb"[ \t]+(?=\r\n)", b"", re.sub(rb"[ \t]+", b" ", body))
    body = re.sub(rb"(\r\n)+\Z", b"", body) + b"\r\n" if body.strip(b" \r\n") else b""
    if base64.b64encode(hashlib.sha256(body).digest()) != tags[b"bh"].replace(b" ", b""):
        return False
    left = list(fields)
    signed = b""
    for wanted in tags[b"h"].replace(b" ", b"").split(b":"):
        for field in reversed(left):
            if field[0].lower() == wanted:
                left.remove(field)
                signed += wanted + b":" + re.sub(rb"[ \t]+", b" ", field[1]).strip() + b"\r\n"
                break
    blank = re.sub(rb"(; b=).*", rb"\1", re.sub(rb"[ \t]+", b" ", own).strip())
    digest = hashlib.sha256(signed + b"dkim-signature:" + blank).digest()
    key = keys()[1].key
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    key.public_key().verify(base64.b64decode(tags[b"b"].replace(b" ", b"")), digest)
    return True


@pytest.mark.parametrize("name", ODD)
async def test_odd_messages_verify_by_both_algorithms_here_and_elsewhere(name: str) -> None:
    content = ODD[name]
    signed = on_the_wire(sign(content) + content)
    assert await verify(signed) == [(DkimResult.PASS, "pb-1", ""), (DkimResult.PASS, "pb-2", "")]
    assert verify_elsewhere(signed)


@pytest.mark.parametrize("name", ["plain", "folded headers", "empty body", "trailing blank lines", "a list's"])
def test_ed25519_signatures_verify_by_the_letter(name: str) -> None:
    assert verify_plainly(sign(ODD[name]) + ODD[name], 1)


async def test_a_message_without_anything_is_signed_too() -> None:
    for content in (b"", b"\r\n", b"\r\nHi\r\n", b"no field at all\r\n\r\nHi\r\n"):
        assert sign(content).count(b"DKIM-Signature:") == 2
    assert [result for result, _, _ in await verify(sign(b"\r\nHi\r\n") + b"\r\nHi\r\n")] == [DkimResult.PASS] * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"noon", b"nine"),
        (b"Subject: Lunch", b"Subject: Dinner"),
        (b"\r\nSubject:", b"\r\nFrom: eve@example.org\r\nSubject:"),
        (b"\r\nSubject:", b"\r\nSubject: Other\r\nSubject:"),
        (b"\r\nSubject:", b"\r\nTo: other@example.net\r\nSubject:"),
        (b"\r\nSubject:", b"\r\nReply-To: eve@example.org\r\nSubject:"),
        (b"\r\nSubject:", b"\r\nCc: eve@example.org\r\nSubject:"),
        (b"\r\nSubject:", b"\r\nContent-Type: text/html\r\nSubject:"),
        (b"\r\nSubject:", b"\r\nMIME-Version: 1.0\r\nSubject:"),
        (b"\r\nSubject:", b"\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nSubject:"),
    ],
)
async def test_changes_and_additions_break_both(old: bytes, new: bytes) -> None:
    signed = sign(MESSAGE) + MESSAGE
    assert old in signed
    assert [result for result, _, _ in await verify(signed.replace(old, new, 1))] == [DkimResult.FAIL] * 2


async def test_what_hosts_on_the_way_do_breaks_nothing() -> None:
    signed = sign(MESSAGE) + MESSAGE
    changed = b"Received: from a by b; Sun, 22 Nov 2026 12:00:00 +0000\r\nList-Id: <l.example.net>\r\n" + signed
    changed = changed.replace(b"Subject: Lunch\r\n today", b"SUBJECT:  Lunch today ").replace(b"Ben, \t", b"Ben,")
    assert [result for result, _, _ in await verify(changed)] == [DkimResult.PASS] * 2


def test_the_field_is_folded_and_tells_its_tags() -> None:
    first, second = re.findall(rb"DKIM-Signature:(?:[^\r]|\r\n[ \t])*\r\n", sign(MESSAGE))
    for field, wanted in ((first, b"a=rsa-sha256"), (second, b"a=ed25519-sha256")):
        assert max(len(line) for line in field.split(b"\r\n")) <= 78
        assert all(line[:1] == b"\t" for line in field.split(b"\r\n")[1:-1])
        for tag in (b"v=1", wanted, b"c=relaxed/relaxed", b"d=example.com", b"t=1700000000", b"h=from:from:to:to:"):
            assert tag in field
        assert b"l=" not in field.partition(b"h=")[0]
    assert b"s=pb-1" in first
    assert b"s=pb-2" in second


def test_names_stay_short_enough_for_verifiers() -> None:
    content = b"".join(
        b"%s: x\r\n" % name for name in (b"From", b"To", b"Cc", b"Subject", b"Date", b"References") * 900
    )
    assert len(sign(content + b"\r\n")) < 2 * 8192


def test_no_keys_give_no_fields() -> None:
    assert sign_message(MESSAGE, (), NOW) == b""


@pytest.mark.parametrize(
    ("algorithm", "pem"),
    [
        (DkimAlgorithm.RSA_SHA256, b""),
        (DkimAlgorithm.RSA_SHA256, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        (DkimAlgorithm.RSA_SHA256, make_pem(DkimAlgorithm.ED25519_SHA256)),
        (DkimAlgorithm.ED25519_SHA256, make_pem(DkimAlgorithm.RSA_SHA256)),
        (
            DkimAlgorithm.RSA_SHA256,
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        ),
    ],
)
def test_keys_that_are_none_are_told(algorithm: DkimAlgorithm, pem: bytes) -> None:
    with pytest.raises(MailError, match=r"pb of example\.com") as caught:
        load_signing_key("example.com", "pb", algorithm, pem)
    assert caught.value.kind is ErrorKind.INVALID


FIELD_TEXT = st.text(st.sampled_from("ab ÄB:;=\t"), max_size=40).map(lambda text: text.encode())
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"From", b"from", b"To", b"Subject", b"X-Other", b"Sender", b"List-Id", b"Content-Type"]),
        st.lists(FIELD_TEXT, min_size=1, max_size=3).map(b"\r\n ".join),
    ),
    max_size=12,
)
BODY = st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r\n\r\n", b"\xff", b"text"]), max_size=60).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(fields=FIELDS, body=BODY)
async def test_any_message_verifies(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    header = b"".join(name + b":" + value + b"\r\n" for name, value in [(b"From", b" a@example.com"), *fields])
    content = header + b"\r\n" + body
    signed = on_the_wire(sign(content) + content)
    assert [result for result, _, _ in await verify(signed)] == [DkimResult.PASS] * 2
    assert verify_elsewhere(signed)


@given(body=BODY, repeat=st.sampled_from([1, 3000]))
def test_pieces_make_the_same_body(body: bytes, repeat: int) -> None:
    whole = body * repeat
    text = re.sub(rb"[ \t]+", b" ", whole + (b"" if whole.endswith(b"\r\n") else b"\r\n")).replace(b" \r\n", b"\r\n")
    text = re.sub(rb"(?:\r\n)+\Z", b"", text)
    assert b"".join(relax_body(whole, 0)) == (text + b"\r\n" if text else b"")
