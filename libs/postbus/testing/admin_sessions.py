"""Sessions of the API in memory, and what every SessionStore must do."""

from collections.abc import Sequence

import msgspec

from postbus.contracts.sign_in import SignInMethod
from postbusd.admin_api.ports import AdminStore, Session

MOST = 3


class MemorySessions:
    """The SessionStore."""

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[bytes, Session]] = {}

    async def check(self) -> None:
        """Raises MailError when away."""

    async def add_session(self, session_hash: bytes, session: Session, most: int) -> None:
        """A new one."""
        await self.check()
        self.sessions[session.session_id] = (session_hash, session)
        own = sorted(await self.list_sessions(session.username), key=lambda each: each.last_used_ms, reverse=True)
        for each in own[most:]:
            del self.sessions[each.session_id]

    async def find_session(self, session_hash: bytes) -> Session | None:
        """The session with this SHA-256."""
        await self.check()
        return next((session for known, session in self.sessions.values() if known == session_hash), None)

    async def touch_session(self, session_id: str, at_ms: int) -> None:
        """Notes that it was used."""
        await self.check()
        if session_id in self.sessions:
            known, session = self.sessions[session_id]
            self.sessions[session_id] = (known, msgspec.structs.replace(session, last_used_ms=at_ms))

    async def list_sessions(self, username: str) -> Sequence[Session]:
        """Of one user."""
        await self.check()
        return [session for _, session in self.sessions.values() if session.username == username]

    async def delete_session(self, session_id: str, username: str) -> bool:
        """Ends it."""
        await self.check()
        found = self.sessions.get(session_id)
        if found is None or found[1].username != username:
            return False
        del self.sessions[session_id]
        return True

    async def trim_sessions(self, now_ms: int, unused_since_ms: int, most: int) -> int:
        """Deletes those that are over."""
        await self.check()
        over = [
            each.session_id
            for _, each in self.sessions.values()
            if each.expires_ms <= now_ms or each.last_used_ms < unused_since_ms
        ][:most]
        for session_id in over:
            del self.sessions[session_id]
        return len(over)


def make_session(number: int, username: str = "kim") -> Session:
    """A session that was begun and last used at `number` seconds."""
    return Session(
        session_id=f"session-{number}",
        username=username,
        method=SignInMethod.PASSWORD,
        proof="proof",
        client_address="192.0.2.1",
        user_agent="curl",
        begun_ms=number * 1000,
        last_used_ms=number * 1000,
        expires_ms=1_000_000_000_123,
    )


class SessionContract:
    """The rules of SessionStore; a subclass gives a fixture `store`, empty."""

    async def test_a_session_is_found_by_its_hash_and_used(self, store: AdminStore) -> None:
        """add_session, find_session, touch_session."""
        session = make_session(1)
        await store.add_session(b"1" * 32, session, MOST)
        assert await store.find_session(b"1" * 32) == session
        assert await store.find_session(b"2" * 32) is None
        await store.touch_session("session-1", 5_000)
        assert await store.find_session(b"1" * 32) == msgspec.structs.replace(session, last_used_ms=5_000)

    async def test_a_user_has_so_many_and_sees_and_ends_the_own_ones(self, store: AdminStore) -> None:
        """add_session, list_sessions, delete_session."""
        for number in range(1, MOST + 2):
            await store.add_session(bytes([number]) * 32, make_session(number), MOST)
        await store.add_session(b"x" * 32, make_session(9, "lee"), MOST)
        assert [each.session_id for each in await store.list_sessions("kim")] == ["session-2", "session-3", "session-4"]
        assert not await store.delete_session("session-9", "kim")
        assert await store.delete_session("session-3", "kim")
        assert not await store.delete_session("session-3", "kim")
        assert [each.session_id for each in await store.list_sessions("kim")] == ["session-2", "session-4"]
        assert len(await store.list_sessions("lee")) == 1

    async def test_sessions_and_kept_answers_go_with_the_tokens_of_a_user(self, store: AdminStore) -> None:
        """delete_tokens_of."""
        for number, username in enumerate(("kim", "lee")):
            await store.add_session(bytes([number]) * 32, make_session(number, username), MOST)
            await store.claim_repeat(username, "key", b"f", 1_000)
        assert await store.delete_tokens_of("kim") == 0
        assert await store.list_sessions("kim") == []
        assert len(await store.list_sessions("lee")) == 1
        assert await store.claim_repeat("kim", "key", b"f", 2_000) is None
        assert await store.claim_repeat("lee", "key", b"f", 2_000) is not None

    async def test_sessions_that_are_over_are_forgotten(self, store: AdminStore) -> None:
        """trim_sessions."""
        for number in range(1, 4):
            await store.add_session(bytes([number]) * 32, make_session(number), MOST)
        assert await store.trim_sessions(1, 3_000, 1) == 1
        assert await store.trim_sessions(1, 3_000, 10) == 1
        assert [each.session_id for each in await store.list_sessions("kim")] == ["session-3"]
        assert await store.trim_sessions(1_000_000_000_123, 0, 10) == 1
