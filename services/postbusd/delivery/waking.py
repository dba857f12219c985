"""Wake-ups after a commit: one a mailbox, one for indexer (architecture §3.6)."""

from collections.abc import Sequence

from postbus.bus.ports import WakeUps
from postbus.bus.subjects import SUBJECT_INDEX_WANTED, folder_changed_subject
from postbus.contracts.events import FolderChanged, IndexWanted
from postbus.mailstore.values import Append, AppendOutcome, AppendResult


async def wake_readers(bus: WakeUps, appends: Sequence[Append], results: Sequence[AppendResult]) -> None:
    """Tells of what was stored just now; of duplicates was told before."""
    changed: dict[str, FolderChanged] = {}
    stored = 0
    for append, result in zip(appends, results, strict=True):
        if result.outcome is AppendOutcome.STORED:
            stored += 1
            before = changed.get(append.mailbox_id)
            folders = {*(before.folder_ids if before else ()), result.folder_id}
            changed[append.mailbox_id] = FolderChanged(
                mailbox_id=append.mailbox_id, folder_ids=tuple(sorted(folders)), mod_seq=result.mod_seq
            )
    for mailbox_id, value in changed.items():
        await bus.wake(folder_changed_subject(mailbox_id), value)
    if stored:
        await bus.wake(SUBJECT_INDEX_WANTED, IndexWanted(count=stored))
