"""What every mail store must do when a new epoch begins (architecture §4): nothing that was told becomes untrue."""

from typing import Protocol

import msgspec
import pytest

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, ModSeq
from postbus.mailstore.packed import unpack_rows
from postbus.mailstore.values import AppendOutcome, Flag, Folder, StoreMode, StoreRequest
from postbus.testing.mailstore import LIFT_SPAN
from postbus.testing.mailstore_builders import (
    INBOX,
    MailStore,
    check_counters,
    fill,
    flag,
    folder_of,
    load,
    make_append,
    make_copy,
    make_mailbox,
)


class LiftedMailStore(MailStore, Protocol):
    """A mail store whose server fails over when a test says so."""

    async def lift(self) -> None:
        """A new epoch for every mailbox, by a failover to the next timeline."""
        ...


class EpochContract:
    """The lift."""

    async def test_a_lift_leaves_out_numbers_in_every_folder_and_nothing_else_changes(
        self, store: LiftedMailStore
    ) -> None:
        """uid_next and mod_seq of all folders by 1,000,000, those without a message too; uid_validity stays."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 3)
        before = await store.list_folders(mailbox_id)
        rows = await load(store, mailbox_id)
        top = max(folder.highest_mod_seq for folder in before)
        await store.lift()
        after = await store.list_folders(mailbox_id)
        assert [folder.uid_next for folder in after] == [folder.uid_next + LIFT_SPAN for folder in before]
        assert {folder.highest_mod_seq for folder in after} == {top + LIFT_SPAN}
        assert [_rest(folder) for folder in after] == [_rest(folder) for folder in before]
        lifted = await load(store, mailbox_id)
        assert [msgspec.structs.replace(row, mod_seq=ModSeq(0)) for row in lifted] == [
            msgspec.structs.replace(row, mod_seq=ModSeq(0)) for row in rows
        ]
        await check_counters(store, mailbox_id)

    async def test_what_comes_after_a_lift_is_above_it(self, store: LiftedMailStore) -> None:
        """Appends, copies, flags, and keys from before."""
        mailbox_id = await make_mailbox(store)
        [first] = await store.append([make_append(mailbox_id, "key")])
        await store.lift()
        [again, new] = await store.append([make_append(mailbox_id, "key"), make_append(mailbox_id, "new")])
        assert (again.outcome, again.uid) == (AppendOutcome.DUPLICATE, first.uid)
        assert (new.uid, new.mod_seq) == (first.uid + 1 + LIFT_SPAN, first.mod_seq + 1 + LIFT_SPAN)
        copied = await store.copy(make_copy(mailbox_id, INBOX, (first.uid,)))
        assert copied.pairs == ((first.uid, new.uid + 1),)
        assert await flag(store, mailbox_id, (first.uid,), Flag.SEEN) == copied.mod_seq + 1
        await check_counters(store, mailbox_id)

    async def test_who_knew_the_lost_time_learns_that_its_uids_are_gone(self, store: LiftedMailStore) -> None:
        """From any mod_seq below the lift: every entry anew, the skipped uids among the vanished (RFC 7162 §3.2.6)."""
        mailbox_id = await make_mailbox(store)
        since = (await fill(store, mailbox_id, 5))[-1].mod_seq
        await flag(store, mailbox_id, (4, 5), Flag.DELETED)
        await store.expunge(mailbox_id, INBOX, (5,))
        await store.lift()
        for lost in (0, 1, 1000):
            changes = await store.load_changes(mailbox_id, INBOX, ModSeq(since + lost))
            assert [row.uid for row in unpack_rows(changes)] == [1, 2, 3, 4]
            gone_from = 6 if lost == 1000 else 5
            assert changes.vanished == ((gone_from, 5 + LIFT_SPAN),)
            assert changes.complete
            assert {row.mod_seq for row in unpack_rows(changes)} == {changes.head.highest_mod_seq}
        nothing = await store.load_changes(mailbox_id, INBOX, changes.head.highest_mod_seq)
        assert (nothing.uids, nothing.vanished, nothing.complete) == (b"", (), True)
        await store.append([make_append(mailbox_id, "new")])
        news = await store.load_changes(mailbox_id, INBOX, changes.head.highest_mod_seq)
        assert ([row.uid for row in unpack_rows(news)], news.vanished) == ([6 + LIFT_SPAN], ())

    async def test_a_condition_from_before_the_lift_holds_for_nothing(self, store: LiftedMailStore) -> None:
        """STORE UNCHANGEDSINCE (RFC 7162 §3.1.3): what the client saw may have been undone."""
        mailbox_id = await make_mailbox(store)
        top = (await fill(store, mailbox_id, 2))[-1].mod_seq
        await store.lift()
        request = StoreRequest(
            mailbox_id=mailbox_id,
            folder_id=INBOX,
            uids=(1, 2, 9),
            mode=StoreMode.ADD,
            flags=Flag.SEEN,
            unchanged_since=ModSeq(top + 5),
            operation_key="conditional",
        )
        result = await store.store_flags(request)
        assert (result.modified, result.changed) == ((1, 2), False)
        assert result == await store.store_flags(request)
        head = (await store.heads([(mailbox_id, INBOX)]))[0]
        now = msgspec.structs.replace(request, unchanged_since=head.highest_mod_seq, operation_key="now")
        assert (await store.store_flags(now)).modified == ()
        assert [row.flags for row in await load(store, mailbox_id)] == [Flag.SEEN, Flag.SEEN]
        with pytest.raises(MailError) as caught:
            await store.store_flags(msgspec.structs.replace(request, folder_id=FolderId(99), operation_key="nowhere"))
        assert caught.value.kind is ErrorKind.NOT_FOUND

    async def test_a_folder_made_after_the_lift_is_none_of_the_lost_time(self, store: LiftedMailStore) -> None:
        """Neither its number nor its uid_validity can have been given before."""
        mailbox_id = await make_mailbox(store)
        last = await store.create_folder(mailbox_id, "before")
        await store.lift()
        made = await store.create_folder(mailbox_id, "after")
        assert made.folder_id > last.folder_id + 10_000
        assert made.uid_validity > last.uid_validity + 10_000

    async def test_history_of_a_lift_is_trimmed_like_any_other(self, store: LiftedMailStore) -> None:
        """Who is older than it is told to load again."""
        mailbox_id = await make_mailbox(store)
        since = (await fill(store, mailbox_id, 1))[-1].mod_seq
        await store.lift()
        head = (await store.heads([(mailbox_id, INBOX)]))[0]
        await store.trim_history(1 << 50, None, 100_000)
        assert not (await store.load_changes(mailbox_id, INBOX, since)).complete
        assert (await store.load_changes(mailbox_id, INBOX, head.highest_mod_seq)).complete
        assert (await folder_of(store, mailbox_id)).uid_next == head.uid_next


def _rest(folder: Folder) -> Folder:
    return msgspec.structs.replace(folder, uid_next=0, highest_mod_seq=0)
