"""The real hasher: right, wrong, bounded."""

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.adapters.argon2 import Argon2Hasher


@pytest.fixture
def hasher() -> Iterator[Argon2Hasher]:
    hasher = Argon2Hasher(threads=1, queue_logins=1, registry=CollectorRegistry())
    yield hasher
    hasher.close()


async def test_a_hash_fits_its_password_only(hasher: Argon2Hasher) -> None:
    first = await hasher.hash("secret")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await hasher.verify(first, "secret")
    assert not await hasher.verify(first, "Secret")
    await hasher.verify_nothing("secret")


async def test_too_many_at_once_are_put_off(hasher: Argon2Hasher) -> None:
    results = await asyncio.gather(*[hasher.hash("secret") for _ in range(4)], return_exceptions=True)
    refused = [each for each in results if isinstance(each, MailError)]
    assert [each.kind for each in refused] == [ErrorKind.UNAVAILABLE] * 2
    assert await hasher.hash("secret")


async def test_a_damaged_hash_is_our_fault(hasher: Argon2Hasher) -> None:
    with pytest.raises(MailError) as error:
        await hasher.verify("$1$abc", "secret")
    assert error.value.kind is ErrorKind.INTERNAL


async def test_closing_answers_who_waits_and_refuses_who_comes(hasher: Argon2Hasher) -> None:
    waiting = asyncio.gather(hasher.hash("one"), hasher.hash("two"))
    await asyncio.sleep(0)
    hasher.close()
    with pytest.raises(MailError) as error:
        await hasher.hash("three")
    assert error.value.kind is ErrorKind.UNAVAILABLE
    assert all(each.startswith("$argon2id$") for each in await waiting)
