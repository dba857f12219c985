"""A directory in memory: the fake of `postbusd.directory.ports`, a hasher that is fast, a clock that stands still."""

from collections.abc import Sequence

import msgspec

from postbus.contracts.directory import Domain, Mailbox
from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import MailboxId
from postbus.mailstore.ports import Publish
from postbusd.directory.values import (
    DomainPage,
    DomainWritten,
    Found,
    Key,
    Login,
    MailboxChange,
    MailboxPage,
    MailboxWritten,
)


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

    async def ensure_mailbox(self, mailbox_id: MailboxId) -> None:
        """Notes the mailbox."""
        self.ensured.append(mailbox_id)

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
        return password_hash == f"plain:{password}"

    async def verify_nothing(self, password: str) -> None:
        """Counts like `verify`."""
        self.verifications += 1


class MemoryDirectory:
    """The DirectoryRepository; `away` makes every call UNAVAILABLE."""

    def __init__(self) -> None:
        self.away = False
        self.reads = 0
        self._revision = 1
        self._domains: dict[str, Domain] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._hashes: dict[str, str] = {}
        self._outbox: list[Event] = []

    async def find(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Found]]:
        """Revision and answers of one snapshot."""
        self._touch()
        return self._revision, {key: self._find(key) for key in keys}

    async def load_login(self, local_part: str, domain: str) -> Login | None:
        """A mailbox with its password by its folded name."""
        self._touch()
        address = f"{local_part}@{domain}"
        if address not in self._mailboxes:
            return None
        return Login(
            mailbox=self._mailboxes[address], password_hash=self._hashes.get(address, ""), revision=self._revision
        )

    async def revision(self) -> int:
        """The number of the last change."""
        self._touch()
        return self._revision

    async def put_domain(self, domain: Domain, event: Event) -> DomainWritten:
        """Creates or replaces a domain."""
        self._touch()
        changed = self._domains.get(domain.name) != domain
        self._domains[domain.name] = domain
        return DomainWritten(changed=changed, revision=self._close_write(event, changed), domain=domain)

    async def put_mailbox(self, change: MailboxChange, event: Event) -> MailboxWritten:
        """Creates or changes the mailbox of that name."""
        self._touch()
        address = f"{change.local_part}@{change.domain}"
        before = self._mailboxes.get(address)
        if change.domain not in self._domains:
            raise MailError(ErrorKind.NOT_FOUND, f"address: there is no domain {change.domain} here")
        if before is None and change.password_hash is None:
            raise MailError(ErrorKind.INVALID, "password: a new mailbox needs one")
        if before is not None and change.create_only:
            raise MailError(ErrorKind.ALREADY_EXISTS, "address: there is a mailbox of this name")
        now = before or Mailbox(mailbox_id=change.mailbox_id, address=address)
        if change.active is not None:
            now = msgspec.structs.replace(now, active=change.active)
        if change.quota_octets is not None:
            now = msgspec.structs.replace(now, quota_octets=change.quota_octets or None)
        self._mailboxes[address] = now
        if change.password_hash is not None:
            self._hashes[address] = change.password_hash
        changed = before != now or change.password_hash is not None
        revision = self._close_write(event, changed)
        return MailboxWritten(changed=changed, revision=revision, mailbox=now, created=before is None)

    async def list_domains(self, after: str, limit: int) -> DomainPage:
        """Domains with a name above `after`."""
        self._touch()
        names = sorted(name for name in self._domains if name > after)
        return DomainPage(domains=tuple(self._domains[name] for name in names[:limit]), more=len(names) > limit)

    async def list_mailboxes(self, domain: str, after: str, limit: int) -> MailboxPage:
        """Mailboxes with an address above `after`."""
        self._touch()
        names = sorted(name for name in self._mailboxes if name > after and (not domain or name.endswith(f"@{domain}")))
        return MailboxPage(mailboxes=tuple(self._mailboxes[name] for name in names[:limit]), more=len(names) > limit)

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Hands events to `publish` and deletes them."""
        self._touch()
        claimed = self._outbox[:limit]
        if claimed:
            await publish(claimed)
            del self._outbox[: len(claimed)]
        return len(claimed)

    def _find(self, key: Key) -> Found:
        name = key.domain or next((domain.name for domain in self._domains.values() if domain.incoming), "")
        if key.system:
            mailbox = next(
                (each for each in self._mailboxes.values() if each.active and each.address.endswith(f"@{name}")), None
            )
        else:
            mailbox = self._mailboxes.get(f"{key.local_part}@{name}")
        return Found(domain=self._domains.get(name), mailbox=mailbox)

    def _touch(self) -> None:
        self.reads += 1
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "the directory's database is not available")

    def _close_write(self, event: Event, changed: bool) -> int:
        if changed:
            self._outbox.append(event)
            self._revision += 1
        return self._revision
