"""Promise 5 over restores: whatever was lost, no new uid or mod_seq is one that was told before, and who knew the lost
time comes to see what is there."""

import copy
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from postbus.core.ids import FolderId, MailboxId, ModSeq
from postbus.mailstore.packed import unpack_rows
from postbus.mailstore.values import ViewRow
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.mailstore_builders import check_counters, make_mailbox
from postbus.testing.mailstore_random import OperationSource, outcome_of

Result = TypeVar("Result")
Key = tuple[FolderId, int]
"""A folder and its uid_validity."""


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """The fake never waits: one step runs it to its end."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    result: Result = ended.value.value
    return result


class Epochs(RuleBasedStateMachine):
    """A store of which copies are made and put back, and a client that follows it by mod_seqs."""

    @initialize(seed=st.integers(0, 10_000))
    def start(self, seed: int) -> None:
        self.store = MemoryMailStore()
        self.mailbox_id: MailboxId = run(make_mailbox(self.store))
        self.source = OperationSource(self.mailbox_id, seed)
        self.kept: tuple[MemoryMailStore, dict[Key, set[int]]] | None = None
        self.announced: dict[Key, tuple[int, int]] = {}
        """UIDNEXT and HIGHESTMODSEQ as told."""
        self.uids: dict[Key, set[int]] = {}
        """Every uid that this history of the store has given."""
        self.client: dict[Key, tuple[ModSeq, dict[int, ViewRow]]] = {}

    @rule(count=st.integers(1, 6))
    def work(self, count: int) -> None:
        for _ in range(count):
            folder_ids = [folder.folder_id for folder in run(self.store.list_folders(self.mailbox_id))]
            run(outcome_of(self.source.next(folder_ids), self.store))

    @rule()
    def copy(self) -> None:
        self.kept = copy.deepcopy(self.store), copy.deepcopy(self.uids)

    @precondition(lambda self: self.kept is not None)
    @rule()
    def put_back(self) -> None:
        assert self.kept is not None
        self.store, self.uids = self.kept
        self.kept = None
        run(self.store.lift())

    @rule()
    def follow(self) -> None:
        """RFC 7162: what changed since the mod_seq that the client knows makes its folder the server's."""
        for folder in run(self.store.list_folders(self.mailbox_id)):
            key = folder.folder_id, folder.uid_validity
            since, rows = self.client.get(key, (ModSeq(0), {}))
            changes = run(self.store.load_changes(self.mailbox_id, folder.folder_id, since))
            assert changes.complete
            rows |= {row.uid: row for row in unpack_rows(changes)}
            rows = {uid: row for uid, row in rows.items() if not any(a <= uid <= b for a, b in changes.vanished)}
            loaded = unpack_rows(run(self.store.load_entries(self.mailbox_id, folder.folder_id)))
            assert [rows[uid] for uid in sorted(rows)] == loaded
            self.client[key] = changes.head.highest_mod_seq, rows

    @invariant()
    def nothing_appears_below_what_was_announced(self) -> None:
        for folder in run(self.store.list_folders(self.mailbox_id)):
            key = folder.folder_id, folder.uid_validity
            uid_next, mod_seq = self.announced.get(key, (1, 0))
            known = self.uids.setdefault(key, set())
            rows = unpack_rows(run(self.store.load_entries(self.mailbox_id, folder.folder_id)))
            new = {row.uid for row in rows} - known
            assert all(uid >= uid_next for uid in new)
            known |= new
            assert folder.uid_next >= uid_next
            assert folder.highest_mod_seq >= mod_seq
            self.announced[key] = folder.uid_next, folder.highest_mod_seq

    @invariant()
    def counters_are_exact(self) -> None:
        run(check_counters(self.store, self.mailbox_id))


Epochs.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestEpochs = Epochs.TestCase
