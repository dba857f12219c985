"""What every mail store must do: run on the fake in tests/ and on Postgres in integration/.

A subclass gives the fixture `store`; each test works in a mailbox of its own.
"""

import pytest

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, ThreadId, new_email_id, new_mailbox_id
from postbus.mailstore.values import AppendOutcome, AppendResult, Flag, SpecialUse
from postbus.testing.mailstore_builders import (
    INBOX,
    NOW_MS,
    MailStore,
    check_counters,
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
from postbus.testing.mailstore_drops import DropLockContract
from postbus.testing.mailstore_epoch_contract import EpochContract
from postbus.testing.mailstore_view_contract import QueueContract, ViewContract


class AppendContract:
    """MessageAppender and Accounts."""

    async def test_a_mailbox_has_its_special_folders_once(self, store: MailStore) -> None:
        """ensure_mailboxes: some are there, some are new, one is named twice."""
        mailbox_id, other = await make_mailbox(store), new_mailbox_id(NOW_MS)
        await store.ensure_mailboxes([mailbox_id, other, other])
        assert len(await store.list_folders(other)) == 6
        first = await store.create_folder(other, "Seventh")
        assert (first.folder_id, first.uid_next) == (7, 1)
        assert first.uid_validity > max(each.uid_validity for each in await store.list_folders(other) if each != first)
        folders = await store.list_folders(mailbox_id)
        assert [(folder.name, folder.special_use) for folder in folders] == [
            ("INBOX", SpecialUse.INBOX),
            ("Archive", SpecialUse.ARCHIVE),
            ("Drafts", SpecialUse.DRAFTS),
            ("Sent", SpecialUse.SENT),
            ("Spam", SpecialUse.JUNK),
            ("Trash", SpecialUse.TRASH),
        ]
        assert all(folder.subscribed and folder.uid_next == 1 for folder in folders)
        assert len({folder.uid_validity for folder in folders}) == 6

    async def test_a_purged_mailbox_leaves_nothing_and_the_index_learns_of_it(self, store: MailStore) -> None:
        """purge, totals: piece by piece; messages of two folders, and another mailbox beside it."""
        mailbox_id, other = await make_mailbox(store), await make_mailbox(store)
        await fill(store, other, 2)
        await fill(store, mailbox_id, 7)
        archive = await folder_of(store, mailbox_id, "Archive")
        await store.copy(make_copy(mailbox_id, archive.folder_id, (1, 2, 3)))
        totals = await store.totals([mailbox_id, other, new_mailbox_id(NOW_MS)])
        assert {name: found.messages for name, found in totals.items()} == {mailbox_id: 10, other: 2}
        assert totals[mailbox_id].octets == (await store.usage([mailbox_id]))[mailbox_id]
        await store.indexed(await store.pending_of([mailbox_id], 100))
        pieces = 0
        while not await store.purge(mailbox_id, 4):
            pieces += 1
            left = await store.totals([mailbox_id])
            assert left[mailbox_id].messages == max(10 - 4 * pieces, 0)
            assert pieces < 20
        assert pieces >= 3
        assert await store.purge(mailbox_id, 4)
        assert await store.totals([mailbox_id]) == {}
        gone = await store.pending_of([mailbox_id], 100)
        assert len(gone) == 7
        assert all(each.message is None for each in gone)
        with pytest.raises(MailError) as refused:
            await store.list_folders(mailbox_id)
        assert refused.value.kind is ErrorKind.NOT_FOUND
        (late,) = await store.append([make_append(mailbox_id, "late", None)])
        assert late.outcome is AppendOutcome.NO_MAILBOX
        assert (await store.totals([other]))[other].messages == 2

    async def test_an_append_tells_where_the_message_is(self, store: MailStore) -> None:
        """STORED."""
        mailbox_id = await make_mailbox(store)
        first, second = await fill(store, mailbox_id, 2)
        inbox = await folder_of(store, mailbox_id)
        assert first == AppendResult(
            outcome=AppendOutcome.STORED,
            folder_id=inbox.folder_id,
            uid_validity=inbox.uid_validity,
            uid=first.uid,
            mod_seq=first.mod_seq,
            folder_name="INBOX",
        )
        assert (first.uid, second.uid, inbox.uid_next) == (1, 2, 3)
        assert first.mod_seq < second.mod_seq == inbox.highest_mod_seq

    async def test_the_same_key_stores_nothing_again(self, store: MailStore) -> None:
        """Promise 2: however often the bus redelivers."""
        mailbox_id = await make_mailbox(store)
        [stored] = await store.append([make_append(mailbox_id, "key", events=(make_event("one"),))])
        again = await store.append([make_append(mailbox_id, "key"), make_append(mailbox_id, "key")])
        for result in again:
            assert result.outcome is AppendOutcome.DUPLICATE
            assert (result.folder_id, result.uid_validity, result.uid, result.mod_seq, result.folder_name) == (
                stored.folder_id,
                stored.uid_validity,
                stored.uid,
                stored.mod_seq,
                "INBOX",
            )
        assert len(await load(store, mailbox_id)) == 1
        assert len(await store.pending_of([mailbox_id], 10)) == 1

    async def test_indexing_belongs_to_the_trace_of_the_append(self, store: MailStore) -> None:
        """Promise 8, also for appends of one batch, one of which tells none, and for a message that goes meanwhile."""
        mailbox_id = await make_mailbox(store)
        batch = [
            make_append(mailbox_id, key, flags=Flag.DELETED, traceparent=trace)
            for key, trace in (("one", "trace-1"), ("two", ""), ("three", "trace-3"), ("one", "again"))
        ]
        outcomes = [result.outcome for result in await store.append(batch)]
        assert outcomes == [AppendOutcome.STORED] * 3 + [AppendOutcome.DUPLICATE]
        rows = await store.pending_of([mailbox_id], 10)
        assert [row.traceparent for row in rows] == ["trace-1", "", "trace-3"]
        mine = [row.traceparent for row in await store.pending(1000) if row.mailbox_id == mailbox_id]
        assert mine == ["trace-1", "", "trace-3"]
        [inbox] = [folder for folder in await store.list_folders(mailbox_id) if folder.name == "INBOX"]
        await store.expunge(mailbox_id, inbox.folder_id, [1])
        gone = [row for row in await store.pending_of([mailbox_id], 10) if row.message is None]
        assert [row.traceparent for row in gone] == ["trace-1"]

    async def test_a_key_holds_for_one_mailbox_and_after_the_message_is_gone(self, store: MailStore) -> None:
        """Keys are of a mailbox; deleting a message does not bring it back."""
        one, other = await make_mailbox(store), await make_mailbox(store)
        results = await store.append([make_append(one, "key"), make_append(other, "key")])
        assert [result.outcome for result in results] == [AppendOutcome.STORED] * 2
        await flag(store, one, (1,), Flag.DELETED)
        await store.expunge(one, INBOX, None)
        [again] = await store.append([make_append(one, "key")])
        assert again.outcome is AppendOutcome.DUPLICATE
        assert await load(store, one) == []

    async def test_each_append_of_a_batch_fails_alone(self, store: MailStore) -> None:
        """Outcomes in the order asked for, whatever the mailboxes."""
        boxes = [await make_mailbox(store) for _ in range(3)]
        absent = new_mailbox_id(NOW_MS)
        results = await store.append(
            [
                make_append(boxes[2], "a"),
                make_append(absent, "b"),
                make_append(boxes[0], "c", folder="Nowhere"),
                make_append(boxes[1], "d", quota_octets=99),
                make_append(boxes[0], "e", keywords=("no atom",)),
                make_append(boxes[0], "f"),
                make_append(boxes[2], "a"),
            ]
        )
        assert [result.outcome for result in results] == [
            AppendOutcome.STORED,
            AppendOutcome.NO_MAILBOX,
            AppendOutcome.NO_FOLDER,
            AppendOutcome.OVER_QUOTA,
            AppendOutcome.INVALID,
            AppendOutcome.STORED,
            AppendOutcome.DUPLICATE,
        ]
        assert await store.usage([*boxes, absent]) == {boxes[0]: 100, boxes[1]: 0, boxes[2]: 100}

    async def test_a_folder_is_found_by_use_id_or_name(self, store: MailStore) -> None:
        """Append.folder."""
        mailbox_id = await make_mailbox(store)
        junk = await folder_of(store, mailbox_id, "Spam")
        ways = (SpecialUse.JUNK, junk.folder_id, "Spam", "inbox", SpecialUse.INBOX)
        results = await store.append(
            [make_append(mailbox_id, f"k{number}", folder=way) for number, way in enumerate(ways)]
        )
        assert [result.folder_name for result in results] == ["Spam", "Spam", "Spam", "INBOX", "INBOX"]

    async def test_delivery_falls_back_to_inbox(self, store: MailStore) -> None:
        """fallback_to_inbox."""
        mailbox_id = await make_mailbox(store)
        await store.delete_folder(mailbox_id, (await folder_of(store, mailbox_id, "Spam")).folder_id)
        results = await store.append(
            [
                make_append(mailbox_id, "a", folder=SpecialUse.JUNK, fallback_to_inbox=True),
                make_append(mailbox_id, "b", folder="Gone", fallback_to_inbox=True),
                make_append(mailbox_id, "c", folder=FolderId(77), fallback_to_inbox=True),
                make_append(mailbox_id, "d", folder=SpecialUse.JUNK),
            ]
        )
        assert [result.folder_name for result in results] == ["INBOX", "INBOX", "INBOX", ""]
        assert results[3].outcome is AppendOutcome.NO_FOLDER

    async def test_the_quota_stops_an_append_unless_it_may_overdraw(self, store: MailStore) -> None:
        """Promise 3."""
        mailbox_id = await make_mailbox(store)
        outcomes = [
            result.outcome
            for result in await store.append(
                [
                    make_append(mailbox_id, "a", quota_octets=200),
                    make_append(mailbox_id, "b", quota_octets=200),
                    make_append(mailbox_id, "c", quota_octets=200),
                    make_append(mailbox_id, "d", quota_octets=200, may_overdraw=True),
                    make_append(mailbox_id, "e"),
                ]
            )
        ]
        assert outcomes == [
            AppendOutcome.STORED,
            AppendOutcome.STORED,
            AppendOutcome.OVER_QUOTA,
            AppendOutcome.STORED,
            AppendOutcome.STORED,
        ]
        assert await store.usage([mailbox_id]) == {mailbox_id: 400}
        await check_counters(store, mailbox_id)

    async def test_the_same_message_in_a_second_folder_is_one_message(self, store: MailStore) -> None:
        """Two keys, one email_id (fileinto :copy)."""
        mailbox_id = await make_mailbox(store)
        message = make_message()
        await store.append(
            [
                make_append(mailbox_id, "q/1", message),
                make_append(mailbox_id, "q/2", message, folder=SpecialUse.ARCHIVE),
            ]
        )
        await flag(store, mailbox_id, (1,), Flag.DELETED)
        await store.expunge(mailbox_id, INBOX, None)
        assert set(await store.fetch_messages(mailbox_id, [message.email_id])) == {message.email_id}
        await check_counters(store, mailbox_id)

    async def test_what_is_stored_is_what_is_read(self, store: MailStore) -> None:
        """Rows, messages and ENVELOPEs."""
        mailbox_id = await make_mailbox(store)
        messages = [make_message(octets=4_000_000_000, sent_day=None), make_message(sent_day=-10)]
        await store.append(
            [
                make_append(mailbox_id, "a", messages[0], flags=Flag.SEEN | Flag.DRAFT, keywords=("$b", "A", "a")),
                make_append(mailbox_id, "b", messages[1]),
            ]
        )
        rows = await load(store, mailbox_id)
        assert [(row.uid, row.flags, row.octets, row.sent_day, row.keywords) for row in rows] == [
            (1, Flag.SEEN | Flag.DRAFT, 4_000_000_000, None, ("$b", "A")),
            (2, 0, 100, -10, ()),
        ]
        assert {row.internal_date_ms for row in rows} == {NOW_MS - 5000}
        found = await store.fetch_messages(mailbox_id, [messages[0].email_id, new_email_id(NOW_MS)])
        stored = found.pop(messages[0].email_id)
        assert not found
        assert (stored.blob_id, stored.prefix, stored.octets) == (messages[0].blob_id, b"Received: here\r\n", 4 * 10**9)
        assert (stored.internal_date_ms, stored.structure) == (NOW_MS - 5000, b"\x01structure\x00")
        assert (stored.preview, str(stored.thread_id)) == ("Grüße", str(messages[0].email_id))
        wanted = [messages[1].email_id, new_email_id(NOW_MS), messages[0].email_id]
        assert await store.fetch_envelopes(mailbox_id, wanted) == [messages[1].envelope, b"", messages[0].envelope]

    async def test_another_mailbox_sees_nothing(self, store: MailStore) -> None:
        """Every key begins with the mailbox."""
        one, other = await make_mailbox(store), await make_mailbox(store)
        message = make_message()
        await store.append([make_append(one, "a", message)])
        assert await store.fetch_messages(other, [message.email_id]) == {}
        assert await store.fetch_envelopes(other, [message.email_id]) == [b""]
        assert await load(store, other) == []

    async def test_replies_join_the_thread(self, store: MailStore) -> None:
        """By message-id and references in any order of arrival, replies without references by subject."""
        mailbox_id = await make_mailbox(store)

        async def thread(key: str, **facts: object) -> ThreadId:
            message = make_message(**facts)
            await store.append([make_append(mailbox_id, key, message)])
            return (await store.fetch_messages(mailbox_id, [message.email_id]))[message.email_id].thread_id

        reply = await thread("1", message_id="b@x", references=("a@x",), thread_subject="Plan")
        assert await thread("2", message_id="a@x", thread_subject="Plan") == reply
        assert await thread("3", message_id="c@x", references=("zero@x", "b@x")) == reply
        assert await thread("4", message_id="d@x", thread_subject="PLAN", is_reply=True) == reply
        other = await thread("5", message_id="e@x", thread_subject="Plan")
        assert other != reply
        assert await thread("6", message_id="f@x", references=("unknown@x",), is_reply=True) not in {reply, other}


class FolderContract:
    """FolderCatalog."""

    async def test_creating_makes_the_parents(self, store: MailStore) -> None:
        """CREATE (RFC 9051 §6.3.4)."""
        mailbox_id = await make_mailbox(store)
        created = await store.create_folder(mailbox_id, "a/b/c")
        assert created.name == "a/b/c"
        names = [folder.name for folder in await store.list_folders(mailbox_id)]
        assert names == ["INBOX", "Archive", "Drafts", "Sent", "Spam", "Trash", "a", "a/b", "a/b/c"]
        assert created == await folder_of(store, mailbox_id, "a/b/c")

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("INBOX", ErrorKind.ALREADY_EXISTS),
            ("inbox", ErrorKind.ALREADY_EXISTS),
            ("Sent", ErrorKind.ALREADY_EXISTS),
            ("", ErrorKind.INVALID),
            ("a//b", ErrorKind.INVALID),
            ("a\nb", ErrorKind.INVALID),
            ("x" * 1001, ErrorKind.LIMIT),
            ("/".join("x" * 33), ErrorKind.LIMIT),
        ],
    )
    async def test_a_bad_or_taken_name_is_refused(self, store: MailStore, name: str, kind: ErrorKind) -> None:
        """CREATE's NO."""
        mailbox_id = await make_mailbox(store)
        with pytest.raises(MailError) as caught:
            await store.create_folder(mailbox_id, name)
        assert caught.value.kind is kind

    async def test_a_deleted_folder_takes_its_messages_and_never_returns_as_the_same(self, store: MailStore) -> None:
        """DELETE; neither folder_id nor uid_validity is used again."""
        mailbox_id = await make_mailbox(store)
        first = await store.create_folder(mailbox_id, "x")
        message = make_message()
        await store.append([make_append(mailbox_id, "a", message, folder="x")])
        await store.delete_folder(mailbox_id, first.folder_id)
        assert await store.usage([mailbox_id]) == {mailbox_id: 0}
        assert await store.fetch_messages(mailbox_id, [message.email_id]) == {}
        assert [row.message for row in await store.pending_of([mailbox_id], 10)] == [None]
        second = await store.create_folder(mailbox_id, "x")
        assert second.folder_id > first.folder_id
        assert second.uid_validity > first.uid_validity
        assert await store.heads([(mailbox_id, first.folder_id)]) == []

    async def test_inbox_and_parents_are_not_deleted(self, store: MailStore) -> None:
        """CONFLICT; an unknown one is NOT_FOUND."""
        mailbox_id = await make_mailbox(store)
        await store.create_folder(mailbox_id, "a/b")
        parent = await folder_of(store, mailbox_id, "a")
        for folder_id, kind in (
            (INBOX, ErrorKind.CONFLICT),
            (parent.folder_id, ErrorKind.CONFLICT),
            (FolderId(99), ErrorKind.NOT_FOUND),
        ):
            with pytest.raises(MailError) as caught:
                await store.delete_folder(mailbox_id, folder_id)
            assert caught.value.kind is kind

    async def test_renaming_takes_everything_below_along(self, store: MailStore) -> None:
        """RENAME (RFC 9051 §6.3.6)."""
        mailbox_id = await make_mailbox(store)
        below = await store.create_folder(mailbox_id, "a/b/c")
        await store.create_folder(mailbox_id, "ab")
        folder = await folder_of(store, mailbox_id, "a")
        await store.rename_folder(mailbox_id, folder.folder_id, "x/y")
        names = [folder.name for folder in await store.list_folders(mailbox_id)][6:]
        assert names == ["ab", "x", "x/y", "x/y/b", "x/y/b/c"]
        renamed = await folder_of(store, mailbox_id, "x/y/b/c")
        assert (renamed.folder_id, renamed.uid_validity) == (below.folder_id, below.uid_validity)

    async def test_renaming_refuses_taken_names_and_its_own_inside(self, store: MailStore) -> None:
        """Nothing changes then."""
        mailbox_id = await make_mailbox(store)
        await store.create_folder(mailbox_id, "a/b")
        folder = await folder_of(store, mailbox_id, "a")
        before = await store.list_folders(mailbox_id)
        for name, kind in (
            ("Sent", ErrorKind.ALREADY_EXISTS),
            ("a/b/c", ErrorKind.INVALID),
            ("/".join("x" * 32), ErrorKind.LIMIT),
        ):
            with pytest.raises(MailError) as caught:
                await store.rename_folder(mailbox_id, folder.folder_id, name)
            assert caught.value.kind is kind
        assert await store.list_folders(mailbox_id) == before

    async def test_renaming_inbox_moves_its_messages(self, store: MailStore) -> None:
        """INBOX stays, empty, and what is below it."""
        mailbox_id = await make_mailbox(store)
        await store.create_folder(mailbox_id, "INBOX/below")
        await fill(store, mailbox_id, 3)
        before = await load(store, mailbox_id)
        await store.rename_folder(mailbox_id, INBOX, "old/mail")
        target = await folder_of(store, mailbox_id, "old/mail")
        moved = await load(store, mailbox_id, target.folder_id)
        assert [row.email_id for row in moved] == [row.email_id for row in before]
        assert await load(store, mailbox_id) == []
        assert (await folder_of(store, mailbox_id)).uid_next == 4
        assert (await folder_of(store, mailbox_id, "INBOX/below")).messages == 0
        await check_counters(store, mailbox_id)

    async def test_subscriptions_are_kept(self, store: MailStore) -> None:
        """SUBSCRIBE, UNSUBSCRIBE."""
        mailbox_id = await make_mailbox(store)
        await store.set_subscribed(mailbox_id, INBOX, False)
        assert not (await folder_of(store, mailbox_id)).subscribed
        await store.set_subscribed(mailbox_id, INBOX, True)
        assert (await folder_of(store, mailbox_id)).subscribed
        with pytest.raises(MailError) as caught:
            await store.set_subscribed(mailbox_id, FolderId(99), True)
        assert caught.value.kind is ErrorKind.NOT_FOUND

    async def test_an_absent_mailbox_is_not_found(self, store: MailStore) -> None:
        """NOT_FOUND."""
        absent = new_mailbox_id(NOW_MS)
        for attempt in (
            store.list_folders(absent),
            store.create_folder(absent, "x"),
            store.load_entries(absent, INBOX),
        ):
            with pytest.raises(MailError) as caught:
                await attempt
            assert caught.value.kind is ErrorKind.NOT_FOUND


class MailStoreContract(AppendContract, FolderContract, ViewContract, QueueContract, EpochContract, DropLockContract):
    """All of it."""
