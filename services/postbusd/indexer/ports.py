"""What indexer needs beyond the libraries."""

from collections.abc import Sequence
from typing import Protocol

from postbus.core.ids import MailboxId
from postbusd.indexer.values import IndexDocument, IndexState, Phrase


class RebuildRecord(Protocol):
    """What is known of the index; lost together with it. Raises MailError: UNAVAILABLE (its storage fails)."""

    @property
    def state(self) -> IndexState:
        """As it was saved last."""
        ...

    async def save(self, state: IndexState) -> None:
        """Durable when it returns."""
        ...


class SearchIndex(Protocol):
    """The index. Raises MailError: UNAVAILABLE (its storage fails)."""

    @property
    def record(self) -> RebuildRecord:
        """What stands beside it."""
        ...

    async def apply(self, documents: Sequence[IndexDocument], absent: Sequence[str]) -> None:
        """Puts documents (in place of older ones) and removes keys; durable and seen by searches when it returns."""
        ...

    async def search(self, mailbox_ids: Sequence[MailboxId], phrases: Sequence[Phrase]) -> list[bytes]:
        """Per phrase the email_ids, 16 octets each, one after the other, unordered."""
        ...

    def cut_words(self, folded: str) -> list[str]:
        """The index's own analysis of folded text (`analysis.WordCutter`)."""
        ...

    async def count_documents(self) -> int:
        """Documents in the index; raises when it can't be read (readiness)."""
        ...

    async def rest(self) -> None:
        """Gives back what only writing needs."""
        ...

    async def close(self) -> None:
        """Finishes what is under way."""
        ...
