"""SEARCH and UID SEARCH (RFC 9051 §6.4.4), result options of RFC 4731, keys of RFC 7162 §3.1.5 and RFC 5032."""

import enum

from postbus.core.errors import RemoteProtocolError
from postbus.imap.command import Command, require_utf8
from postbus.imap.cursor import Cursor
from postbus.imap.dates import parse_date
from postbus.imap.flags import parse_flag
from postbus.imap.limits import MAX_SEARCH_DEPTH, MAX_SEARCH_KEYS
from postbus.imap.search_keys import (
    NO_MESSAGE,
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
)
from postbus.imap.sets import parse_sequence_set

CHARSETS = (b"US-ASCII", b"UTF-8")


class UnknownCharsetError(RemoteProtocolError):
    """A CHARSET that we do not know: NO [BADCHARSET], not BAD (RFC 9051 §6.4.4)."""


class SearchResult(enum.Enum):
    """RFC 4731 §3.1."""

    MIN = b"MIN"
    MAX = b"MAX"
    ALL = b"ALL"
    COUNT = b"COUNT"


class Search(Command, frozen=True, kw_only=True):
    """RFC 9051 §6.4.4; `results` None: an untagged SEARCH, else ESEARCH."""

    uid: bool
    key: SearchKey
    results: tuple[SearchResult, ...] | None


_FLAGS = {
    b"ANSWERED": "\\Answered",
    b"DELETED": "\\Deleted",
    b"DRAFT": "\\Draft",
    b"FLAGGED": "\\Flagged",
    b"SEEN": "\\Seen",
}
_FIXED: dict[bytes, SearchKey] = {
    b"ALL": AllKey(),
    b"NEW": NO_MESSAGE,
    b"OLD": AllKey(),
    b"RECENT": NO_MESSAGE,
    **{word: FlagKey(flag=flag, present=True) for word, flag in _FLAGS.items()},
    **{b"UN" + word: FlagKey(flag=flag, present=False) for word, flag in _FLAGS.items()},
}
_DATES = {field.value + test.value: (field, test) for field in DateField for test in DateTest}
_ENTRY_TYPES = (b"PRIV", b"SHARED", b"ALL")
_TEXTS = {kind.value: kind for kind in TextKind}


class _KeyParser:
    """Counts the keys of one command."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.keys = 0

    def parse_keys(self, depth: int, end: bytes) -> SearchKey:
        """Keys with spaces between, up to `end` (empty: the command's end); several are joined by AND."""
        keys = [self.parse_key(depth)]
        while not self._ends(end):
            self.cursor.expect_space()
            if self._ends(end):
                break
            keys.append(self.parse_key(depth))
        return keys[0] if len(keys) == 1 else AndKey(keys=tuple(keys))

    def _ends(self, end: bytes) -> bool:
        return self.cursor.accept(end) if end else self.cursor.at_end()

    def parse_key(self, depth: int) -> SearchKey:
        """One key."""
        self.keys += 1
        if self.keys > MAX_SEARCH_KEYS or depth > MAX_SEARCH_DEPTH:
            raise RemoteProtocolError("The search is too large")
        cursor = self.cursor
        if cursor.accept(b"("):
            return self.parse_keys(depth + 1, b")")
        if cursor.data[cursor.position : cursor.position + 1] in b"0123456789*" and not cursor.at_end():
            return NumbersKey(numbers=parse_sequence_set(cursor), uid=False)
        word = cursor.parse_word()
        fixed = _FIXED.get(word)
        return fixed if fixed is not None else self._parse_argument(word, depth)

    def _parse_argument(self, word: bytes, depth: int) -> SearchKey:
        cursor = self.cursor
        cursor.expect_space()
        if word == b"NOT":
            return NotKey(key=self.parse_key(depth + 1))
        if word == b"OR":
            first = self.parse_key(depth + 1)
            cursor.expect_space()
            return OrKey(first=first, second=self.parse_key(depth + 1))
        if word in _DATES:
            field, test = _DATES[word]
            return DateKey(field=field, test=test, day=parse_date(cursor))
        if word in _TEXTS:
            return self._parse_text(_TEXTS[word])
        return self._parse_scalar(word)

    def _parse_scalar(self, word: bytes) -> SearchKey:
        cursor = self.cursor
        if word in (b"KEYWORD", b"UNKEYWORD"):
            return FlagKey(flag=parse_flag(cursor), present=word == b"KEYWORD")
        if word in (b"LARGER", b"SMALLER"):
            return SizeKey(larger=word == b"LARGER", octets=cursor.parse_number64())
        if word in (b"OLDER", b"YOUNGER"):
            seconds = cursor.parse_number()
            if not seconds:
                raise RemoteProtocolError("Expected a number of seconds that is not 0")
            return AgeKey(older=word == b"OLDER", seconds=seconds)
        if word == b"UID":
            return NumbersKey(numbers=parse_sequence_set(cursor), uid=True)
        if word == b"MODSEQ":
            return self._parse_mod_seq()
        raise RemoteProtocolError(f"There is no search key {word.decode('ascii')}")

    def _parse_mod_seq(self) -> SearchKey:
        """An entry's name and type are looked at and left out: all flags of a message share one mod_seq."""
        cursor = self.cursor
        if cursor.next_is(b'"'):
            if not cursor.parse_string().lower().startswith(b"/flags/"):
                raise RemoteProtocolError("Expected the entry of a flag")
            cursor.expect_space()
            if cursor.parse_word() not in _ENTRY_TYPES:
                raise RemoteProtocolError("Expected priv, shared or all")
            cursor.expect_space()
        return ModSeqKey(mod_seq=cursor.parse_number64())

    def _parse_text(self, kind: TextKind) -> SearchKey:
        header_name = ""
        if kind is TextKind.HEADER:
            header_name = require_utf8(self.cursor.parse_astring(), "header field name")
            self.cursor.expect_space()
        value = require_utf8(self.cursor.parse_astring(), "search text")
        return TextKey(kind=kind, value=value, header_name=header_name)


def _parse_results(cursor: Cursor) -> tuple[SearchResult, ...]:
    """`(MIN MAX …)`; an empty list is ALL (RFC 4731 §3.1)."""
    cursor.expect(b"(")
    found: dict[SearchResult, None] = {}
    while not cursor.accept(b")"):
        if found:
            cursor.expect_space()
        try:
            found[SearchResult(cursor.parse_word())] = None
        except ValueError as error:
            raise RemoteProtocolError("There is no such result option") from error
    return tuple(found) or (SearchResult.ALL,)


def _accept_word(cursor: Cursor, word: bytes) -> bool:
    end = cursor.position + len(word)
    if cursor.data[cursor.position : end].upper() != word:
        return False
    cursor.position = end
    return True


def _parse_search(tag: bytes, cursor: Cursor, uid: bool) -> Search:
    cursor.expect_space()
    results: tuple[SearchResult, ...] | None = None
    if _accept_word(cursor, b"RETURN "):
        results = _parse_results(cursor)
        cursor.expect_space()
    if _accept_word(cursor, b"CHARSET "):
        if cursor.parse_astring().upper() not in CHARSETS:
            raise UnknownCharsetError("The charset is not known here")
        cursor.expect_space()
    key = _KeyParser(cursor).parse_keys(0, b"")
    return Search(tag=tag, uid=uid, key=key, results=results)


def parse_search(tag: bytes, cursor: Cursor) -> Search:
    """Result options, charset, keys."""
    return _parse_search(tag, cursor, uid=False)


def parse_uid_search(tag: bytes, cursor: Cursor) -> Search:
    """Result options, charset, keys."""
    return _parse_search(tag, cursor, uid=True)
