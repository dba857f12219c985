"""directory as administrators see it: the real commands over tables in memory."""

from collections.abc import Mapping

from postbus.contracts.domains import Domain
from postbus.contracts.events import DirectoryChanged
from postbus.contracts.mailboxes import Mailbox
from postbus.contracts.standing import Standing
from postbus.runtime.sealing import Sealer
from postbus.testing.directory import KEYS, ManualClock, MemoryAccounts, MemoryDirectory, PlainHasher
from postbus.testing.identity_provider import MemoryProvider
from postbusd.directory.administration import Administration, Tools
from postbusd.directory.routes import relay_owner

SEALER = Sealer(bytes(32))


class MemoryDirectoryAdmin(Administration):
    """The DirectoryAdmin; `away` makes every call UNAVAILABLE; `actors` is who asked."""

    def __init__(self) -> None:
        self.rows = MemoryDirectory()
        self.actors: list[str] = []
        self.clock = ManualClock()
        self.provider = MemoryProvider(self.clock)
        tools = Tools(
            repository=self.rows,
            accounts=MemoryAccounts(),
            hasher=PlainHasher(),
            keys=KEYS,
            sealer=SEALER,
            clock=self.clock,
            party=self.provider.party(self.rows),
        )
        super().__init__(tools, self._hear)

    @property
    def away(self) -> bool:
        """Whether the database is."""
        return self.rows.away

    @away.setter
    def away(self, value: bool) -> None:
        self.rows.away = value

    @property
    def domains(self) -> Mapping[str, Domain]:
        """By name."""
        return self.rows.domains

    @property
    def mailboxes(self) -> Mapping[str, Mailbox]:
        """By address."""
        return self.rows.mailboxes

    @property
    def passwords(self) -> dict[str, str]:
        """By username, as they were set."""
        return {name: stored.secret_hash.removeprefix("plain:") for name, stored in self.rows.passwords.items()}

    @property
    def relay_passwords(self) -> dict[str, str]:
        """By domain, opened."""
        return {
            name: SEALER.open(sealed, relay_owner(name)).decode() if sealed else ""
            for name, sealed in self.rows.relay_passwords.items()
        }

    def is_credential(self, app: str, credential: str) -> bool:
        """Whether this is the app's credential now."""
        return self.rows.credentials[app] == KEYS.index(credential)

    async def _standing(self, actor: str) -> Standing:
        self.actors.append(actor)
        self.rows.touch()
        return await super()._standing(actor)

    async def _hear(self, changed: DirectoryChanged) -> None:
        """Nobody caches."""
