"""What every mail store must do for folder views, flags, copies, the index queue and the outbox."""

import uuid

import msgspec
import pytest

from postbus.contracts.events import Event
from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import EmailId, FolderId, MailboxId, ModSeq, new_mailbox_id
from postbus.mailstore.packed import expand_ranges, unpack_rows
from postbus.mailstore.values import AppendOutcome, Enqueued, Flag, StoreMode, StoreRequest
from postbus.testing.mailstore_builders import (
    INBOX,
    NOW_MS,
    MailStore,
    check_counters,
    drain_outbox,
    fill,
    flag,
    folder_of,
    load,
    make_append,
    make_copy,
    make_event,
    make_mailbox,
    make_message,
)


class ViewContract:
    """FolderReader and FolderWriter."""

    async def test_heads_come_in_order_without_the_deleted(self, store: MailStore) -> None:
        """One query for many views."""
        one, other = await make_mailbox(store), await make_mailbox(store)
        await fill(store, other, 2)
        heads = await store.heads([(other, INBOX), (one, FolderId(50)), (one, INBOX), (new_mailbox_id(NOW_MS), INBOX)])
        assert [(head.mailbox_id, head.uid_next) for head in heads] == [(other, 3), (one, 1)]
        inbox = await folder_of(store, other)
        assert (heads[0].uid_validity, heads[0].highest_mod_seq) == (inbox.uid_validity, inbox.highest_mod_seq)

    async def test_changes_since_a_mod_seq_bring_a_view_up_to_date(self, store: MailStore) -> None:
        """load_changes: changed entries once, vanished uids as ranges."""
        mailbox_id = await make_mailbox(store)
        since = (await fill(store, mailbox_id, 6))[-1].mod_seq
        await flag(store, mailbox_id, (2,), Flag.SEEN)
        await flag(store, mailbox_id, (2, 3, 4, 5), Flag.DELETED)
        await store.expunge(mailbox_id, INBOX, (3, 4))
        await store.append([make_append(mailbox_id, "new")])
        changes = await store.load_changes(mailbox_id, INBOX, since)
        rows = unpack_rows(changes)
        assert [(row.uid, row.flags) for row in rows] == [(2, 9), (5, 8), (7, 0)]
        assert (changes.vanished, changes.complete) == (((3, 4),), True)
        assert changes.head == (await store.heads([(mailbox_id, INBOX)]))[0]
        nothing = await store.load_changes(mailbox_id, INBOX, changes.head.highest_mod_seq)
        assert (nothing.uids, nothing.vanished, nothing.complete) == (b"", (), True)

    async def test_storing_flags_changes_only_what_differs(self, store: MailStore) -> None:
        """REPLACE, ADD, REMOVE; one mod_seq an operation."""
        mailbox_id = await make_mailbox(store)
        before = (await fill(store, mailbox_id, 3))[-1].mod_seq
        first = await flag(store, mailbox_id, (1, 3, 99), Flag.SEEN | Flag.FLAGGED)
        assert first > before
        assert await flag(store, mailbox_id, (1, 3), Flag.SEEN) == first
        second = await flag(store, mailbox_id, (3,), Flag.SEEN, StoreMode.REMOVE)
        third = await flag(store, mailbox_id, (1, 2), Flag.ANSWERED, StoreMode.REPLACE)
        rows = await load(store, mailbox_id)
        assert [row.flags for row in rows] == [Flag.ANSWERED, Flag.ANSWERED, Flag.FLAGGED]
        assert [row.mod_seq for row in rows] == [third, third, second]
        await check_counters(store, mailbox_id)

    async def test_keywords_are_merged_without_regard_to_case(self, store: MailStore) -> None:
        """The first spelling stays."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 1, keywords=("Work", "$Junk"))

        async def keep(mode: StoreMode, *keywords: str) -> tuple[str, ...]:
            await store.store_flags(
                StoreRequest(
                    mailbox_id=mailbox_id, folder_id=INBOX, uids=(1,), mode=mode, flags=Flag(0), keywords=keywords
                )
            )
            return (await load(store, mailbox_id))[0].keywords

        assert await keep(StoreMode.ADD, "work", "Later") == ("$Junk", "Later", "Work")
        assert await keep(StoreMode.REMOVE, "LATER", "none") == ("$Junk", "Work")
        assert await keep(StoreMode.REPLACE, "WORK", "B", "a") == ("a", "B", "Work")
        assert await keep(StoreMode.REPLACE) == ()
        with pytest.raises(MailError) as caught:
            await keep(StoreMode.ADD, "two words")
        assert caught.value.kind is ErrorKind.INVALID

    async def test_too_many_keywords_reach_a_limit(self, store: MailStore) -> None:
        """Promise 7."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 1, keywords=tuple(f"k{number}" for number in range(100)))
        with pytest.raises(MailError) as caught:
            await store.store_flags(
                StoreRequest(
                    mailbox_id=mailbox_id,
                    folder_id=INBOX,
                    uids=(1,),
                    mode=StoreMode.ADD,
                    flags=Flag.SEEN,
                    keywords=("one-more",),
                )
            )
        assert caught.value.kind is ErrorKind.LIMIT
        assert (await load(store, mailbox_id))[0].flags == 0

    async def test_unchanged_since_leaves_newer_entries_alone(self, store: MailStore) -> None:
        """RFC 7162 §3.1.3."""
        mailbox_id = await make_mailbox(store)
        limit = (await fill(store, mailbox_id, 3))[1].mod_seq
        result = await store.store_flags(
            StoreRequest(
                mailbox_id=mailbox_id,
                folder_id=INBOX,
                uids=(1, 2, 3),
                mode=StoreMode.ADD,
                flags=Flag.SEEN,
                unchanged_since=limit,
            )
        )
        assert result.modified == (3,)
        assert [row.flags for row in await load(store, mailbox_id)] == [1, 1, 0]
        assert result.changed
        await check_counters(store, mailbox_id)

    async def test_a_conditional_store_with_the_same_key_happens_once(self, store: MailStore) -> None:
        """The repetition tells what came of the first run instead of failing over it."""
        mailbox_id = await make_mailbox(store)
        limit = (await fill(store, mailbox_id, 5))[2].mod_seq
        request = StoreRequest(
            mailbox_id=mailbox_id,
            folder_id=INBOX,
            uids=(1, 2, 4, 5, 9),
            mode=StoreMode.ADD,
            flags=Flag.SEEN,
            unchanged_since=limit,
            operation_key="store",
        )
        first = await store.store_flags(request)
        assert (first.modified, first.changed) == ((4, 5), True)
        await flag(store, mailbox_id, (1,), Flag.SEEN, StoreMode.REMOVE)
        assert await store.store_flags(request) == first
        assert [row.flags for row in await load(store, mailbox_id)] == [0, 1, 0, 0, 0]
        again = await store.store_flags(msgspec.structs.replace(request, operation_key="again"))
        assert (again.modified, again.changed) == ((1, 2, 4, 5), False)
        with pytest.raises(MailError) as caught:
            await store.store_flags(msgspec.structs.replace(request, operation_key="fill-0"))
        assert caught.value.kind is ErrorKind.CONFLICT
        [taken] = await store.append([make_append(mailbox_id, "store")])
        assert taken.outcome is AppendOutcome.INVALID

    async def test_a_store_that_changes_nothing_says_so(self, store: MailStore) -> None:
        """Its mod_seq is then another operation's."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 1)
        await flag(store, mailbox_id, (1,), Flag.SEEN)
        request = StoreRequest(mailbox_id=mailbox_id, folder_id=INBOX, uids=(1,), mode=StoreMode.ADD, flags=Flag.SEEN)
        result = await store.store_flags(request)
        assert not result.changed
        assert result.mod_seq == (await folder_of(store, mailbox_id)).highest_mod_seq

    async def test_expunge_removes_the_deleted_only(self, store: MailStore) -> None:
        r"""EXPUNGE and UID EXPUNGE (RFC 4315 §2.1)."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 5)
        before = await flag(store, mailbox_id, (1, 2, 4), Flag.DELETED)
        assert await store.expunge(mailbox_id, INBOX, (3, 5)) == ((), before)
        gone, mod_seq = await store.expunge(mailbox_id, INBOX, (2, 3))
        assert (gone, mod_seq > before) == ((2,), True)
        assert (await store.expunge(mailbox_id, INBOX, None))[0] == (1, 4)
        assert [row.uid for row in await load(store, mailbox_id)] == [3, 5]
        vanished = (await store.load_changes(mailbox_id, INBOX, ModSeq(1))).vanished
        assert expand_ranges(vanished) == (1, 2, 4)
        await check_counters(store, mailbox_id)

    async def test_a_copy_is_another_entry_of_the_same_message(self, store: MailStore) -> None:
        """COPY: flags kept, quota counted, the message stays until its last entry goes."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 3, flags=Flag.FLAGGED, keywords=("k",))
        trash = await folder_of(store, mailbox_id, "Trash")
        result = await store.copy(make_copy(mailbox_id, trash.folder_id, (3, 1, 77)))
        assert (result.uid_validity, result.pairs) == (trash.uid_validity, ((1, 1), (3, 2)))
        source, copied = await load(store, mailbox_id), await load(store, mailbox_id, trash.folder_id)
        assert [row.email_id for row in copied] == [source[0].email_id, source[2].email_id]
        assert {(row.flags, row.keywords, row.mod_seq) for row in copied} == {(Flag.FLAGGED, ("k",), result.mod_seq)}
        assert await store.usage([mailbox_id]) == {mailbox_id: 500}
        await flag(store, mailbox_id, (1, 2, 3), Flag.DELETED)
        await store.expunge(mailbox_id, INBOX, None)
        names = [row.email_id for row in await store.pending_of([mailbox_id], 10) if row.message is None]
        assert len(names) == 1
        await check_counters(store, mailbox_id)

    async def test_a_copy_with_the_same_key_happens_once(self, store: MailStore) -> None:
        """The gateway learns the outcome after a lost connection."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 2)
        trash = await folder_of(store, mailbox_id, "Trash")
        for move in (False, True):
            request = make_copy(mailbox_id, trash.folder_id, (1, 2), move=move)
            assert await store.copy(request) == await store.copy(request)
        assert len(await load(store, mailbox_id, trash.folder_id)) == 4
        with pytest.raises(MailError) as caught:
            await store.copy(make_copy(mailbox_id, trash.folder_id, (1,), key="fill-0"))
        assert caught.value.kind is ErrorKind.CONFLICT

    async def test_a_move_leaves_the_source_with_one_mod_seq(self, store: MailStore) -> None:
        """MOVE (RFC 6851): no quota, no gap between the two folders."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 3)
        trash = await folder_of(store, mailbox_id, "Trash")
        result = await store.copy(make_copy(mailbox_id, trash.folder_id, (2, 3), move=True, quota_octets=1))
        assert result.pairs == ((2, 1), (3, 2))
        assert [row.uid for row in await load(store, mailbox_id)] == [1]
        heads = await store.heads([(mailbox_id, INBOX), (mailbox_id, trash.folder_id)])
        assert [head.highest_mod_seq for head in heads] == [result.mod_seq] * 2
        assert (await store.load_changes(mailbox_id, INBOX, ModSeq(result.mod_seq - 1))).vanished == ((2, 3),)
        assert await store.usage([mailbox_id]) == {mailbox_id: 300}
        await check_counters(store, mailbox_id)

    async def test_a_folder_can_receive_its_own_messages(self, store: MailStore) -> None:
        """COPY and MOVE into the same folder give new uids."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 2)
        copied = await store.copy(make_copy(mailbox_id, INBOX, (1, 2)))
        assert copied.pairs == ((1, 3), (2, 4))
        moved = await store.copy(make_copy(mailbox_id, INBOX, (1, 4, 5, 6), move=True))
        assert moved.pairs == ((1, 5), (4, 6))
        assert [row.uid for row in await load(store, mailbox_id)] == [2, 3, 5, 6]
        await check_counters(store, mailbox_id)

    async def test_a_copy_over_quota_or_to_nowhere_changes_nothing(self, store: MailStore) -> None:
        """OVER_QUOTA, NOT_FOUND."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 2)
        trash = await folder_of(store, mailbox_id, "Trash")
        for target, quota, kind in (
            (trash.folder_id, 399, ErrorKind.OVER_QUOTA),
            (FolderId(99), None, ErrorKind.NOT_FOUND),
        ):
            with pytest.raises(MailError) as caught:
                await store.copy(make_copy(mailbox_id, target, (1, 2), quota_octets=quota))
            assert caught.value.kind is kind
        assert (await store.copy(make_copy(mailbox_id, trash.folder_id, (1, 2), quota_octets=400))).pairs
        await check_counters(store, mailbox_id)


class QueueContract:
    """IndexQueue, Outbox and Upkeep."""

    async def test_pending_rows_carry_the_message_until_indexed(self, store: MailStore) -> None:
        """The tail that SEARCH scans."""
        mailbox_id = await make_mailbox(store)
        messages = [make_message(), make_message()]
        await store.append([make_append(mailbox_id, f"{number}", message) for number, message in enumerate(messages)])
        rows = await store.pending_of([mailbox_id, new_mailbox_id(NOW_MS)], 10)
        assert [row.email_id for row in rows] == [message.email_id for message in messages]
        assert all(row.message and row.message.blob_id for row in rows)
        assert {(row.mailbox_id, row.attempt) for row in rows} == {(mailbox_id, 0)}
        assert await store.pending_of([mailbox_id], 1) == rows[:1]
        await store.indexed(rows[:1])
        assert await store.pending_of([mailbox_id], 10) == rows[1:]

    async def test_a_row_enqueued_anew_is_not_lost(self, store: MailStore) -> None:
        """Deleted while it was being indexed."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 1)
        rows = await store.pending_of([mailbox_id], 10)
        await flag(store, mailbox_id, (1,), Flag.DELETED)
        await store.expunge(mailbox_id, INBOX, None)
        await store.indexed(rows)
        [again] = await store.pending_of([mailbox_id], 10)
        assert (again.email_id, again.message) == (rows[0].email_id, None)
        await store.indexed([again])
        assert await store.pending_of([mailbox_id], 10) == []

    async def test_a_failed_row_waits_but_stays_in_the_tail(self, store: MailStore) -> None:
        """A poison message does not block the others."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 2)
        first, second = await store.pending_of([mailbox_id], 10)
        await store.failed(first, "no text\0")
        due = [row.email_id for row in await store.pending(10_000) if row.mailbox_id == mailbox_id]
        assert due == [second.email_id]
        tail = {row.email_id: row.attempt for row in await store.pending_of([mailbox_id], 10)}
        assert tail == {first.email_id: 1, second.email_id: 0}

    async def test_all_messages_are_enqueued_piece_by_piece(self, store: MailStore) -> None:
        """For an index that was lost: each message once, rows that wait are left alone."""
        first, second = sorted([await make_mailbox(store), await make_mailbox(store)])
        for mailbox_id, count in ((first, 3), (second, 4)):
            await fill(store, mailbox_id, count)
        stored = {mailbox_id: await store.pending_of([mailbox_id], 10) for mailbox_id in (first, second)}
        await store.indexed(stored[first] + stored[second][:3])
        waiting = stored[second][3:]
        await store.failed(waiting[0], "no text")
        place: Enqueued | None = Enqueued(mailbox_id=first, email_id=EmailId(str(uuid.UUID(int=0))), messages=0)
        pieces = []
        while place := await store.enqueue_all(place, 2):
            pieces.append(place)
            assert 1 <= place.messages <= 2
            if place.mailbox_id == second:
                assert len(await store.pending_of([first], 10)) == 3
        for mailbox_id, rows in stored.items():
            again = {row.email_id: row for row in await store.pending_of([mailbox_id], 10)}
            assert set(again) == {row.email_id for row in rows}
            assert all(row.message is not None for row in again.values())
        [kept] = [row for row in await store.pending_of([second], 10) if row.email_id == waiting[0].email_id]
        assert (kept.enqueue, kept.attempt) == (waiting[0].enqueue, 1)
        assert pieces == sorted(pieces, key=lambda each: (each.mailbox_id, each.email_id))
        assert sum(piece.messages for piece in pieces if piece.mailbox_id <= second) >= 6

    async def test_events_leave_the_outbox_once_published(self, store: MailStore) -> None:
        """Of stored messages only; they stay while the bus is away."""
        mailbox_id = await make_mailbox(store)
        seen: list[str] = []

        async def publish(events: list[Event]) -> None:
            seen.extend(event.summary for event in events)

        async def refuse(events: list[Event]) -> None:
            raise MailError(ErrorKind.UNAVAILABLE, "bus")

        await drain_outbox(store)
        await store.append(
            [
                make_append(mailbox_id, "a", events=(make_event("one"), make_event("two"))),
                make_append(mailbox_id, "a", events=(make_event("duplicate"),)),
                make_append(mailbox_id, "b", events=(make_event("over"),), quota_octets=10),
                make_append(mailbox_id, "c", events=(make_event("three"),)),
            ]
        )
        with pytest.raises(MailError):
            await store.relay_outbox(10, refuse)  # type: ignore[arg-type]
        assert await store.relay_outbox(2, publish) == 2  # type: ignore[arg-type]
        assert await store.relay_outbox(10, publish) == 1  # type: ignore[arg-type]
        assert await store.relay_outbox(10, refuse) == 0  # type: ignore[arg-type]
        assert seen == ["one", "two", "three"]

    async def test_trimmed_history_sends_views_back_to_a_whole_load(self, store: MailStore) -> None:
        """complete is False below the trimmed change rows; keys are forgotten."""
        mailbox_id = await make_mailbox(store)
        await fill(store, mailbox_id, 2)
        later = 1 << 50
        last: MailboxId | None = None
        while (last := await store.trim_history(later, last, 1000)) is not None:
            pass
        head = (await store.heads([(mailbox_id, INBOX)]))[0]
        assert not (await store.load_changes(mailbox_id, INBOX, ModSeq(head.highest_mod_seq - 1))).complete
        assert (await store.load_changes(mailbox_id, INBOX, head.highest_mod_seq)).complete
        [again] = await store.append([make_append(mailbox_id, "fill-0")])
        assert again.outcome is AppendOutcome.STORED
        assert (await store.load_changes(mailbox_id, INBOX, head.highest_mod_seq)).complete

    async def test_what_is_missing_elsewhere_is_enqueued_again(self, store: MailStore) -> None:
        """message_ids tells all messages of a mailbox once; rows that wait stay as they are."""
        mailbox_id, nobody = await make_mailbox(store), new_mailbox_id(NOW_MS)
        messages = [make_message() for _ in range(3)]
        await store.append([make_append(mailbox_id, f"{number}", each) for number, each in enumerate(messages)])
        await store.copy(make_copy(mailbox_id, INBOX, (1,)))
        ids = await store.message_ids(mailbox_id)
        assert sorted(ids) == sorted(uuid.UUID(each.email_id).bytes for each in messages)
        assert await store.message_ids(nobody) == []
        first, *others = await store.pending_of([mailbox_id], 10)
        await store.indexed(others)
        await store.enqueue(mailbox_id, [each.email_id for each in messages[:2]])
        await store.enqueue(nobody, [messages[0].email_id])
        waiting = await store.pending_of([mailbox_id, nobody], 10)
        assert waiting[0] == first
        assert [row.email_id for row in waiting] == [messages[0].email_id, messages[1].email_id]
