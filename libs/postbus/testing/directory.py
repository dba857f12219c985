"""A directory in memory: the fake of `postbusd.directory.ports`, a hasher that is fast, a clock that stands still."""

from collections.abc import Sequence

from postbus.core.ids import FolderId, MailboxId, ModSeq, Uid
from postbus.mailstore.values import Folder, Totals
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

    async def totals(self, mailbox_ids: Sequence[MailboxId]) -> dict[MailboxId, Totals]:
        """What `used` says, and a message for each thousand octets."""
        used = await self.usage(mailbox_ids)
        return {name: Totals(octets=octets, messages=octets // 1000) for name, octets in used.items()}

    async def list_folders(self, mailbox_id: MailboxId) -> list[Folder]:
        """INBOX has everything."""
        octets = self.used.get(mailbox_id, 0)
        inbox = Folder(
            mailbox_id=mailbox_id,
            folder_id=FolderId(1),
            name="INBOX",
            uid_validity=1,
            uid_next=Uid(1),
            highest_mod_seq=ModSeq(1),
            special_use=None,
            subscribed=True,
            messages=octets // 1000,
            unseen=0,
            deleted=0,
            octets=octets,
        )
        return [inbox]

    async def purge(self, mailbox_id: MailboxId, limit: int) -> bool:
        """A thousand octets at a time."""
        left = self.used.pop(mailbox_id, 0) - 1000
        if left > 0:
            self.used[mailbox_id] = left
        return left <= 0

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
