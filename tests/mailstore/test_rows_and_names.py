import itertools
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.core.errors import ErrorKind, MailError
from postbus.core.ids import FolderId, MailboxId, ModSeq, Uid
from postbus.mailstore.backoff import LAST_RETRY_MS, retry_delay_ms
from postbus.mailstore.keywords import check_keywords, merge_keywords
from postbus.mailstore.names import folder_order, normalize_folder_name, parent_names
from postbus.mailstore.packed import expand_ranges, pack_rows, to_ranges, unpack_rows
from postbus.mailstore.values import FolderHead, StoreMode, ViewRow

HEAD = FolderHead(
    mailbox_id=MailboxId("m"), folder_id=FolderId(1), uid_validity=1, uid_next=Uid(1), highest_mod_seq=ModSeq(1)
)

rows = st.builds(
    ViewRow,
    uid=st.integers(1, 2**32 - 1),
    flags=st.integers(0, 31),
    mod_seq=st.integers(1, 2**63 - 1),
    octets=st.integers(0, 2**32 - 1),
    internal_date_ms=st.integers(-(2**63), 2**63 - 1),
    sent_day=st.none() | st.integers(-(2**31) + 1, 2**31 - 1),
    email_id=st.binary(min_size=16, max_size=16),
    keywords=st.lists(st.sampled_from(["a", "b", "$c"]), unique=True).map(tuple),
    save_date_ms=st.integers(-(2**63), 2**63 - 1),
)


@given(st.lists(rows, unique_by=lambda row: row.uid, max_size=20))
@settings(max_examples=25, deadline=None)
def test_unpacking_gives_what_was_packed(given_rows: list[ViewRow]) -> None:
    ordered = sorted(given_rows, key=lambda row: row.uid)
    assert unpack_rows(pack_rows(HEAD, ordered)) == ordered


@given(st.sets(st.integers(1, 60)))
@settings(max_examples=25, deadline=None)
def test_ranges_are_the_uids(uids: set[int]) -> None:
    ranges = to_ranges(uids)
    assert set(expand_ranges(ranges)) == uids
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(ranges))


@given(st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_normal_name_stays_itself(name: str) -> None:
    try:
        stored = normalize_folder_name(name)
    except MailError:
        return
    assert normalize_folder_name(stored) == stored == unicodedata.normalize("NFC", stored)


def test_inbox_is_spelled_so() -> None:
    assert normalize_folder_name("iNbOx/Sub") == "INBOX/Sub"
    assert normalize_folder_name("inboxes") == "inboxes"
    assert parent_names("a/b/c") == ["a", "a/b"]
    assert sorted(["b", "INBOX", "A"], key=folder_order) == ["INBOX", "A", "b"]


def test_keywords_keep_their_first_spelling() -> None:
    assert check_keywords(["B", "a", "b"]) == ("B", "a")
    assert merge_keywords(["Work"], ["WORK", "x"], StoreMode.ADD) == ("Work", "x")
    assert merge_keywords(["Work", "x"], ["WORK"], StoreMode.REMOVE) == ("x",)
    assert merge_keywords(["Work"], ["WORK", "y", "Y"], StoreMode.REPLACE) == ("Work", "y")


@pytest.mark.parametrize("keywords", [[""], ["a b"], ["ü"], ["a\t"], ["a(b"], ["a]"], ["a\\b"]])
def test_what_is_no_atom_is_no_keyword(keywords: list[str]) -> None:
    with pytest.raises(MailError) as caught:
        check_keywords(keywords)
    assert caught.value.kind is ErrorKind.INVALID


def test_retries_double_up_to_an_hour() -> None:
    delays = [retry_delay_ms(attempt) for attempt in range(1, 100)]
    assert delays[:3] == [2000, 4000, 8000]
    assert delays == sorted(delays)
    assert delays[-1] == LAST_RETRY_MS
