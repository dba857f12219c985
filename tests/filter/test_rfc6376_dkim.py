"""DKIM: against signatures made by dkimpy, the published samples, and by changing what is signed."""

import base64
import functools
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.core.clock import Clock, SystemClock
from postbus.mime.scanner import scan_message
from postbus.runtime.dns import DnsAnswer, RecordType
from postbus.testing.dns import FakeResolver
from postbusd.filter.dkim import DkimOutcome, DkimResult, DkimVerifier, summarize
from postbusd.filter.dkim_key import DkimKey, DkimKeyError, parse_key, select_key
from postbusd.filter.dkim_signature import (
    BodyHashKey,
    SignatureSyntaxError,
    _canonical_pieces,
    hash_body,
    parse_signature,
)
from postbusd.filter.view import take_apart

MESSAGE = (
    b"From: Anna <anna@example.com>\r\nTo: ben@example.net\r\nSubject: Lunch\r\n today\r\n"
    b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n"
    b"Hello  Ben, \t\r\n\r\nat noon?\r\n\r\n\r\n"
)
FAR_AWAY = 1e12


@functools.cache
def key_pair() -> tuple[bytes, str]:
    """A PKCS#1 PEM and the p= of its record."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, base64.b64encode(public).decode()


def sign(message: bytes = MESSAGE, *, selector: str = "sel", domain: str = "example.com", **options: object) -> bytes:
    field: bytes = dkimpy.sign(message, selector.encode(), domain.encode(), key_pair()[0], **options)
    return field + message


def zone(record: str = "v=DKIM1; k=rsa; p={p}", name: str = "sel._domainkey.example.com") -> FakeResolver:
    return FakeResolver().add_txt(name, record.format(p=key_pair()[1]))


async def verify(
    content: bytes, resolver: FakeResolver, limit: int = 5, clock: Clock | None = None
) -> tuple[DkimOutcome, ...]:
    with ThreadPoolExecutor(1) as executor:
        verifier = DkimVerifier(resolver, executor, clock or SystemClock(), limit)
        return await verifier.verify(take_apart(content, scan_message(content)), FAR_AWAY)


async def verify_one(content: bytes, resolver: FakeResolver | None = None) -> tuple[DkimResult, str]:
    (outcome,) = await verify(content, resolver or zone())
    return outcome.result, outcome.detail


@pytest.mark.parametrize("header", [b"simple", b"relaxed"])
@pytest.mark.parametrize("body", [b"simple", b"relaxed"])
async def test_signatures_of_another_program_pass(header: bytes, body: bytes) -> None:
    content = sign(canonicalize=(header, body))
    assert await verify_one(content) == (DkimResult.PASS, "")
    refolded = content.replace(b"Subject: Lunch\r\n today", b"subject:  Lunch today \t")
    assert (await verify_one(refolded))[0] is (DkimResult.PASS if header == b"relaxed" else DkimResult.FAIL)
    reflowed = content.replace(b"Hello  Ben, \t\r\n", b"Hello Ben,\r\n").rstrip() + b"\r\n"
    assert (await verify_one(reflowed))[0] is (DkimResult.PASS if body == b"relaxed" else DkimResult.FAIL)


async def test_outcomes_tell_the_signature() -> None:
    (outcome,) = await verify(sign(), zone())
    assert (outcome.domain, outcome.selector, outcome.algorithm) == ("example.com", "sel", "rsa-sha256")
    assert len(outcome.value_start) == 8


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        (b"noon", b"nine", "body hash did not verify"),
        (b"Subject: Lunch", b"Subject: Money", "signature did not verify"),
        (b"\r\nTo: ben", b"\r\nFrom: eve@example.org\r\nTo: ben", "signature did not verify"),
    ],
)
async def test_changes_break_the_signature(old: bytes, new: bytes, detail: str) -> None:
    assert await verify_one(sign().replace(old, new)) == (DkimResult.FAIL, detail)


@pytest.mark.parametrize(
    ("record", "result", "detail"),
    [
        ("v=DKIM1; p=", DkimResult.PERMERROR, "key revoked"),
        ("v=DKIM1; k=rsa", DkimResult.PERMERROR, "key record without a key"),
        ("v=DKIM2; p={p}", DkimResult.PERMERROR, "key record of another version"),
        ("k=dsa; p={p}", DkimResult.PERMERROR, "unknown key type"),
        ("p=AAAA", DkimResult.PERMERROR, "key malformed"),
        ("s=tlsrpt; p={p}", DkimResult.PERMERROR, "key not for mail"),
        ("h=sha1; p={p}", DkimResult.PERMERROR, "key not for sha256"),
        ("", DkimResult.PERMERROR, "key record without a key"),
        ("p", DkimResult.PERMERROR, "key record malformed"),
        ("k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", DkimResult.PERMERROR, "key of another algorithm"),
        ("s=email:x; h=sha1:sha256; t=s; p={p}", DkimResult.PASS, ""),
        ("p={p}", DkimResult.PASS, ""),
    ],
)
async def test_key_records(record: str, result: DkimResult, detail: str) -> None:
    assert await verify_one(sign(), zone(record)) == (result, detail)


async def test_a_missing_key_is_permanent_and_a_silent_server_is_not() -> None:
    assert await verify_one(sign(), FakeResolver()) == (DkimResult.PERMERROR, "no key for signature")
    silent = FakeResolver().fail("sel._domainkey.example.com")
    assert await verify_one(sign(), silent) == (DkimResult.TEMPERROR, "no answer for the key")


async def test_a_late_key_is_temporary() -> None:
    content = sign()
    with ThreadPoolExecutor(1) as executor:

        class Slow(FakeResolver):
            async def resolve(self, name: str, record_type: RecordType) -> DnsAnswer:
                raise TimeoutError

        (outcome,) = await DkimVerifier(Slow(), executor, SystemClock(), 5).verify(
            take_apart(content, scan_message(content)), FAR_AWAY
        )
    assert outcome.result is DkimResult.TEMPERROR


async def test_a_key_on_test_does_not_fail() -> None:
    broken = sign().replace(b"noon", b"nine")
    assert (await verify_one(broken, zone("t=y; p={p}")))[0] is DkimResult.NEUTRAL


async def test_strict_identity() -> None:
    content = sign(identity=b"anna@mail.example.com")
    assert await verify_one(content) == (DkimResult.PASS, "")
    assert await verify_one(content, zone("t=s; p={p}")) == (DkimResult.PERMERROR, "i= below d=")


async def test_an_unsigned_rest_of_the_body_is_not_a_pass() -> None:
    content = sign(length=True)
    assert (await verify_one(content))[0] is DkimResult.PASS
    assert (await verify_one(content + b"Buy now\r\n"))[0] is DkimResult.POLICY
    assert (await verify_one(content[:-16]))[0] is DkimResult.FAIL


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v=1", b"v=2"),
        (b"a=rsa-sha256", b"a=rsa-sha1"),
        (b"d=example.com", b"d=example.org"),
        (b"c=relaxed/simple", b"c=relaxed/nowsp"),
        (b"q=dns/txt", b"q=http"),
        (b"b=", b"b=!"),
        (b"bh=", b"bx="),
        (b"from", b"sender"),
        (b"v=1;", b"v=1; v=1;"),
        (b"v=1;", b"x=1000000000;v=1;"),
        (b"v=1;", b"x=soon;v=1;"),
        (b"t=", b"t=9"),
        (b"v=1;", b";" * 9000),
    ],
)
async def test_unreadable_signatures_are_neutral(old: bytes, new: bytes) -> None:
    head, _, rest = sign().partition(b"\r\nFrom:")
    head = re.sub(rb"\s+", b"", head.replace(b"DKIM-Signature:", b"")).replace(old, new)
    content = b"DKIM-Signature: " + head + b"\r\nFrom:" + rest
    (outcome,) = await verify(content, zone())
    assert outcome.result in {DkimResult.NEUTRAL, DkimResult.PERMERROR}
    assert outcome.result is DkimResult.NEUTRAL or old == b"d=example.com"


async def test_only_so_many_signatures_are_looked_at() -> None:
    content = sign()
    field, _, _ = content.partition(b"From: Anna")
    resolver = zone()
    assert len(await verify(field * 4 + content, resolver, limit=3)) == 3
    assert await verify(MESSAGE, resolver) == ()


def test_the_best_signature_speaks_for_the_message() -> None:
    assert summarize([]) == "none"
    outcomes = [DkimOutcome(result=result) for result in DkimResult]
    assert summarize(outcomes) == "pass"
    assert summarize([item for item in outcomes if item.result is not DkimResult.PASS]) == "temperror"


async def test_a_large_body_is_hashed_in_pieces_off_the_loop() -> None:
    large = MESSAGE + b"0123456789 abcdef\t \r\n" * 20_000 + b"\r\n" * 5
    assert await verify_one(sign(large, canonicalize=(b"relaxed", b"relaxed"))) == (DkimResult.PASS, "")


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r\n", b"\r", b"\n", b"bc  d"]), max_size=40))
def test_bodies_are_canonical_as_another_program_makes_them(pieces: list[bytes]) -> None:
    body = b"".join(pieces) + b"\r\n"
    assert b"".join(_canonical_pieces(b"xy" + body, 2, relaxed=True)) == Relaxed.canonicalize_body(body)
    assert b"".join(_canonical_pieces(body, 0, relaxed=False)) == Simple.canonicalize_body(body)


@functools.cache
def signed() -> bytes:
    return sign()


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    st.integers(16, 300),
    st.integers(0, 30),
    st.sampled_from([b"", b";", b"=", b" ", b"\t", b"i=x;", b"l=9;", b"\xff", b"\0", b":", b"a@b"]),
)
def test_any_signature_field_is_a_signature_or_a_syntax_error(at: int, length: int, new: bytes) -> None:
    content = signed()
    content = content[:at] + new + content[at + length :]
    for field in take_apart(content, scan_message(content)).fields:
        try:
            signature = parse_signature(field, 1_800_000_000)
        except SignatureSyntaxError:
            continue
        assert signature.domain


def test_empty_bodies() -> None:
    assert b"".join(_canonical_pieces(b"", 0, relaxed=True)) == b""
    assert b"".join(_canonical_pieces(b"", 0, relaxed=False)) == b"\r\n"
    assert hash_body(b"\r\n\r\n", 0, BodyHashKey(False, None)).complete


def test_parsed_keys_are_kept_and_bad_ones_too() -> None:
    text = f"p={key_pair()[1]}".encode()
    assert parse_key(text) is parse_key(text)
    assert isinstance(parse_key(b"p=AAAA"), DkimKeyError)
    assert isinstance(select_key([b"p=AAAA", text]), DkimKey)
    with pytest.raises(DkimKeyError, match="no key for signature"):
        select_key([])


def test_short_keys_are_refused() -> None:
    numbers = rsa.RSAPublicNumbers(65537, (1 << 767) | 12345)
    der = numbers.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert str(parse_key(b"p=" + base64.b64encode(der))) == "key of 768 bits"


def load_sample(path: Path) -> tuple[FakeResolver, bytes]:
    """`name record` lines, an empty line, the message (mail-auth's samples)."""
    head, _, message = path.read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
    resolver = FakeResolver()
    for line in head.decode().splitlines():
        name, _, record = line.partition(" ")
        resolver.add_txt(name, record)
    return resolver, message.replace(b"\n", b"\r\n")


class EarlyClock(SystemClock):
    """When the samples' signatures were in force."""

    def now_ms(self) -> int:
        return 1_667_900_000_000


@pytest.mark.shared
async def test_published_samples_pass(suites: Path) -> None:
    results = {}
    for path in sorted((suites / "auth/mail-auth/dkim").glob("*.txt")):
        resolver, message = load_sample(path)
        results[path.name] = [
            (item.result.value, item.detail) for item in await verify(message, resolver, clock=EarlyClock())
        ]
    assert len(results) == 6
    assert {name: found for name, found in results.items() if ("pass", "") not in found} == {}


@pytest.mark.shared
async def test_any_published_message_gives_outcomes_and_no_error(suites: Path) -> None:
    folders = (suites / "auth/dkimpy/data", suites / "spamassassin/data/spam", suites / "spamassassin/data/nice")
    for path in [path for folder in folders for path in folder.iterdir() if path.is_file()]:
        content = re.sub(rb"\r?\n", b"\r\n", path.read_bytes())
        for outcome in await verify(content, FakeResolver()):
            assert outcome.result is not DkimResult.PASS
