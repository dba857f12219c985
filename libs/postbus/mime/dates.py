"""The Date: header (RFC 5322 §3.3, obsolete forms of §4.3, and what the wild sends)."""

import datetime
import re
from typing import Final, NamedTuple

from postbus.mime.parameters import strip_comments

_DATE: Final = re.compile(
    rb"\s*(?:[A-Za-z]{2,9}\.?\s*,?\s*)?(\d{1,2})[\s.-]{1,3}([A-Za-z]{3})[A-Za-z]{0,6}[\s.,-]{1,3}(\d{2,4})(?!\d)"
    rb"(?:[\s,]{1,3}(\d{1,2})[:.](\d{2})(?:[:.](\d{2})(?:[.,]\d{1,9})?)?\s*([AaPp][Mm]\b)?"
    rb"\s*(?:(?:GMT|UTC|UT)?\s*([+-])(\d{1,2}):?(\d{2})|([A-Za-z]{1,5}))?)?"
)
_ASCTIME: Final = re.compile(
    rb"\s*[A-Za-z]{3},?\s+([A-Za-z]{3})\s+(\d{1,2})\s+(\d{1,2}):(\d{2})(?::(\d{2}))?\s+(?:[A-Z]{3,5}\s+)?(\d{4})"
)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), start=1
    )
}
_ZONES: Final = {b"est": -300, b"edt": -240, b"cst": -360, b"cdt": -300, b"mst": -420, b"mdt": -360, b"pst": -480,
                 b"pdt": -420, b"cet": 60, b"cest": 120, b"met": 60, b"mest": 120, b"bst": 60, b"jst": 540}  # fmt: skip
_EPOCH_ORDINAL: Final = 719_163
_MAX_DATE_OCTETS: Final = 256


class SentDate(NamedTuple):
    """When a message says it was sent: Unix milliseconds, and its day in its own zone since 1970-01-01."""

    ms: int
    day: int


def parse_date(value: bytes) -> SentDate | None:
    """The date of an unfolded Date: value; None when it can't be read."""
    value = value[:_MAX_DATE_OCTETS]
    if b"(" in value:
        value = strip_comments(value)
    value = b" ".join(value.split())
    match = _DATE.match(value)
    if match is None:
        return _parse_asctime(value)
    day, month, year, hour, minute, second, half, sign, zone_hours, zone_minutes, zone = match.groups()
    offset = _ZONES.get(zone.lower(), 0) if zone else 0
    if sign:
        offset = int(zone_hours) * 60 + int(zone_minutes)
        if sign == b"-":
            offset = -offset
    hours = int(hour or 0)
    if half:
        hours = hours % 12 + 12 * (half[:1] in b"pP")
    return _combine(
        (_full_year(int(year), len(year)), month, int(day)), (hours, int(minute or 0), int(second or 0)), offset
    )


def _parse_asctime(value: bytes) -> SentDate | None:
    """`Thu Jan  1 00:00:00 1970`, as some programs write."""
    match = _ASCTIME.match(value)
    if match is None:
        return None
    month, day, hour, minute, second, year = match.groups()
    return _combine((int(year), month, int(day)), (int(hour), int(minute), int(second or 0)), 0)


def _full_year(year: int, digits: int) -> int:
    """RFC 5322 §4.3: two digits below 50 are of this century, other short ones count from 1900."""
    if digits == 2 and year < 50:
        return year + 2000
    return year + 1900 if digits < 4 else year


def _combine(date: tuple[int, bytes, int], time: tuple[int, int, int], offset_minutes: int) -> SentDate | None:
    month = _MONTHS.get(date[1].lower())
    hour, minute, second = time
    if month is None or hour > 24 or minute > 59 or second > 60 or abs(offset_minutes) >= 100 * 60:
        return None
    try:
        day = datetime.date(date[0], month, date[2]).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return None
    return SentDate((((day * 24 + hour) * 60 + minute - offset_minutes) * 60 + second) * 1000, day)
