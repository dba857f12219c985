"""Tokens: the first one comes from the secrets folder, only hashes are kept."""

from pathlib import Path

import pytest

from postbus.contracts.admin_api import VerifyTokenRequest
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.admin_api import MemoryAdminStore
from postbus.testing.directory import ManualClock
from postbusd.admin_api.ports import Token
from postbusd.admin_api.tokens import Tokens, hash_token

FIRST = "postbus_" + "a" * 40
SECOND = "postbus_" + "b" * 40


async def refusal(tokens: Tokens, token: str) -> ErrorKind:
    with pytest.raises(MailError) as error:
        await tokens.verify_token(VerifyTokenRequest(token=token))
    return error.value.kind


async def test_the_first_token_comes_from_the_file(tmp_path: Path) -> None:
    store, path = MemoryAdminStore(), tmp_path / "admin-token"
    path.write_text(FIRST + "\n")
    for _ in range(2):
        reply = await Tokens(store, ManualClock(), path).verify_token(VerifyTokenRequest(token=FIRST))
        assert (reply.actor, reply.scopes) == ("admin", ("admin",))
    assert FIRST not in repr(store.tokens)


async def test_another_token_in_the_file_replaces_the_first(tmp_path: Path) -> None:
    store, path = MemoryAdminStore(), tmp_path / "admin-token"
    for token in (FIRST, SECOND):
        path.write_text(token)
        await Tokens(store, ManualClock(), path).bootstrap()
    tokens = Tokens(store, ManualClock(), tmp_path / "absent")
    assert await refusal(tokens, FIRST) is ErrorKind.UNAUTHENTICATED
    await tokens.verify_token(VerifyTokenRequest(token=SECOND))


async def test_a_database_that_comes_later_gets_the_token_then(tmp_path: Path) -> None:
    store, path = MemoryAdminStore(), tmp_path / "admin-token"
    path.write_text(FIRST)
    tokens = Tokens(store, ManualClock(), path)
    store.away = True
    assert await refusal(tokens, FIRST) is ErrorKind.UNAVAILABLE
    store.away = False
    await tokens.verify_token(VerifyTokenRequest(token=FIRST))


@pytest.mark.parametrize("text", ["", "short", "x" * 513, "\udcff" * 40])
async def test_what_is_no_token_is_unknown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "admin-token"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert await refusal(Tokens(MemoryAdminStore(), ManualClock(), path), text) is ErrorKind.UNAUTHENTICATED


async def test_a_token_expires(tmp_path: Path) -> None:
    store, clock = MemoryAdminStore(), ManualClock()
    token = Token(actor="kim", scopes=(), expires_ms=clock.now_ms() + 1000)
    await store.put_token("one", hash_token(FIRST), token)
    tokens = Tokens(store, clock, tmp_path / "absent")
    await tokens.verify_token(VerifyTokenRequest(token=FIRST))
    clock.advance(1)
    assert await refusal(tokens, FIRST) is ErrorKind.UNAUTHENTICATED
