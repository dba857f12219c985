"""DKIM keys: made once, sealed, handed out to those who may have them, and signing what their records verify."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from postbus.contracts.dns_provisioner import DkimAlgorithm, GetDkimKeysReply, GetDkimKeysRequest
from postbus.contracts.domains import Domain
from postbus.contracts.objects import ObjectRequest
from postbus.core.clock import SystemClock
from postbus.core.errors import ErrorKind, MailError
from postbus.dkim.sign import load_signing_key, sign_message
from postbus.mime.scanner import scan_message
from postbus.runtime.sealing import Sealer
from postbus.testing.dns import FakeResolver
from postbusd.dns_provisioner.dkim_keys import format_key_record
from postbusd.dns_provisioner.keyring import DkimKeyring
from postbusd.dns_provisioner.values import SealedDkimKey
from postbusd.filter.dkim import DkimResult, DkimVerifier
from postbusd.filter.view import take_apart


class MemoryKeys:
    """The DkimKeyStore in memory."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[SealedDkimKey, ...]] = {}
        self.added = 0

    async def load_installation_id(self) -> str:
        return "0a1b2c3d"

    async def load_keys(self, domain: str) -> tuple[SealedDkimKey, ...]:
        await asyncio.sleep(0)
        return self.keys.get(domain, ())

    async def add_keys(self, domain: str, keys: Sequence[SealedDkimKey]) -> tuple[SealedDkimKey, ...]:
        self.added += 1
        return self.keys.setdefault(domain, tuple(keys))


class FakeDomains:
    """directory with example.com; `fault` is raised instead."""

    def __init__(self) -> None:
        self.fault: MailError | None = None
        self.asked: list[ObjectRequest] = []

    async def get_domain(self, request: ObjectRequest) -> Domain:
        self.asked.append(request)
        if self.fault is not None:
            raise self.fault
        if request.name != "example.com":
            raise MailError(ErrorKind.NOT_FOUND, f"domain: {request.name}")
        return Domain(name=request.name)


@pytest.fixture
def store() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
def domains() -> FakeDomains:
    return FakeDomains()


@pytest.fixture
def keyring(store: MemoryKeys, domains: FakeDomains) -> DkimKeyring:
    return DkimKeyring(store, Sealer(b"k" * 32), domains)


async def ask(keyring: DkimKeyring, domain: str = "example.com") -> GetDkimKeysReply:
    return await keyring.get_dkim_keys(GetDkimKeysRequest(domain=domain))


async def test_the_first_question_makes_a_pair_and_later_ones_get_it(keyring: DkimKeyring, store: MemoryKeys) -> None:
    replies = await asyncio.gather(*(ask(keyring) for _ in range(4)))
    assert all(reply == replies[0] for reply in replies)
    assert store.added == 1
    assert [(key.selector, key.algorithm) for key in replies[0].keys] == [
        ("postbus-0a1b2c3d-1", DkimAlgorithm.RSA_SHA256),
        ("postbus-0a1b2c3d-2", DkimAlgorithm.ED25519_SHA256),
    ]
    assert await ask(keyring, "Example.COM") == replies[0]


async def test_private_keys_are_sealed_for_their_row(keyring: DkimKeyring, store: MemoryKeys) -> None:
    await ask(keyring)
    rsa, ed25519 = store.keys["example.com"]
    assert b"PRIVATE" not in rsa.key_sealed
    assert Sealer(b"k" * 32).open(rsa.key_sealed, "dkim:example.com:postbus-0a1b2c3d-1").startswith(b"-----BEGIN PRI")
    with pytest.raises(MailError):
        Sealer(b"k" * 32).open(rsa.key_sealed, ed25519.seal_owner)
    assert len(ed25519.public_key) == 32


async def test_what_they_sign_their_records_verify(keyring: DkimKeyring, store: MemoryKeys) -> None:
    reply = await ask(keyring)
    keys = [load_signing_key(key.domain, key.selector, key.algorithm, key.private_key_pem) for key in reply.keys]
    assert [key.key.key_size for key in keys if key.algorithm is DkimAlgorithm.RSA_SHA256] == [2048]  # type: ignore[union-attr]
    content = b"From: anna@example.com\r\n\r\nHi\r\n"
    content = sign_message(content, keys, 1_700_000_000) + content
    resolver = FakeResolver()
    for key in store.keys["example.com"]:
        resolver.add_txt(f"{key.selector}._domainkey.example.com", format_key_record(key.algorithm, key.public_key))
    with ThreadPoolExecutor(1) as executor:
        verifier = DkimVerifier(resolver, executor, SystemClock(), 5)
        outcomes = await verifier.verify(take_apart(content, scan_message(content)), 1e12)
    assert [outcome.result for outcome in outcomes] == [DkimResult.PASS] * 2


async def test_a_stranger_s_domain_gets_none(keyring: DkimKeyring, store: MemoryKeys) -> None:
    with pytest.raises(MailError) as caught:
        await ask(keyring, "example.org")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    assert store.keys == {}
    with pytest.raises(MailError) as caught:
        await ask(keyring, "not a domain")
    assert caught.value.kind is ErrorKind.INVALID


async def test_a_deleted_domain_gets_none_any_more(keyring: DkimKeyring, domains: FakeDomains) -> None:
    await ask(keyring)
    domains.fault = MailError(ErrorKind.NOT_FOUND, "domain: example.com")
    with pytest.raises(MailError) as caught:
        await ask(keyring)
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_without_directory_old_keys_are_handed_out_and_none_are_made(
    keyring: DkimKeyring, domains: FakeDomains, store: MemoryKeys
) -> None:
    domains.fault = MailError(ErrorKind.UNAVAILABLE, "away")
    with pytest.raises(MailError) as caught:
        await ask(keyring)
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert store.added == 0
    domains.fault = None
    reply = await ask(keyring)
    domains.fault = MailError(ErrorKind.UNAVAILABLE, "away")
    assert await ask(keyring) == reply


async def test_the_pair_of_another_replica_is_taken(
    keyring: DkimKeyring, store: MemoryKeys, domains: FakeDomains
) -> None:
    theirs = MemoryKeys()
    other = DkimKeyring(theirs, Sealer(b"k" * 32), domains)
    expected = await ask(other)

    async def lose(domain: str, keys: Sequence[SealedDkimKey]) -> tuple[SealedDkimKey, ...]:
        return theirs.keys[domain]

    store.add_keys = lose  # type: ignore[method-assign]
    assert await ask(keyring) == expected
