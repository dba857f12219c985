"""What a failing database means: one table from asyncpg's errors to MailError, for every service (promise 4)."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from postbus.core.errors import ErrorKind, MailError

_RAISED_KINDS = {
    "PB400": ErrorKind.INVALID,
    "PB404": ErrorKind.NOT_FOUND,
    "PB409": ErrorKind.CONFLICT,
    "PB410": ErrorKind.ALREADY_EXISTS,
    "PB411": ErrorKind.OVER_QUOTA,
    "PB429": ErrorKind.LIMIT,
}
"""SQLSTATEs that our own functions raise."""

_AWAY_CLASSES = frozenset({"08", "25", "28", "3D", "3F", "40", "53", "55", "57", "58"})
"""SQLSTATE classes of a server that is away, starting, read-only, full, or not yet set up; a retry may succeed."""
_AWAY_STATES = frozenset({"42883", "42P01", "42501"})
"""Function, table or right missing: the migration of this version is still to come (promise 9)."""
_VALUE_CLASSES = frozenset({"22", "54"})
"""SQLSTATE classes of values that no table takes: malformed, or too long for an index."""
_AWAY_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_BROKEN_CLASSES = frozenset({"08", "57", "58", "XX"})
"""Classes of errors by which a server may end a connection; all others undo the statement and tell so."""


class OutcomeUnknownError(MailError):
    """UNAVAILABLE, and the change may have happened or may still: the connection was lost after it was sent."""

    def __init__(self, detail: str) -> None:
        """The kind is always UNAVAILABLE: whoever knows no better treats it as such."""
        super().__init__(ErrorKind.UNAVAILABLE, detail)


@contextmanager
def mail_errors(place: str) -> Iterator[None]:
    """Turns what asyncpg raises into MailError, `place` before the detail; anything unknown passes as it is."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if state in _RAISED_KINDS:
            raise MailError(_RAISED_KINDS[state], str(error)) from error
        if state[:2] in _AWAY_CLASSES or state in _AWAY_STATES:
            raise MailError(ErrorKind.UNAVAILABLE, f"{place}: {type(error).__name__}") from error
        if state[:2] in _VALUE_CLASSES:
            raise MailError(ErrorKind.INVALID, f"{place}: a value that can't be stored") from error
        raise
    except _AWAY_ERRORS as error:
        raise MailError(ErrorKind.UNAVAILABLE, f"{place}: {type(error).__name__}") from error


def leaves_outcome_unknown(error: MailError) -> bool:
    """Whether a statement that was sent and ended with this error may have been committed nevertheless."""
    cause = error.__cause__
    if isinstance(cause, asyncpg.PostgresError):
        return (cause.sqlstate or "XX")[:2] in _BROKEN_CLASSES and cause.sqlstate != "57014"
    return isinstance(cause, _AWAY_ERRORS)
