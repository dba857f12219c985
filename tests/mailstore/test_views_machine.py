"""Whatever happens in a mailbox, a view kept up to date from changes is the folder, and uids only grow."""

import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from postbus.core.ids import FolderId, MailboxId, ModSeq
from postbus.mailstore.packed import expand_ranges, unpack_rows
from postbus.mailstore.values import ViewRow
from postbus.testing.mailstore import MemoryMailStore
from postbus.testing.mailstore_builders import check_counters, make_mailbox
from postbus.testing.mailstore_random import OperationSource, outcome_of

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """The fake never waits: one step runs it to its end."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    result: Result = ended.value.value
    return result


class Views(RuleBasedStateMachine):
    """One view of every folder, brought up to date at random moments."""

    @initialize(seed=st.integers(0, 10_000))
    def start(self, seed: int) -> None:
        self.store = MemoryMailStore()
        self.mailbox_id: MailboxId = run(make_mailbox(self.store))
        self.source = OperationSource(self.mailbox_id, seed)
        self.views: dict[FolderId, tuple[ModSeq, int, dict[int, ViewRow]]] = {}
        self.uid_nexts: dict[tuple[FolderId, int], int] = {}
        self.validities: dict[int, FolderId] = {}

    @rule(count=st.integers(1, 5))
    def work(self, count: int) -> None:
        for _ in range(count):
            folder_ids = [folder.folder_id for folder in run(self.store.list_folders(self.mailbox_id))]
            run(outcome_of(self.source.next(folder_ids), self.store))

    @rule()
    def catch_up(self) -> None:
        for folder in run(self.store.list_folders(self.mailbox_id)):
            since, uid_next, rows = self.views.get(folder.folder_id, (ModSeq(0), 1, {}))
            changes = run(self.store.load_changes(self.mailbox_id, folder.folder_id, since))
            for row in unpack_rows(changes):
                assert row.uid in rows or row.uid >= uid_next
                assert row.mod_seq > since
                rows[row.uid] = row
            for uid in expand_ranges(changes.vanished):
                rows.pop(uid, None)
            loaded = unpack_rows(run(self.store.load_entries(self.mailbox_id, folder.folder_id)))
            assert [rows[uid] for uid in sorted(rows)] == loaded
            self.views[folder.folder_id] = (changes.head.highest_mod_seq, changes.head.uid_next, rows)

    @invariant()
    def counters_are_exact(self) -> None:
        run(check_counters(self.store, self.mailbox_id))

    @invariant()
    def uids_and_validities_only_grow(self) -> None:
        for folder in run(self.store.list_folders(self.mailbox_id)):
            assert self.validities.setdefault(folder.uid_validity, folder.folder_id) == folder.folder_id
            place = (folder.folder_id, folder.uid_validity)
            assert folder.uid_next >= self.uid_nexts.get(place, 1)
            self.uid_nexts[place] = folder.uid_next

    @invariant()
    def messages_live_while_an_entry_refers_to_them(self) -> None:
        entries = set()
        for folder in run(self.store.list_folders(self.mailbox_id)):
            packed = run(self.store.load_entries(self.mailbox_id, folder.folder_id))
            entries |= {str(uuid.UUID(bytes=row.email_id)) for row in unpack_rows(packed)}
        pending = run(self.store.pending_of([self.mailbox_id], 10_000))
        assert {str(row.email_id) for row in pending if row.message} == entries


Views.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestViews = Views.TestCase
