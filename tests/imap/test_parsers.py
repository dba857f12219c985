"""Parsers and formatters of the commands' parts: parse∘format = id, and what is refused."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbus.core.errors import RemoteProtocolError
from postbus.imap.command import Command
from postbus.imap.commands.fetch import BodyItem, Fetch, FetchItem, Item, format_item, parse_item
from postbus.imap.commands.folders import Status, StatusItem
from postbus.imap.commands.listing import List, ListReturn, ListSelection
from postbus.imap.commands.search import Search, SearchResult, UnknownCharsetError
from postbus.imap.commands.select import Examine, Select
from postbus.imap.commands.store import Expunge, Store, StoreAction
from postbus.imap.cursor import Cursor
from postbus.imap.dates import format_date, format_date_time, parse_date, parse_date_time
from postbus.imap.engine import parse_command
from postbus.imap.limits import MAX_SEARCH_DEPTH, MAX_SET_RANGES
from postbus.imap.patterns import FolderPattern
from postbus.imap.responses import format_esearch_response
from postbus.imap.sasl import parse_plain
from postbus.imap.search_keys import (
    AgeKey,
    AllKey,
    AndKey,
    DateField,
    DateKey,
    DateTest,
    FlagKey,
    ModSeqKey,
    NotKey,
    NumbersKey,
    OrKey,
    SearchKey,
    SizeKey,
    TextKey,
    TextKind,
    format_key,
    walk_keys,
)
from postbus.imap.sections import Section, SectionText
from postbus.imap.sets import SequenceSet, format_sequence_set, parse_sequence_set
from postbus.imap.utf7 import decode_folder_name, decode_utf7, encode_utf7
from postbus.imap.wire import format_astring, format_set, format_string

FAST = settings(max_examples=80, deadline=None, derandomize=True)

bounds = st.integers(0, 0xFFFFFFFF)
sets = st.lists(st.tuples(bounds, bounds), min_size=1, max_size=6).map(lambda pairs: SequenceSet(ranges=tuple(pairs)))


def parse(line: bytes) -> Command:
    return parse_command(b"a", Cursor(line, 1))


@FAST
@given(sets)
def test_sequence_sets_round_trip(value: SequenceSet) -> None:
    cursor = Cursor(format_sequence_set(value) + b" rest")
    assert parse_sequence_set(cursor) == value
    assert cursor.rest == b" rest"


@FAST
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=5), st.integers(1, 50))
def test_a_resolved_set_names_the_same_numbers(pairs: list[tuple[int, int]], largest: int) -> None:
    resolved = SequenceSet(ranges=tuple(pairs)).resolve(largest)
    ends = [sorted((first or largest, last or largest)) for first, last in pairs]
    wanted = sorted({number for first, last in ends for number in range(first, last + 1)})
    assert [number for first, last in resolved for number in range(first, last + 1)] == wanted


@FAST
@given(st.sets(st.integers(1, 60)))
def test_formatted_sets_name_the_same_numbers(numbers: set[int]) -> None:
    if numbers:
        parsed = parse_sequence_set(Cursor(format_set(sorted(numbers))))
        assert [n for first, last in parsed.resolve(1) for n in range(first, last + 1)] == sorted(numbers)


@pytest.mark.parametrize("text", [b"", b"0", b"1:", b",1", b"1,,2", b"4294967296", b"a", b"1,"])
def test_bad_sequence_sets_are_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(b"a FETCH " + text + b" FLAGS")


def test_a_set_has_a_bound() -> None:
    with pytest.raises(RemoteProtocolError):
        parse(b"a FETCH " + b",".join([b"1"] * (MAX_SET_RANGES + 1)) + b" FLAGS")


field_names = st.from_regex(rb"[A-Za-z-]{1,9}", fullmatch=True)
numbers = st.lists(st.integers(1, 99), max_size=3).map(tuple)
sections = st.builds(
    Section, part=numbers, text=st.sampled_from([SectionText.ALL, SectionText.HEADER, SectionText.TEXT])
)
field_sections = st.builds(
    Section,
    part=numbers,
    text=st.sampled_from([SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT]),
    names=st.lists(field_names, min_size=1, max_size=3).map(tuple),
)
body_items = st.builds(
    BodyItem,
    section=sections | field_sections,
    peek=st.booleans(),
    partial=st.none() | st.tuples(st.integers(0, 999), st.integers(1, 999)),
)
items = st.sampled_from(list(FetchItem)) | body_items


@FAST
@given(items)
def test_fetch_items_round_trip(item: Item) -> None:
    assert parse_item(Cursor(format_item(item))) == item


def test_fetch_macros_and_old_items() -> None:
    fetch = parse(b"a FETCH 1:* FULL")
    assert isinstance(fetch, Fetch)
    assert [item.value for item in fetch.items if isinstance(item, FetchItem)] == [
        b"FLAGS",
        b"INTERNALDATE",
        b"RFC822.SIZE",
        b"ENVELOPE",
        b"BODY",
    ]
    old = parse(b"a UID FETCH 5 (RFC822.HEADER RFC822.TEXT RFC822 RFC822.SIZE)")
    assert isinstance(old, Fetch)
    assert [format_item(item) for item in old.items] == [
        b"UID",
        b"RFC822.HEADER",
        b"RFC822.TEXT",
        b"RFC822",
        b"RFC822.SIZE",
    ]
    assert [item.peek for item in old.items if isinstance(item, BodyItem)] == [True, False, False]


@pytest.mark.parametrize(
    "line",
    [
        b"BODY[MIME]",
        b"BODY[0]",
        b"BODY[1.]",
        b"BODY[.HEADER]",
        b"BODY[HEADER.FIELDS]",
        b"BODY[]<0.0>",
        b"BODY[]<1>",
        b"X",
        b"(FLAGS",
        b"()",
        b"FLAGS UID",
        b"BODY[HEADER.FIELDS ()]",
        b"BODY[1 HEADER]",
        b"BODY[1.2.HEADER",
        b"BODY.PEEK",
    ],
)
def test_bad_fetch_items_are_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(b"a FETCH 1 " + line)


days = st.integers(-10_000, 40_000)
words = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF, exclude_characters="\0"), max_size=8)
leaf_keys = (
    st.just(AllKey())
    | st.builds(FlagKey, flag=st.sampled_from(["\\Seen", "\\Draft", "$Junk", "work"]), present=st.booleans())
    | st.builds(NumbersKey, numbers=sets, uid=st.booleans())
    | st.builds(SizeKey, larger=st.booleans(), octets=st.integers(0, 1 << 60))
    | st.builds(AgeKey, older=st.booleans(), seconds=st.integers(1, (1 << 32) - 1))
    | st.builds(ModSeqKey, mod_seq=st.integers(0, (1 << 63) - 1))
    | st.builds(DateKey, field=st.sampled_from(DateField), test=st.sampled_from(DateTest), day=days)
    | st.builds(TextKey, kind=st.sampled_from([kind for kind in TextKind if kind is not TextKind.HEADER]), value=words)
    | st.builds(TextKey, kind=st.just(TextKind.HEADER), value=words, header_name=st.sampled_from(["List-Id", "X"]))
)
search_keys = st.recursive(
    leaf_keys,
    lambda keys: (
        st.builds(NotKey, key=keys)
        | st.builds(OrKey, first=keys, second=keys)
        | st.builds(AndKey, keys=st.lists(keys, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


@FAST
@given(search_keys)
def test_search_keys_round_trip(key: SearchKey) -> None:
    search = parse(b"a SEARCH " + format_key(key))
    assert isinstance(search, Search)
    assert search.key == key


@FAST
@given(search_keys)
def test_walking_finds_every_key(key: SearchKey) -> None:
    kinds = ("NotKey", "OrKey", "AndKey")
    leaves = sum(1 for each in walk_keys(key) if type(each).__name__ not in kinds)
    assert leaves == len(re.findall(r"(?:All|Flag|Numbers|Size|Date|Age|Text|ModSeq)Key\(", repr(key)))


def test_a_search_has_options_and_a_charset() -> None:
    search = parse(
        b"a UID SEARCH RETURN (MIN COUNT) CHARSET utf-8 UNSEEN SUBJECT " + "grün".encode().join([b'"', b'"'])
    )
    assert isinstance(search, Search)
    assert search.uid
    assert search.results == (SearchResult.MIN, SearchResult.COUNT)
    assert search.key == AndKey(
        keys=(FlagKey(flag="\\Seen", present=False), TextKey(kind=TextKind.SUBJECT, value="grün"))
    )
    with pytest.raises(UnknownCharsetError):
        parse(b"a SEARCH CHARSET KOI8-R ALL")
    with pytest.raises(RemoteProtocolError):
        parse(b"a SEARCH " + b"(" * (MAX_SEARCH_DEPTH + 2) + b"ALL" + b")" * (MAX_SEARCH_DEPTH + 2))


def test_esearch_leaves_out_what_is_not_there() -> None:
    every = list(SearchResult)
    assert format_esearch_response(b"a", False, [], every) == b'* ESEARCH (TAG "a") COUNT 0\r\n'
    assert (
        format_esearch_response(b"a", True, [2, 3, 9], every)
        == b'* ESEARCH (TAG "a") UID MIN 2 MAX 9 COUNT 3 ALL 2:3,9\r\n'
    )


@FAST
@given(days)
def test_dates_round_trip(day: int) -> None:
    assert parse_date(Cursor(format_date(day))) == day
    assert parse_date_time(Cursor(format_date_time(day * 86_400_000 + 3_723_000))) == day * 86_400_000 + 3_723_000


def test_a_zone_is_taken_off() -> None:
    assert parse_date_time(Cursor(b'" 1-Jan-1970 02:00:00 +0130"')) == 1_800_000
    with pytest.raises(RemoteProtocolError):
        parse_date(Cursor(b"31-Feb-2026"))


@FAST
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_folder_names_round_trip_in_modified_utf7(name: str) -> None:
    assert encode_utf7(name).isascii()
    assert decode_utf7(encode_utf7(name)) == name


def test_folder_names_of_the_rfc() -> None:
    assert encode_utf7("~peter/mail/台北/日本語") == b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"
    assert decode_folder_name(b"inbox/Caf&AOk-") == "INBOX/Café"
    assert decode_folder_name("Grün".encode()) == "Grün"
    for bad in (b"&", b"&abc", b"&!-", b"\xff"):
        with pytest.raises(RemoteProtocolError):
            decode_folder_name(bad)


@FAST
@given(st.binary(max_size=30).map(lambda octets: octets.replace(b"\0", b"")))
def test_strings_round_trip(value: bytes) -> None:
    assert Cursor(format_string(value)).parse_string() == value
    assert Cursor(format_astring(value)).parse_astring() == value


def test_store_and_expunge() -> None:
    assert parse(b"a UID STORE 1,3 -FLAGS.SILENT (\\seen $Junk \\SEEN)") == Store(
        tag=b"a",
        uid=True,
        numbers=SequenceSet(ranges=((1, 1), (3, 3))),
        action=StoreAction.REMOVE,
        silent=True,
        flags=("\\Seen", "$Junk"),
    )
    assert parse(b"a UID EXPUNGE 4:*") == Expunge(tag=b"a", numbers=SequenceSet(ranges=((4, 0),)))
    with pytest.raises(RemoteProtocolError):
        parse(b"a STORE 1 FLAGS (\\Recent)")


def test_modifiers_of_condstore() -> None:
    """RFC 7162 §3.1."""
    store = parse(b"a STORE 1 (unchangedsince 0) FLAGS.SILENT ()")
    assert isinstance(store, Store)
    assert (store.unchanged_since, store.silent, store.flags) == (0, True, ())
    fetch = parse(b"a UID FETCH 1:* (FLAGS)  (CHANGEDSINCE 9223372036854775807) ")
    assert isinstance(fetch, Fetch)
    assert fetch.changed_since == (1 << 63) - 1
    assert fetch.items == (FetchItem.UID, FetchItem.FLAGS, FetchItem.MODSEQ)
    once = parse(b"a FETCH 1 (MODSEQ FLAGS) (CHANGEDSINCE 1)")
    assert isinstance(once, Fetch)
    assert once.items == (FetchItem.MODSEQ, FetchItem.FLAGS)
    fast = parse(b"a FETCH 1 FAST (CHANGEDSINCE 1)")
    assert isinstance(fast, Fetch)
    assert fast.items[-1] is FetchItem.MODSEQ
    assert parse(b'a SELECT "a b" (condstore) ') == Select(tag=b"a", folder="a b", condstore=True)
    assert parse(b"a EXAMINE INBOX ") == Examine(tag=b"a", folder="INBOX")
    for bad in (
        b"SELECT INBOX ()",
        b"SELECT INBOX (QRESYNC (1 2))",
        b"SELECT INBOX (CONDSTORE) x",
        b"SELECT INBOX (CONDSTORE",
        b"FETCH 1 FLAGS (CHANGEDSINCE)",
        b"FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)",
        b"FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        b"STORE 1 (UNCHANGEDSINCE -1) FLAGS ()",
        b"STORE 1 (UNCHANGEDSINCE 1)FLAGS ()",
        b"STORE 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 2) FLAGS ()",
    ):
        with pytest.raises(RemoteProtocolError):
            parse(b"a " + bad)


def test_list_and_status() -> None:
    assert parse(b'a LIST "" *') == List(tag=b"a", reference="", patterns=("*",))
    assert parse(b'a LIST "" "Caf&AOk-/%"') == List(tag=b"a", reference="", patterns=("Café/%",))
    assert parse(b'a LIST (SUBSCRIBED RECURSIVEMATCH) "" (% "a b") RETURN (CHILDREN STATUS (UNSEEN))') == List(
        tag=b"a",
        reference="",
        patterns=("%", "a b"),
        selection=frozenset({ListSelection.SUBSCRIBED, ListSelection.RECURSIVEMATCH}),
        returns=frozenset({ListReturn.CHILDREN, ListReturn.STATUS}),
        status=(StatusItem.UNSEEN,),
    )
    for bad in (b'(RECURSIVEMATCH) "" *', b'"" * RETURN', b'"" * RETURN (X)', b'"" ()', b'"" * (CHILDREN)'):
        with pytest.raises(RemoteProtocolError):
            parse(b"a LIST " + bad)
    assert parse(b"a STATUS inbox (messages UIDNEXT)") == Status(
        tag=b"a", folder="INBOX", items=(StatusItem.MESSAGES, StatusItem.UIDNEXT)
    )


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "a/b", True),
        ("%", "a/b", False),
        ("%/%", "a/b", True),
        ("inbox", "INBOX", True),
        ("inb%", "INBOX", True),
        ("Sent", "sent", False),
        ("a*c", "a/b/c", True),
        ("a%c", "a/b/c", False),
        ("", "a", False),
        ("*%*a", "xxa", True),
        ("a%", "a", True),
    ],
)
def test_folder_patterns(pattern: str, name: str, matches: bool) -> None:
    assert FolderPattern(pattern).matches(name) is matches


def test_a_hostile_pattern_takes_linear_time() -> None:
    assert not FolderPattern("*a" * 500 + "b").matches("a" * 1000)


def test_plain_credentials() -> None:
    credentials = parse_plain(b"\0ann\0p\xc3\xa9")
    assert (credentials.username, credentials.password) == ("ann", "pé")
    for bad in (b"ann\0x", b"\0\0x", b"\0a\0b\0c", b"\0\xff\0x"):
        with pytest.raises(RemoteProtocolError):
            parse_plain(bad)
