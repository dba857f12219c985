"""Answers that are kept for repetitions, in memory, and what every RepeatStore must do."""

import msgspec

from postbusd.admin_api.ports import AdminStore
from postbusd.admin_api.repeats import StoredRepeat


class MemoryRepeats:
    """The RepeatStore."""

    def __init__(self) -> None:
        self.repeats: dict[tuple[str, str], StoredRepeat] = {}

    async def check(self) -> None:
        """Raises MailError when away."""

    async def claim_repeat(self, actor: str, key: str, fingerprint: bytes, now_ms: int) -> StoredRepeat | None:
        """What there is."""
        await self.check()
        found = self.repeats.get((actor, key))
        if found is None:
            self.repeats[actor, key] = StoredRepeat(fingerprint=fingerprint, begun_ms=now_ms)
        return found

    async def finish_repeat(self, actor: str, key: str, answer: StoredRepeat) -> None:
        """Its answer."""
        await self.check()
        now = self.repeats[actor, key]
        self.repeats[actor, key] = msgspec.structs.replace(answer, fingerprint=now.fingerprint, begun_ms=now.begun_ms)

    async def release_repeat(self, actor: str, key: str) -> None:
        """Forgets a key."""
        await self.check()
        self.repeats.pop((actor, key), None)

    async def trim_repeats(self, before_ms: int, most: int) -> int:
        """Forgets the old ones."""
        await self.check()
        old = [name for name, each in self.repeats.items() if each.begun_ms < before_ms][:most]
        for name in old:
            del self.repeats[name]
        return len(old)


class RepeatContract:
    """The rules of RepeatStore; a subclass gives a fixture `store`, empty."""

    async def test_a_key_is_claimed_once_and_has_an_answer(self, store: AdminStore) -> None:
        """claim_repeat, finish_repeat, release_repeat."""
        claimed = StoredRepeat(fingerprint=b"f", begun_ms=1_000)
        assert await store.claim_repeat("kim", "a", b"f", 1_000) is None
        assert await store.claim_repeat("kim", "a", b"g", 2_000) == claimed
        assert await store.claim_repeat("lee", "a", b"g", 2_000) is None
        answer = StoredRepeat(fingerprint=b"", begun_ms=0, status=201, headers={"etag": '"x"'}, body_sealed=b"sealed")
        await store.finish_repeat("kim", "a", answer)
        known = msgspec.structs.replace(answer, fingerprint=b"f", begun_ms=1_000)
        assert await store.claim_repeat("kim", "a", b"f", 3_000) == known
        await store.release_repeat("kim", "a")
        assert await store.claim_repeat("kim", "a", b"h", 4_000) is None

    async def test_old_ones_are_forgotten(self, store: AdminStore) -> None:
        """trim_repeats."""
        for number in range(1, 4):
            await store.claim_repeat("kim", str(number), b"f", number * 1_000)
        assert await store.trim_repeats(3_000, 1) == 1
        assert await store.trim_repeats(3_000, 10) == 1
        assert await store.claim_repeat("kim", "3", b"f", 9_000) is not None
