"""The writing half of the directory in memory: the fake of `postbusd.directory.administration.ports`."""

from postbus.contracts.policy import Policy, PolicyReply
from postbus.mailstore.ports import Publish
from postbus.testing.directory_write_access import MemoryAccess
from postbus.testing.directory_write_addresses import MemoryAliases, MemoryDomains, MemoryLists
from postbus.testing.directory_write_archive import MemoryArchive
from postbus.testing.directory_write_base import MemoryWrites
from postbus.testing.directory_write_imports import MemoryImports
from postbus.testing.directory_write_people import MemoryAppPasswords, MemoryGroups, MemoryUsers
from postbusd.directory.administration.values import Act, Written


class MemoryPolicy(MemoryWrites):
    """The PolicyStore."""

    async def load_policy(self) -> PolicyReply:
        """With the revision, and what domains add."""
        self.touch()
        return PolicyReply(
            policy=self.policy,
            revision=self.number,
            mail_hosts=tuple(sorted({*self.mail_hosts(), self.policy.mail_host} - {""})),
            alternate_mx=tuple(sorted({each for domain in self.domains.values() for each in domain.alternate_mx})),
        )

    async def put_policy(self, policy: Policy, act: Act) -> Written[Policy]:
        """Replaces it."""
        self.touch()
        self.begin(act, self.policy)
        changed = policy != self.policy
        self.policy = policy
        return self.close(policy, changed=changed)


class MemoryWriter(
    MemoryDomains,
    MemoryArchive,
    MemoryImports,
    MemoryUsers,
    MemoryAppPasswords,
    MemoryAccess,
    MemoryGroups,
    MemoryAliases,
    MemoryLists,
    MemoryPolicy,
):
    """The DirectoryWriter."""

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Hands events to `publish` and deletes them."""
        self.touch()
        claimed = self.outbox[:limit]
        if claimed:
            await publish(claimed)
            del self.outbox[: len(claimed)]
        return len(claimed)
