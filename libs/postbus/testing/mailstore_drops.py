"""The lock of POP3 sessions: in memory, and what every store must do with it."""

from postbus.core.clock import Clock
from postbus.core.ids import MailboxId, new_mailbox_id, new_uuid7
from postbus.testing.mailstore_builders import NOW_MS, MailStore, make_mailbox


class MemoryDropLocks:
    """The DropLocks; `_clock` and `_check` are the store's."""

    _clock: Clock

    def __init__(self) -> None:
        """Nobody has anything."""
        self._drops: dict[MailboxId, tuple[str, int]] = {}

    def _check(self) -> None:
        """Whether the database answers."""

    def _has_mailbox(self, mailbox_id: MailboxId) -> bool:
        """Whether there is such a mailbox."""
        raise NotImplementedError

    async def claim_drop(self, mailbox_id: MailboxId, holder: str, seconds: float) -> bool:
        """Takes or renews the lock."""
        self._check()
        now_ms = self._clock.now_ms()
        other, until_ms = self._drops.get(mailbox_id, (holder, 0))
        if (other != holder and until_ms >= now_ms) or not self._has_mailbox(mailbox_id):
            return False
        self._drops[mailbox_id] = (holder, now_ms + int(seconds * 1000))
        return True

    async def release_drop(self, mailbox_id: MailboxId, holder: str) -> None:
        """Gives it back."""
        self._check()
        if self._drops.get(mailbox_id, ("", 0))[0] == holder:
            del self._drops[mailbox_id]


class DropLockContract:
    """DropLocks."""

    async def test_one_session_has_a_mailbox(self, store: MailStore) -> None:
        """claim_drop, release_drop."""
        mailbox_id, other = await make_mailbox(store), await make_mailbox(store)
        first, second = new_uuid7(NOW_MS), new_uuid7(NOW_MS)
        assert await store.claim_drop(mailbox_id, first, 60)
        assert await store.claim_drop(mailbox_id, first, 60)
        assert not await store.claim_drop(mailbox_id, second, 60)
        assert await store.claim_drop(other, second, 60)
        await store.release_drop(mailbox_id, second)
        assert not await store.claim_drop(mailbox_id, second, 60)
        await store.release_drop(mailbox_id, first)
        assert await store.claim_drop(mailbox_id, second, 60)

    async def test_what_is_not_renewed_ends(self, store: MailStore) -> None:
        """claim_drop."""
        mailbox_id = await make_mailbox(store)
        first, second = new_uuid7(NOW_MS), new_uuid7(NOW_MS)
        assert await store.claim_drop(mailbox_id, first, -1)
        assert await store.claim_drop(mailbox_id, second, 60)
        assert not await store.claim_drop(mailbox_id, first, 60)

    async def test_a_mailbox_that_is_not_there_is_nobodys(self, store: MailStore) -> None:
        """claim_drop."""
        assert not await store.claim_drop(new_mailbox_id(NOW_MS), new_uuid7(NOW_MS), 60)
