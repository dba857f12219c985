"""API tokens in memory, and what every TokenStore with a TokenBook must do."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.ports import AdminStore, Token

MOST = 10


class MemoryTokens:
    """Both ports of tokens; `away` makes every call UNAVAILABLE."""

    def __init__(self) -> None:
        self.away = False
        self.tokens: dict[str, tuple[bytes, Token]] = {}
        self.touches = 0

    async def check(self) -> None:
        """Raises MailError when away."""
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "database: away")

    async def find_token(self, token_hash: bytes) -> Token | None:
        """The token with this SHA-256."""
        await self.check()
        return next((token for known, token in self.tokens.values() if known == token_hash), None)

    async def put_token(self, token_id: str, token_hash: bytes, token: Token) -> None:
        """Creates or replaces."""
        await self.check()
        if all(known != token_hash for other, (known, _) in self.tokens.items() if other != token_id):
            named = msgspec.structs.replace(token, token_id=token_id, name=token_id)
            self.tokens[token_id] = (token_hash, named)

    async def touch_token(self, token_id: str, at_ms: int) -> None:
        """Notes that it was used."""
        await self.check()
        self.touches += 1
        if token_id in self.tokens:
            known, token = self.tokens[token_id]
            self.tokens[token_id] = (known, msgspec.structs.replace(token, last_used_ms=at_ms))

    async def add_token(self, token_hash: bytes, token: Token, most: int) -> None:
        """A new one."""
        await self.check()
        if any(each.name == token.name for _, each in self.tokens.values()):
            raise MailError(ErrorKind.ALREADY_EXISTS, "name: there is a token with this name")
        if len(self.tokens) >= most:
            raise MailError(ErrorKind.LIMIT, f"name: there are {most} tokens already")
        self.tokens[token.token_id] = (token_hash, token)

    async def get_token(self, name: str, actor: str) -> Token | None:
        """By its name."""
        await self.check()
        return next((token for token in self._of(actor) if token.name == name), None)

    async def list_tokens(self, actor: str, after: str, limit: int) -> Sequence[Token]:
        """By name."""
        await self.check()
        return sorted((token for token in self._of(actor) if token.name > after), key=lambda each: each.name)[:limit]

    async def rotate_token(self, token_id: str, token_hash: bytes, created_by: str) -> bool:
        """Replaces the hash."""
        await self.check()
        if token_id not in self.tokens:
            return False
        token = msgspec.structs.replace(self.tokens[token_id][1], created_by=created_by, last_used_ms=None)
        self.tokens[token_id] = (token_hash, token)
        return True

    async def delete_token(self, token_id: str) -> bool:
        """Ends it."""
        await self.check()
        return self.tokens.pop(token_id, None) is not None

    async def delete_tokens_of(self, actor: str) -> int:
        """All that speak for it."""
        await self.check()
        gone = [token_id for token_id, (_, token) in self.tokens.items() if token.actor == actor]
        for token_id in gone:
            del self.tokens[token_id]
        return len(gone)

    def _of(self, actor: str) -> list[Token]:
        return [token for _, token in self.tokens.values() if actor in ("", token.actor)]


def make_token(name: str, actor: str = "admin") -> Token:
    """A token that reads domains."""
    return Token(
        token_id=f"id-{name}",
        name=name,
        actor=actor,
        scopes=("domains:read",),
        created_ms=1_790_000_000_000,
        created_by="admin",
        expires_ms=1_800_000_000_123,
    )


class TokenContract:
    """The rules of TokenStore and TokenBook; a subclass gives a fixture `store`, empty."""

    async def test_a_token_that_many_enter_at_once_is_there(self, store: AdminStore) -> None:
        """put_token: as a process does that starts while requests come."""
        for number in range(20):
            token = Token(actor="admin", scopes=("admin",))
            await asyncio.gather(*[store.put_token("one", bytes([number]) * 32, token) for _ in range(4)])
            found = await store.find_token(bytes([number]) * 32)
            assert found is not None
            assert found.token_id == "one"  # noqa: S105 (an id)

    async def test_a_token_is_found_by_its_hash_only(self, store: AdminStore) -> None:
        """put_token, find_token."""
        await store.put_token("one", b"1" * 32, Token(actor="admin", scopes=("admin",), expires_ms=1_790_000_000_123))
        found = await store.find_token(b"1" * 32)
        assert found is not None
        assert (found.token_id, found.name, found.actor, found.scopes) == ("one", "one", "admin", ("admin",))
        assert (found.expires_ms, found.last_used_ms) == (1_790_000_000_123, None)
        assert await store.find_token(b"2" * 32) is None

    async def test_a_replaced_token_is_gone_and_a_hash_has_one_owner(self, store: AdminStore) -> None:
        """put_token again."""
        token = Token(actor="admin", scopes=("admin",))
        await store.put_token("one", b"1" * 32, token)
        await store.put_token("one", b"2" * 32, token)
        assert await store.find_token(b"1" * 32) is None
        await store.put_token("two", b"2" * 32, Token(actor="other", scopes=()))
        found = await store.find_token(b"2" * 32)
        assert found is not None
        assert found.actor == "admin"

    async def test_use_is_noted_and_ends_with_another_text(self, store: AdminStore) -> None:
        """touch_token."""
        await store.put_token("one", b"1" * 32, Token(actor="admin", scopes=("admin",)))
        await store.touch_token("one", 1_790_000_000_000)
        await store.touch_token("absent", 1)
        found = await store.find_token(b"1" * 32)
        assert found is not None
        assert found.last_used_ms == 1_790_000_000_000
        assert await store.rotate_token("one", b"2" * 32, "kim")
        rotated = await store.find_token(b"2" * 32)
        assert rotated is not None
        assert (rotated.last_used_ms, rotated.created_by) == (None, "kim")
        assert await store.find_token(b"1" * 32) is None

    async def test_a_name_is_taken_once_and_there_are_not_more_than_allowed(self, store: AdminStore) -> None:
        """add_token."""
        await store.add_token(b"1" * 32, make_token("backup"), MOST)
        twin = msgspec.structs.replace(make_token("backup"), token_id="another")  # noqa: S106 (an id)
        with pytest.raises(MailError) as taken:
            await store.add_token(b"2" * 32, twin, MOST)
        assert taken.value.kind is ErrorKind.ALREADY_EXISTS
        with pytest.raises(MailError) as full:
            await store.add_token(b"3" * 32, make_token("other"), 1)
        assert full.value.kind is ErrorKind.LIMIT

    async def test_tokens_are_listed_by_name_and_actor(self, store: AdminStore) -> None:
        """get_token, list_tokens."""
        tokens = {name: make_token(name, actor) for name, actor in (("b", "kim"), ("a", "admin"), ("c-1", "kim"))}
        for number, token in enumerate(tokens.values()):
            await store.add_token(bytes([number]) * 32, token, MOST)
        assert list(await store.list_tokens("", "", 10)) == [tokens["a"], tokens["b"], tokens["c-1"]]
        assert list(await store.list_tokens("", "a", 1)) == [tokens["b"]]
        assert list(await store.list_tokens("kim", "b", 10)) == [tokens["c-1"]]
        assert await store.get_token("a", "") == await store.get_token("a", "admin") == tokens["a"]
        assert await store.get_token("a", "kim") is None

    async def test_deleted_tokens_are_gone(self, store: AdminStore) -> None:
        """delete_token, delete_tokens_of, rotate_token."""
        for number, (name, actor) in enumerate((("a", "admin"), ("b", "kim"), ("c", "kim"))):
            await store.add_token(bytes([number]) * 32, make_token(name, actor), MOST)
        assert [await store.delete_token("id-a") for _ in range(2)] == [True, False]
        assert await store.delete_tokens_of("kim") == 2
        assert await store.find_token(bytes([1]) * 32) is None
        assert not await store.rotate_token("id-a", b"9" * 32, "admin")
