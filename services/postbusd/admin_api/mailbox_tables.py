"""Mailboxes as CSV or JSON, as Cloudron's manual describes them: read piece by piece, written piece by piece.

CSV (RFC 4180): name, domain, owner, owner type and perhaps aliases (separated by spaces, one without @ is of the
mailbox's own domain) and active; with or without a header. JSON: an array of objects with name, domain, owner,
ownerType and perhaps aliases [{name, domain}] and active. A row that can't be read is told with its number and keeps
no other out; a text that is no table at all is refused as a whole.
"""

import codecs
import csv
import enum
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from postbus.contracts.bulk import MAX_ROWS, MailboxRow
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.errors import ErrorKind, MailError

MAX_RECORD_CHARACTERS = 256 * 1024
"""Of one row: a thousand aliases, each as long as one may be."""
HEADER = ("name", "domain", "owner", "owner type", "aliases", "active")
_SHORT = 4  # columns
_WORDS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "": True}
_STOP = re.compile('[\n"]')
_SPACE = " \t\r\n"


class TableForm(enum.StrEnum):
    """How a table is written."""

    CSV = "csv"
    JSON = "json"


MEDIA_TYPES = {TableForm.CSV: "text/csv; charset=utf-8", TableForm.JSON: "application/json"}


class TableRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a table, from 1 without the header."""

    number: int
    address: str
    """As it was given; empty: it can't be read."""
    row: MailboxRow | None = None
    problem: str = ""
    """Why it can't be read."""


class TableReader(Protocol):
    """Reads one table."""

    def feed(self, octets: bytes) -> Iterator[TableRow]:
        """The rows that these octets end. Raises MailError: INVALID, LIMIT (more than MAX_ROWS)."""
        ...

    def close(self) -> Iterator[TableRow]:
        """The last one. Raises MailError: INVALID."""
        ...


def open_table(form: TableForm) -> TableReader:
    """A reader."""
    return CsvReader() if form is TableForm.CSV else JsonReader()


class _Reader:
    """What both share: the text so far, the rows counted."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._rows = 0

    def _take(self, octets: bytes, *, final: bool = False) -> None:
        try:
            self._text += self._decoder.decode(octets, final)
        except UnicodeDecodeError as error:
            raise self._broken("not UTF-8") from error

    def _number(self) -> int:
        """Of the next row."""
        if self._rows >= MAX_ROWS:
            raise MailError(ErrorKind.LIMIT, f"row: at most {MAX_ROWS} in one import")
        self._rows += 1
        return self._rows

    def _broken(self, reason: str) -> MailError:
        return MailError(ErrorKind.INVALID, f"row: {self._rows + 1} can't be read, nor what follows: {reason}")


class CsvReader(_Reader):
    """A TableReader of CSV."""

    def __init__(self) -> None:
        super().__init__()
        self._scanned = 0
        self._quoted = False
        self._first = True

    def feed(self, octets: bytes) -> Iterator[TableRow]:
        """The rows that these octets end."""
        self._take(octets)
        yield from self._records()

    def close(self) -> Iterator[TableRow]:
        """The last row needs no line end."""
        self._take(b"", final=True)
        if self._text.strip():
            self._text += "\n"
        yield from self._records()
        if self._quoted:
            raise self._broken("a quote is not closed")

    def _records(self) -> Iterator[TableRow]:
        """Line ends within quotes end no record."""
        begin = 0
        for stop in _STOP.finditer(self._text, self._scanned):
            if stop[0] == '"':
                self._quoted = not self._quoted
            elif not self._quoted:
                yield from self._record(self._text[begin : stop.start()].removesuffix("\r"))
                begin = stop.end()
        self._text = self._text[begin:]
        self._scanned = len(self._text)
        if self._scanned > MAX_RECORD_CHARACTERS:
            raise self._broken("it is too long, or a quote is not closed")

    def _record(self, text: str) -> Iterator[TableRow]:
        first, self._first = self._first, False
        if not text.strip():
            return
        try:
            cells = [cell.strip() for cell in next(csv.reader([text], strict=True))]
        except csv.Error as error:
            yield TableRow(number=self._number(), address="", problem=f"row: {error}")
            return
        if first and tuple(cell.lower() for cell in cells[:3]) == HEADER[:3]:
            return
        yield _read_cells(self._number(), cells)


class JsonReader(_Reader):
    """A TableReader of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._json = json.JSONDecoder()
        self._begun = False
        self._after_row = False
        self._ended = False

    def feed(self, octets: bytes) -> Iterator[TableRow]:
        """The rows that these octets end."""
        self._take(octets)
        yield from self._rows_so_far()

    def close(self) -> Iterator[TableRow]:
        """There is nothing more to read, or something is missing."""
        self._take(b"", final=True)
        yield from self._rows_so_far()
        if not self._ended:
            raise self._broken("the JSON array has no end" if self._begun else "not a JSON array")

    def _rows_so_far(self) -> Iterator[TableRow]:
        text, place = self._text, 0
        while True:
            place = _skip(text, place)
            if place == len(text):
                break
            sign = text[place]
            if self._ended or (not self._begun and sign != "["):
                raise self._broken("not a JSON array")
            if not self._begun:
                self._begun, place = True, place + 1
            elif sign == "]" and (self._after_row or not self._rows):
                self._ended, place = True, place + 1
            elif self._after_row:
                if sign != ",":
                    raise self._broken("no comma between two rows")
                self._after_row, place = False, place + 1
            else:
                try:
                    value, place = self._json.raw_decode(text, place)
                except (json.JSONDecodeError, RecursionError) as error:
                    if len(text) - place > MAX_RECORD_CHARACTERS or isinstance(error, RecursionError):
                        raise self._broken("it is too long, or no JSON") from error
                    break
                self._after_row = True
                yield _read_object(self._number(), value)
        self._text = text[place:]


class _AliasObject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    domain: str


class _RowObject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    domain: str
    owner: str
    ownerType: str  # noqa: N815  the format's name
    aliases: list[_AliasObject] = []
    active: bool = True


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _read_cells(number: int, cells: Sequence[str]) -> TableRow:
    if len(cells) not in (_SHORT, len(HEADER)):
        problem = f"row: {_SHORT} or {len(HEADER)} columns, not {len(cells)}"
        return TableRow(number=number, address=_join(*cells[:2]) if len(cells) > 1 else "", problem=problem)
    name, domain, owner, kind, aliases, active = (*cells, "", "")[: len(HEADER)]
    names = [alias if "@" in alias else _join(alias, domain) for alias in aliases.split()]
    if active.lower() not in _WORDS:
        return TableRow(number=number, address=_join(name, domain), problem="active: true or false")
    return _make_row(number, _join(name, domain), owner, kind, names, _WORDS[active.lower()])


def _read_object(number: int, value: Any) -> TableRow:  # Any: decoded JSON
    try:
        found = msgspec.convert(value, _RowObject)
    except msgspec.ValidationError as error:
        named = isinstance(value, dict) and all(isinstance(value.get(key), str) for key in HEADER[:2])
        return TableRow(
            number=number, address=_join(value["name"], value["domain"]) if named else "", problem=f"row: {error}"
        )
    names = [_join(alias.name, alias.domain) for alias in found.aliases]
    return _make_row(number, _join(found.name, found.domain), found.owner, found.ownerType, names, found.active)


def _make_row(number: int, address: str, owner: str, kind: str, aliases: Sequence[str], active: bool) -> TableRow:
    if "\0" in f"{address}{owner}{''.join(aliases)}":
        return TableRow(number=number, address="", problem="row: a NUL character")
    if kind.lower() not in set(OwnerKind):
        return TableRow(number=number, address=address, problem=f"owner: its type is one of {', '.join(OwnerKind)}")
    return TableRow(
        number=number,
        address=address,
        row=MailboxRow(
            address=address,
            owner=Owner(kind=OwnerKind(kind.lower()), name=owner),
            aliases=tuple(aliases),
            active=active,
        ),
    )


def _join(name: str, domain: str) -> str:
    return f"{name}@{domain}"


class TableWriter:
    """Writes one table, page by page."""

    def __init__(self, form: TableForm) -> None:
        self._form = form
        self._begun = False

    def write(self, rows: Sequence[MailboxRow], *, last: bool) -> bytes:
        """The octets of these rows; of the last page the end too."""
        begun, self._begun = self._begun, True
        if self._form is TableForm.CSV:
            text = io.StringIO()
            writer = csv.writer(text)  # CRLF, as RFC 4180 has it
            if not begun:
                writer.writerow(HEADER)
            writer.writerows(_cells(row) for row in rows)
            return text.getvalue().encode()
        parts = [msgspec.json.encode(_object(row)) for row in rows]
        start = b"[\n" if not begun else b",\n" if parts else b""
        return start + b",\n".join(parts) + (b"\n]\n" if last else b"")


def _cells(row: MailboxRow) -> tuple[str, ...]:
    name, _, domain = row.address.rpartition("@")
    active = "true" if row.active else "false"
    return name, domain, row.owner.name, row.owner.kind.value, " ".join(row.aliases), active


def _object(row: MailboxRow) -> dict[str, object]:
    name, _, domain = row.address.rpartition("@")
    aliases = [dict(zip(("name", "domain"), alias.rsplit("@", 1), strict=True)) for alias in row.aliases]
    return {
        "name": name,
        "domain": domain,
        "owner": row.owner.name,
        "ownerType": row.owner.kind.value,
        "aliases": aliases,
        "active": row.active,
    }
