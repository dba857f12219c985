"""Tables of mailboxes: CSV and JSON, in whatever pieces they come."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.contracts.bulk import MAX_ROWS, MailboxRow
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import refused
from postbusd.admin_api.mailbox_tables import (
    MAX_RECORD_CHARACTERS,
    TableForm,
    TableRow,
    TableWriter,
    open_table,
)

KIM = MailboxRow(
    address="kim@a.example",
    owner=Owner(kind=OwnerKind.USER, name="kim"),
    aliases=("info@a.example", "sales@b.example"),
    active=False,
)
TEAM = MailboxRow(address="team@a.example", owner=Owner(kind=OwnerKind.GROUP, name="staff"))


def read(form: TableForm, *pieces: bytes) -> list[TableRow]:
    reader = open_table(form)
    return [row for piece in pieces for row in reader.feed(piece)] + list(reader.close())


def told(rows: Sequence[TableRow]) -> list[object]:
    return [row.row or f"{row.number} {row.address} {row.problem}" for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        "name,domain,owner,owner type,aliases,active\r\nkim,a.example,kim,user,info sales@b.example,false\r\n",
        "kim,a.example,kim,user,info@a.example sales@b.example,FALSE",
        "\ufeffName,Domain,Owner,Owner Type,Aliases,Active\n\n kim , a.example,kim,User,info sales@b.example,0\n\n",
        '"kim","a.example","kim","user","info\nsales@b.example","no"\n',
    ],
)
def test_csv_with_and_without_header_quotes_and_line_ends(text: str) -> None:
    (row,) = read(TableForm.CSV, text.encode())
    assert (row.number, row.row) == (1, KIM)


def test_four_columns_are_enough() -> None:
    assert told(read(TableForm.CSV, b"team,a.example,staff,group\n")) == [TEAM]
    assert told(
        read(TableForm.JSON, b'[{"name":"team","domain":"a.example","owner":"staff","ownerType":"group"}]')
    ) == [TEAM]


def test_a_row_that_cant_be_read_is_told_and_the_others_are_read() -> None:
    text = b"a,b\nteam,a.example,staff,group\nx,a.example,kim,person\nx,a.example,kim,user,,perhaps\nx,a,b,user,c\n"
    assert told(read(TableForm.CSV, text)) == [
        "1 a@b row: 4 or 6 columns, not 2",
        TEAM,
        "3 x@a.example owner: its type is one of user, group, app",
        "4 x@a.example active: true or false",
        "5 x@a row: 4 or 6 columns, not 5",
    ]
    objects = b'[{"name":"x","domain":"a.example","owner":"kim","ownerType":"user","alias":[]}, 7, {"name":"x"}]'
    assert told(read(TableForm.JSON, objects)) == [
        "1 x@a.example row: Object contains unknown field `alias`",
        "2  row: Expected `object`, got `int`",
        "3  row: Object missing required field `domain`",
    ]


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        (TableForm.CSV, b'a,b,c,user\n"a,b', "row: 2 can't be read, nor what follows: a quote is not closed"),
        (TableForm.CSV, b"a,\xff", "row: 1 can't be read, nor what follows: not UTF-8"),
        (TableForm.CSV, b"a,b,\xc3", "row: 1 can't be read, nor what follows: not UTF-8"),
        (TableForm.CSV, b"a" * (MAX_RECORD_CHARACTERS + 1), "row: 1 can't be read, nor what follows: it is too long"),
        (TableForm.JSON, b"", "row: 1 can't be read, nor what follows: not a JSON array"),
        (TableForm.JSON, b"{}", "row: 1 can't be read, nor what follows: not a JSON array"),
        (TableForm.JSON, b"[]]", "row: 1 can't be read, nor what follows: not a JSON array"),
        (TableForm.JSON, b"[7", "row: 2 can't be read, nor what follows: the JSON array has no end"),
        (TableForm.JSON, b"[7 7]", "row: 2 can't be read, nor what follows: no comma between two rows"),
        (TableForm.JSON, b"[7,]", "row: 2 can't be read, nor what follows: the JSON array has no end"),
        (TableForm.JSON, b"[" * 100_000, "row: 1 can't be read, nor what follows: it is too long, or no JSON"),
        (TableForm.JSON, b'["' + b"a" * (MAX_RECORD_CHARACTERS + 1), "row: 1 can't be read, nor what follows"),
    ],
)
def test_what_is_no_table_is_refused(form: TableForm, text: bytes, reason: str) -> None:
    with refused(ErrorKind.INVALID, reason):
        read(form, text)


@pytest.mark.parametrize(("form", "text"), [(TableForm.CSV, b"a,b,c,user\n"), (TableForm.JSON, b"7,")])
def test_a_table_has_so_many_rows(form: TableForm, text: bytes) -> None:
    reader = open_table(form)
    list(reader.feed(b"[" if form is TableForm.JSON else b""))
    with refused(ErrorKind.LIMIT, f"row: at most {MAX_ROWS}"):
        list(reader.feed(text * (MAX_ROWS + 1)))


LABELS = st.text("abc-.*_é,\" '", min_size=1, max_size=8).filter(lambda text: text == text.strip() and " " not in text)
ADDRESSES = st.builds(lambda name: f"{name}@a.example", LABELS)
ROWS = st.lists(
    st.builds(
        MailboxRow,
        address=ADDRESSES,
        owner=st.builds(Owner, kind=st.sampled_from(OwnerKind), name=LABELS),
        aliases=st.lists(ADDRESSES, max_size=3).map(tuple),
        active=st.booleans(),
    ),
    max_size=6,
)


@given(
    form=st.sampled_from(TableForm), rows=ROWS, cuts=st.lists(st.integers(0, 600), max_size=4), page=st.integers(1, 6)
)
def test_what_is_written_is_read_in_any_pieces(
    form: TableForm, rows: list[MailboxRow], cuts: list[int], page: int
) -> None:
    writer = TableWriter(form)
    pages = [rows[start : start + page] for start in range(0, len(rows), page)] or [[]]
    text = b"".join(writer.write(each, last=number == len(pages)) for number, each in enumerate(pages, 1))
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    assert [row.row for row in read(form, *pieces)] == rows
