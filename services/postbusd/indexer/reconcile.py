"""Compares the index with the database after a failover or a restore: the two may have lost different things.

A message that was expunged in the time that is lost is back, but its document is gone; one that was delivered then has
a document, but is no more. So a mailbox is compared when it is searched for the first time in an epoch that began with
a lift (architecture §4), by one query on each side: exact when it counts, and nothing to do for those nobody searches.

Order matters: the index is read first. What it holds was in the database then, or is of the lost time; a message that
goes in between is removed twice, which is harmless.
"""

import logging
import uuid
from collections.abc import Callable, Sequence

from postbus.core.ids import EmailId, MailboxId
from postbus.mailstore.ports import IndexQueue
from postbusd.indexer.ports import SearchIndex
from postbusd.indexer.values import Phrase, format_key

log = logging.getLogger(__name__)

ID_OCTETS = 16
FIRST_EPOCH = 1
"""Before any lift: nothing can have been lost."""
MAX_REMEMBERED = 200_000
"""Mailboxes known to agree; then the memory is begun anew."""
PIECE_MESSAGES = 2000
"""Enqueued at once, while the mailbox is locked."""


class Reconciler:
    """Remembers for one epoch which mailboxes agree."""

    def __init__(self, queue: IndexQueue, index: SearchIndex, epoch: Callable[[], int]) -> None:
        """`epoch` is the mail store's, of the last connection."""
        self._queue = queue
        self._index = index
        self._epoch = epoch
        self._compared_in = FIRST_EPOCH
        self._agreeing: set[MailboxId] = set()

    def pending(self, mailbox_ids: Sequence[MailboxId]) -> list[MailboxId]:
        """Those that are to be compared."""
        epoch = self._epoch()
        if epoch != self._compared_in or len(self._agreeing) > MAX_REMEMBERED:
            self._compared_in = epoch
            self._agreeing.clear()
        return [each for each in mailbox_ids if epoch > FIRST_EPOCH and each not in self._agreeing]

    async def compare(self, mailbox_id: MailboxId) -> None:
        """Removes what is no more, enqueues what is missing. The index's lock is held. Raises MailError."""
        epoch = self._compared_in
        [packed] = await self._index.search([mailbox_id], [Phrase()])
        indexed = {packed[at : at + ID_OCTETS] for at in range(0, len(packed), ID_OCTETS)}
        stored = set(await self._queue.message_ids(mailbox_id))
        orphans = [format_key(mailbox_id, email_id) for email_id in indexed - stored]
        missing = [EmailId(str(uuid.UUID(bytes=email_id))) for email_id in sorted(stored - indexed)]
        if orphans:
            await self._index.apply([], orphans)
        for start in range(0, len(missing), PIECE_MESSAGES):
            await self._queue.enqueue(mailbox_id, missing[start : start + PIECE_MESSAGES])
        if orphans or missing:
            facts = {"mailbox_id": mailbox_id, "removed": len(orphans), "enqueued": len(missing), "epoch": epoch}
            log.info("indexer.mailbox.reconciled", extra=facts)
        if epoch == self._compared_in:
            self._agreeing.add(mailbox_id)
