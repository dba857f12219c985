"""The signer: whose keys it uses, how long it keeps them, and what it does without them."""

import asyncio
import logging

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from postbus.contracts.dns_provisioner import DkimAlgorithm, DkimKey, GetDkimKeysReply, GetDkimKeysRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory import ManualClock
from postbusd.delivery.outbound.signing import FRESH_SECONDS, RETRY_SECONDS, STALE_SECONDS, DkimSigner

CONTENT = b"From: anna@example.com\r\n\r\nHi\r\n"


class FakeKeys:
    """dns-provisioner's keys of example.com; `fault` is raised instead."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fault: MailError | None = None
        self.selector = "pb-2"
        self.pem = make_pem()

    async def get_dkim_keys(self, request: GetDkimKeysRequest) -> GetDkimKeysReply:
        self.asked.append(request.domain)
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        key = DkimKey(
            domain=request.domain,
            selector=self.selector,
            algorithm=DkimAlgorithm.ED25519_SHA256,
            private_key_pem=self.pem,
        )
        return GetDkimKeysReply(keys=(key,))


def make_pem() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def keys() -> FakeKeys:
    return FakeKeys()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def signer(keys: FakeKeys, clock: ManualClock) -> DkimSigner:
    return DkimSigner(keys, clock)


async def test_mail_is_signed_for_its_domain(signer: DkimSigner) -> None:
    fields = await signer.sign("example.com", CONTENT)
    assert fields.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256;")
    assert b"d=example.com;" in fields
    assert b"t=1790000000;" in fields
    assert fields.endswith(b"\r\n")


async def test_no_domain_no_signature_and_no_question(signer: DkimSigner, keys: FakeKeys) -> None:
    assert await signer.sign("", CONTENT) == b""
    assert keys.asked == []


async def test_a_large_message_gets_the_same_signature(signer: DkimSigner) -> None:
    large = CONTENT + b"line\r\n" * 40_000
    fields = await signer.sign("example.com", large)
    assert fields == await signer.sign("example.com", large)
    assert fields.count(b"DKIM-Signature:") == 1


async def test_keys_are_asked_for_once_until_they_are_old(
    signer: DkimSigner, keys: FakeKeys, clock: ManualClock
) -> None:
    await asyncio.gather(*(signer.sign("example.com", CONTENT) for _ in range(5)))
    clock.advance(FRESH_SECONDS - 1)
    await signer.sign("example.com", CONTENT)
    assert keys.asked == ["example.com"]
    clock.advance(2)
    keys.selector = "pb-4"
    assert b"s=pb-4;" in await signer.sign("example.com", CONTENT)
    assert keys.asked == ["example.com"] * 2


async def test_old_keys_serve_for_a_day_while_nobody_answers(
    signer: DkimSigner, keys: FakeKeys, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await signer.sign("example.com", CONTENT)
    keys.fault = MailError(ErrorKind.UNAVAILABLE, "away")
    clock.advance(FRESH_SECONDS + 1)
    with caplog.at_level(logging.WARNING):
        assert await signer.sign("example.com", CONTENT)
        assert await signer.sign("example.com", CONTENT)
    assert [record.message for record in caplog.records] == ["delivery.signing.stale"]
    assert len(keys.asked) == 2
    clock.advance(RETRY_SECONDS + 1)
    assert await signer.sign("example.com", CONTENT)
    assert len(keys.asked) == 3
    clock.advance(STALE_SECONDS)
    with pytest.raises(MailError) as caught:
        await signer.sign("example.com", CONTENT)
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    keys.fault = None
    assert await signer.sign("example.com", CONTENT)


@pytest.mark.parametrize("kind", [ErrorKind.UNAVAILABLE, ErrorKind.INTERNAL, ErrorKind.INVALID])
async def test_without_keys_mail_waits(signer: DkimSigner, keys: FakeKeys, kind: ErrorKind) -> None:
    keys.fault = MailError(kind, "no")
    with pytest.raises(MailError) as caught:
        await signer.sign("example.com", CONTENT)
    assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_a_key_that_is_none_makes_mail_wait(signer: DkimSigner, keys: FakeKeys) -> None:
    keys.pem = b"nonsense"
    with pytest.raises(MailError) as caught:
        await signer.sign("example.com", CONTENT)
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert "nonsense" not in str(caught.value)


async def test_a_domain_that_is_ours_no_more_goes_unsigned_with_a_warning(
    signer: DkimSigner, keys: FakeKeys, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await signer.sign("example.com", CONTENT)
    clock.advance(FRESH_SECONDS + 1)
    keys.fault = MailError(ErrorKind.NOT_FOUND, "domain: example.com")
    with caplog.at_level(logging.WARNING):
        assert await signer.sign("example.com", CONTENT) == b""
    assert [record.message for record in caplog.records] == ["delivery.signing.unsigned"]
    keys.fault = MailError(ErrorKind.UNAVAILABLE, "away")
    with pytest.raises(MailError, match="example"):
        await signer.sign("example.com", CONTENT)
