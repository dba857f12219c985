"""A new epoch of the mail store as the directory sees it: its revisions may have gone back (architecture §4)."""

import logging
from collections.abc import Awaitable, Callable

import asyncpg

from postbus.contracts.events import DirectoryChanged
from postbus.mailstore.epoch import Epoch

log = logging.getLogger(__name__)

_EPOCH = "SELECT epoch FROM directory.revision"
_LIFT = "UPDATE directory.revision SET epoch = $1, revision = revision + 1000000 WHERE epoch <> $1 RETURNING revision"
_REVISION = "SELECT revision FROM directory.revision"


class RevisionEpochs:
    """Listens to the epochs of directory's connections."""

    def __init__(self, tell: Callable[[DirectoryChanged], Awaitable[None]]) -> None:
        """`tell` drops the caches, here and elsewhere."""
        self._tell = tell

    async def begin(self, epoch: Epoch, before: Epoch | None, connection: asyncpg.Connection) -> None:
        """Lifts the revision once an epoch; every process that lived through it drops its caches."""
        # Writes only when there is something to do: a database that takes no writes can still be asked.
        if await connection.fetchval(_EPOCH) != epoch.number:
            revision = await connection.fetchval(_LIFT, epoch.number)
            if revision is not None:
                log.warning("directory.revision.lifted", extra={"epoch": epoch.number, "revision": revision})
        if before is not None:
            await self._tell(DirectoryChanged(revision=await connection.fetchval(_REVISION)))
