"""Tokens: the first one comes from the secrets folder, only hashes are kept."""

from pathlib import Path

import pytest

from postbus.contracts.admin_api import VerifyTokenRequest
from postbus.core.api_token import new_api_token
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.layout import write_private
from postbus.testing.admin_api import MemoryAdminStore
from postbus.testing.directory import ManualClock
from postbusd.admin_api.ports import Token
from postbusd.admin_api.tokens import Tokens, hash_token

FIRST = "postbus_" + "a" * 40
SECOND = "postbus_" + "b" * 40


class UntouchableStore(MemoryAdminStore):
    """Whose table can't be written."""

    untouchable = True

    async def touch_token(self, token_id: str, at_ms: int) -> None:
        if self.untouchable:
            raise MailError(ErrorKind.UNAVAILABLE, "database: read-only")
        await super().touch_token(token_id, at_ms)


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


async def test_another_token_is_taken_without_a_restart(tmp_path: Path) -> None:
    store, path = MemoryAdminStore(), tmp_path / "admin-token"
    path.write_text(FIRST)
    tokens = Tokens(store, ManualClock(), path)
    await tokens.verify_token(VerifyTokenRequest(token=FIRST))
    write_private(path, SECOND.encode())
    assert await refusal(tokens, FIRST) is ErrorKind.UNAUTHENTICATED
    await tokens.verify_token(VerifyTokenRequest(token=SECOND))
    path.unlink()
    await tokens.verify_token(VerifyTokenRequest(token=SECOND))


async def test_a_damaged_token_is_told_from_an_unknown_one(tmp_path: Path) -> None:
    store, token = MemoryAdminStore(), new_api_token()
    tokens = Tokens(store, ManualClock(), tmp_path / "absent")
    for text, reason in ((token, "unknown"), (token[:-1], "checksum")):
        with pytest.raises(MailError, match=reason):
            await tokens.verify_token(VerifyTokenRequest(token=text))


async def test_use_is_noted_at_most_once_an_hour_and_never_a_reason_to_refuse(tmp_path: Path) -> None:
    store, clock = UntouchableStore(), ManualClock()
    await store.put_token("one", hash_token(FIRST), Token(actor="kim", scopes=()))
    tokens = Tokens(store, clock, tmp_path / "absent")
    await tokens.authenticate(FIRST)
    store.untouchable = False
    for seconds in (0, 1, 3500, 200):
        clock.advance(seconds)
        await tokens.authenticate(FIRST)
    assert store.touches == 2


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
