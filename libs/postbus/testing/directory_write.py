"""The writing half of the directory in memory: the fake of `postbusd.directory.administration.ports`."""

from postbus.mailstore.ports import Publish
from postbus.testing.directory_write_addresses import MemoryAliases, MemoryDomains, MemoryLists
from postbus.testing.directory_write_people import MemoryApps, MemoryGroups, MemoryUsers


class MemoryWriter(MemoryDomains, MemoryApps, MemoryUsers, MemoryGroups, MemoryAliases, MemoryLists):
    """The DirectoryWriter."""

    async def relay_outbox(self, limit: int, publish: Publish) -> int:
        """Hands events to `publish` and deletes them."""
        self.touch()
        claimed = self.outbox[:limit]
        if claimed:
            await publish(claimed)
            del self.outbox[: len(claimed)]
        return len(claimed)
