"""Evaluates search criteria over a folder view; what needs the text of messages was asked from indexer before.

Criteria narrow a list of rows one after the other, the cheap ones first. No query, no I/O.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence

from postbus.core.errors import ErrorKind, MailError
from postbus.imap.dates import DAY_MS
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
    walk_keys,
)
from postbusd.imap_gateway.flags import BITS
from postbusd.imap_gateway.selected import SelectedFolder
from postbusd.imap_gateway.views import ID_OCTETS

NO_DAY = -(1 << 31)
MAX_TESTS = 20_000_000
"""Messages times criteria of one search: a second of work, during which nobody else of the process has a turn."""

Hits = Mapping[TextKey, frozenset[bytes]]
Rows = Sequence[int]


def collect_texts(key: SearchKey) -> list[TextKey]:
    """The text criteria that indexer must answer, each once; empty texts match by themselves."""
    texts = (each for each in walk_keys(key) if isinstance(each, TextKey))
    return list(dict.fromkeys(text for text in texts if text.value or text.header_name))


class Search:
    """One search over the messages that a session knows."""

    def __init__(self, selected: SelectedFolder, hits: Hits, now_ms: int) -> None:
        """`now_ms`: what ages are counted from."""
        self._now_ms = now_ms
        self._selected = selected
        self._view = selected.view
        self._hits = hits
        self._tests = 0

    def find(self, key: SearchKey) -> list[int]:
        """Uids of the matching messages, ascending. Raises MailError: LIMIT."""
        uids = self._view.uids
        return [uids[row] for row in self._filter(key, self._known_rows())]

    def _known_rows(self) -> Rows:
        """Rows of the view that the session has a number for."""
        selected, view = self._selected, self._view
        if selected.uids is view.uids:
            return range(selected.count)
        return [row for uid in selected.uids[: selected.count] if (row := view.row_of(uid)) >= 0]

    def _filter(self, key: SearchKey, rows: Rows) -> Rows:
        self._tests += len(rows)
        if self._tests > MAX_TESTS:
            raise MailError(ErrorKind.LIMIT, "too many criteria for so many messages")
        match key:
            case AllKey():
                return rows
            case AndKey(keys=keys):
                for inner in sorted(keys, key=_cost):
                    rows = self._filter(inner, rows)
                return rows
            case OrKey(first=first, second=second):
                either = {*self._filter(first, rows), *self._filter(second, rows)}
                return [row for row in rows if row in either]
            case NotKey(key=inner):
                without = set(self._filter(inner, rows))
                return [row for row in rows if row not in without]
            case NumbersKey():
                return self._filter_numbers(key, rows)
            case TextKey():
                return self._filter_text(key, rows)
            case _:
                return self._filter_column(key, rows)

    def _filter_column(self, key: FlagKey | SizeKey | DateKey | AgeKey | ModSeqKey, rows: Rows) -> Rows:
        """What one column of the view decides."""
        match key:
            case FlagKey():
                return self._filter_flag(key, rows)
            case SizeKey():
                octets, limit = self._view.octets, key.octets
                if key.larger:
                    return [row for row in rows if octets[row] > limit]
                return [row for row in rows if octets[row] < limit]
            case DateKey():
                return self._filter_date(key, rows)
            case AgeKey():
                dates, border = self._view.internal_dates, self._now_ms - 1000 * key.seconds
                return [row for row in rows if (dates[row] <= border) is key.older]
            case ModSeqKey():
                mod_seqs, lowest = self._view.mod_seqs, key.mod_seq
                return [row for row in rows if mod_seqs[row] >= lowest]

    def _filter_numbers(self, key: NumbersKey, rows: Rows) -> Rows:
        """Spans of the session's array become spans of uids, and these spans of rows."""
        selected, uids = self._selected, self._view.uids
        spans = selected.resolve_spans(key.numbers, key.uid) or []
        found: list[int] = []
        for start, end in spans:
            if start < end:
                first = bisect_left(uids, selected.uids[start])
                last = bisect_right(uids, selected.uids[end - 1])
                found.extend(rows[bisect_left(rows, first) : bisect_left(rows, last)])
        return found

    def _filter_flag(self, key: FlagKey, rows: Rows) -> Rows:
        bit = BITS.get(key.flag)
        if bit is not None:
            flags, mask = self._view.flags, int(bit)
            wanted = mask if key.present else 0
            return [row for row in rows if flags[row] & mask == wanted]
        keyword = key.flag.lower()
        holders = {uid for uid, words in self._view.keywords.items() if keyword in map(str.lower, words)}
        uids = self._view.uids
        return [row for row in rows if (uids[row] in holders) is key.present]

    def _filter_text(self, key: TextKey, rows: Rows) -> Rows:
        if not key.value and not key.header_name:
            return rows
        hits, ids = self._hits[key], bytes(self._view.email_ids)
        return [row for row in rows if ids[ID_OCTETS * row : ID_OCTETS * row + ID_OCTETS] in hits]

    def _filter_date(self, key: DateKey, rows: Rows) -> Rows:
        """By day in UTC for INTERNALDATE, in the sender's zone for SENT (RFC 9051 §6.4.4)."""
        if key.field is DateField.SENT:
            days, test = self._view.sent_days, _TESTS[key.test]
            return [row for row in rows if days[row] != NO_DAY and test(days[row], key.day)]
        dates = self._view.internal_dates
        start, end = key.day * DAY_MS, (key.day + 1) * DAY_MS
        match key.test:
            case DateTest.BEFORE:
                return [row for row in rows if dates[row] < start]
            case DateTest.SINCE:
                return [row for row in rows if dates[row] >= start]
            case DateTest.ON:
                return [row for row in rows if start <= dates[row] < end]


_TESTS: dict[DateTest, Callable[[int, int], bool]] = {
    DateTest.BEFORE: int.__lt__,
    DateTest.ON: int.__eq__,
    DateTest.SINCE: int.__ge__,
}


def _cost(key: SearchKey) -> int:
    match key:
        case NumbersKey():
            return 0
        case FlagKey() | SizeKey() | DateKey() | AgeKey() | ModSeqKey():
            return 1
        case TextKey():
            return 2
        case _:
            return 3


def join_hits(keys: Iterable[TextKey], email_ids: Iterable[bytes]) -> Hits:
    """Indexer's answers, each a string of 16-octet ids, by criterion."""
    return {
        key: frozenset(ids[start : start + ID_OCTETS] for start in range(0, len(ids), ID_OCTETS))
        for key, ids in zip(keys, email_ids, strict=True)
    }
