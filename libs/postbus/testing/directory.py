"""A directory in memory: the fake of `postbusd.directory.ports`, a hasher that is fast, a clock that stands still."""

from collections.abc import Sequence

from postbus.core.ids import MailboxId
from postbus.testing.directory_read import MemoryReader
from postbus.testing.directory_write import MemoryWriter
from postbusd.directory.foreign_hashes import is_foreign, verify_foreign
from postbusd.directory.passwords import CredentialKeys

KEYS = CredentialKeys(bytes(32))
"""Of an installation whose master key is all zeros."""


class ManualClock:
    """Time moves when told to."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 1000.0

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._now_ms

    def monotonic(self) -> float:
        """Seconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Moves both."""
        self._now_ms += int(seconds * 1000)
        self._monotonic += seconds


class MemoryAccounts:
    """The mail store's Accounts, as far as directory sees it."""

    def __init__(self) -> None:
        self.ensured: list[MailboxId] = []
        self.used: dict[MailboxId, int] = {}

    async def ensure_mailboxes(self, mailbox_ids: Sequence[MailboxId]) -> None:
        """Notes the mailboxes."""
        self.ensured.extend(mailbox_ids)

    async def usage(self, mailbox_ids: Sequence[MailboxId]) -> dict[MailboxId, int]:
        """What `used` says."""
        return {mailbox_id: self.used[mailbox_id] for mailbox_id in mailbox_ids if mailbox_id in self.used}


class PlainHasher:
    """The PasswordHasher without the work; counts what would have cost."""

    def __init__(self) -> None:
        self.hashes = 0
        self.verifications = 0

    async def hash(self, password: str) -> str:
        """A readable stand-in for a hash."""
        self.hashes += 1
        return f"plain:{password}"

    async def verify(self, password_hash: str, password: str) -> bool:
        """Compares."""
        self.verifications += 1
        if is_foreign(password_hash):
            return verify_foreign(password_hash, password)
        return password_hash == f"plain:{password}"

    def is_outdated(self, password_hash: str) -> bool:
        """Whatever is no hash of this one's."""
        return not password_hash.startswith("plain:")

    async def verify_nothing(self, password: str) -> None:
        """Counts like `verify`."""
        self.verifications += 1


class MemoryDirectory(MemoryReader, MemoryWriter):
    """The DirectoryRepository; its halves stand in `directory_read` and `directory_write`."""
