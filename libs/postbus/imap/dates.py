"""Dates on the wire (RFC 9051 §9): date, date-time; inside, days since 1970-01-01 and Unix milliseconds."""

import datetime
import functools
import re

from postbus.core.errors import RemoteProtocolError
from postbus.imap.cursor import Cursor

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
DAY_MS = 86_400_000

_EPOCH = datetime.date(1970, 1, 1).toordinal()
FIRST_DAY, LAST_DAY = 1 - _EPOCH, datetime.date.max.toordinal() - _EPOCH
_NUMBER_OF = {name.upper(): number for number, name in enumerate(MONTHS, start=1)}
_DATE = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_DATE_TIME = re.compile(
    rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)


def parse_date(cursor: Cursor) -> int:
    """A date, quoted or not: days since 1970-01-01."""
    quoted = cursor.accept(b'"')
    match = cursor.match(_DATE)
    if match is None:
        raise RemoteProtocolError("Expected a date as 1-Feb-2026")
    if quoted:
        cursor.expect(b'"')
    return _day(match[1], match[2], match[3])


def _day(day: bytes, month: bytes, year: bytes) -> int:
    try:
        return datetime.date(int(year), _NUMBER_OF[month.upper()], int(day)).toordinal() - _EPOCH
    except (KeyError, ValueError) as error:
        raise RemoteProtocolError("There is no such date") from error


def format_date(day: int) -> bytes:
    """Days since 1970-01-01 as a date."""
    date = datetime.date.fromordinal(day + _EPOCH)
    return b"%d-%b-%04d" % (date.day, MONTHS[date.month - 1], date.year)


def parse_date_time(cursor: Cursor) -> int:
    """A date-time: Unix milliseconds."""
    match = cursor.match(_DATE_TIME)
    if match is None:
        raise RemoteProtocolError('Expected a date-time as " 1-Feb-2026 12:00:00 +0000"')
    hour, minute, second = int(match[4]), int(match[5]), int(match[6])
    zone_hour, zone_minute = int(match[8]), int(match[9])
    if hour > 23 or minute > 59 or second > 60 or zone_minute > 59:
        raise RemoteProtocolError("There is no such time")
    offset = (zone_hour * 60 + zone_minute) * 60 * (-1 if match[7] == b"-" else 1)
    seconds = hour * 3600 + minute * 60 + second - offset
    found = _day(match[1].strip(), match[2], match[3]) * DAY_MS + seconds * 1000
    if not FIRST_DAY <= found // DAY_MS <= LAST_DAY:  # by its zone it lies outside the years that have four digits
        raise RemoteProtocolError("There is no such time")
    return found


def format_date_time(unix_ms: int) -> bytes:
    """Unix milliseconds as a quoted date-time in UTC (RFC 9051 §7.5.2, INTERNALDATE)."""
    day, second = divmod(unix_ms // 1000, 86_400)
    return b'"%b %02d:%02d:%02d +0000"' % (_format_padded(day), second // 3600, second // 60 % 60, second % 60)


@functools.lru_cache(maxsize=4096)
def _format_padded(day: int) -> bytes:
    date = datetime.date.fromordinal(min(max(day, FIRST_DAY), LAST_DAY) + _EPOCH)
    return b"%2d-%b-%04d" % (date.day, MONTHS[date.month - 1], date.year)
