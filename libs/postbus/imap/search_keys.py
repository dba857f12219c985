"""Search criteria as values (RFC 9051 §6.4.4; NEW, OLD, RECENT: RFC 3501 §6.4.4), and their wire form."""

import enum
from collections.abc import Iterator

import msgspec

from postbus.imap.dates import format_date
from postbus.imap.sets import SequenceSet, format_sequence_set
from postbus.imap.wire import format_astring, format_text


class DateField(enum.Enum):
    """Which date is compared."""

    INTERNAL = b""
    SENT = b"SENT"


class DateTest(enum.Enum):
    """How it is compared, by day."""

    BEFORE = b"BEFORE"
    ON = b"ON"
    SINCE = b"SINCE"


class TextKind(enum.Enum):
    """Where text is looked for."""

    BCC = b"BCC"
    BODY = b"BODY"
    CC = b"CC"
    FROM = b"FROM"
    HEADER = b"HEADER"
    SUBJECT = b"SUBJECT"
    TEXT = b"TEXT"
    TO = b"TO"


class AllKey(msgspec.Struct, frozen=True, kw_only=True, tag="all"):
    """Every message."""


class FlagKey(msgspec.Struct, frozen=True, kw_only=True, tag="flag"):
    """Messages with (`present`) or without a system flag or keyword."""

    flag: str
    present: bool


class NumbersKey(msgspec.Struct, frozen=True, kw_only=True, tag="numbers"):
    """Sequence numbers or, with `uid`, UIDs."""

    numbers: SequenceSet
    uid: bool


class SizeKey(msgspec.Struct, frozen=True, kw_only=True, tag="size"):
    """LARGER or SMALLER."""

    larger: bool
    octets: int


class DateKey(msgspec.Struct, frozen=True, kw_only=True, tag="date"):
    """BEFORE, ON, SINCE and their SENT forms; `day` counts from 1970-01-01."""

    field: DateField
    test: DateTest
    day: int


class AgeKey(msgspec.Struct, frozen=True, kw_only=True, tag="age"):
    """RFC 5032 §2: INTERNALDATE within the last `seconds` (YOUNGER), or not (OLDER)."""

    older: bool
    seconds: int


class TextKey(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A text criterion; `header_name` for HEADER only."""

    kind: TextKind
    value: str
    header_name: str = ""


class ModSeqKey(msgspec.Struct, frozen=True, kw_only=True, tag="mod_seq"):
    """RFC 7162 §3.1.5: messages of this mod_seq or a higher one."""

    mod_seq: int


class NotKey(msgspec.Struct, frozen=True, kw_only=True, tag="not"):
    """What `key` does not match."""

    key: "SearchKey"


class OrKey(msgspec.Struct, frozen=True, kw_only=True, tag="or"):
    """What either matches."""

    first: "SearchKey"
    second: "SearchKey"


class AndKey(msgspec.Struct, frozen=True, kw_only=True, tag="and"):
    """What all match."""

    keys: tuple["SearchKey", ...]


SearchKey = AllKey | FlagKey | NumbersKey | SizeKey | DateKey | AgeKey | TextKey | ModSeqKey | NotKey | OrKey | AndKey

NO_MESSAGE = NotKey(key=AllKey())

_FLAG_WORDS = {
    "\\Answered": b"ANSWERED",
    "\\Deleted": b"DELETED",
    "\\Draft": b"DRAFT",
    "\\Flagged": b"FLAGGED",
    "\\Seen": b"SEEN",
}


def format_key(key: SearchKey) -> bytes:
    """The criterion as a client writes it."""
    match key:
        case NotKey(key=inner):
            return b"NOT " + format_key(inner)
        case OrKey(first=first, second=second):
            return b"OR %b %b" % (format_key(first), format_key(second))
        case AndKey(keys=keys):
            return b"(%b)" % b" ".join(format_key(inner) for inner in keys)
        case TextKey():
            name = b" " + format_astring(key.header_name.encode()) if key.kind is TextKind.HEADER else b""
            return b"%b%b %b" % (key.kind.value, name, format_text(key.value))
        case _:
            return _format_simple(key)


def _format_simple(key: AllKey | FlagKey | NumbersKey | SizeKey | DateKey | AgeKey | ModSeqKey) -> bytes:
    match key:
        case AllKey():
            return b"ALL"
        case FlagKey(flag=flag, present=present):
            prefix = b"" if present else b"UN"
            word = _FLAG_WORDS.get(flag)
            return prefix + (word if word is not None else b"KEYWORD " + flag.encode())
        case NumbersKey(numbers=numbers, uid=uid):
            return (b"UID " if uid else b"") + format_sequence_set(numbers)
        case SizeKey(larger=larger, octets=octets):
            return b"%b %d" % (b"LARGER" if larger else b"SMALLER", octets)
        case DateKey(field=field, test=test, day=day):
            return b"%b%b %b" % (field.value, test.value, format_date(day))
        case AgeKey(older=older, seconds=seconds):
            return b"%b %d" % (b"OLDER" if older else b"YOUNGER", seconds)
        case ModSeqKey(mod_seq=mod_seq):
            return b"MODSEQ %d" % mod_seq


def walk_keys(key: SearchKey) -> Iterator[SearchKey]:
    """The key and all keys within it, in no particular order."""
    waiting = [key]
    while waiting:
        each = waiting.pop()
        yield each
        match each:
            case NotKey(key=inner):
                waiting.append(inner)
            case OrKey(first=first, second=second):
                waiting += (first, second)
            case AndKey(keys=keys):
                waiting += keys
            case _:
                pass
