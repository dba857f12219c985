"""Parameters and modifiers in parentheses: SELECT, FETCH, STORE (RFC 4466 §2.1, §2.4, §2.5; RFC 7162 §3.1).

Each of our commands knows one; any other is BAD, above all those of QRESYNC, which is not offered.
"""

from postbus.core.errors import RemoteProtocolError
from postbus.imap.cursor import Cursor


def accept_parenthesis(cursor: Cursor) -> bool:
    """Skips spaces and an opening parenthesis; without one nothing is skipped, as wild clients send trailing spaces."""
    if not cursor.rest.lstrip(b" ").startswith(b"("):
        return False
    cursor.expect_space()
    cursor.expect(b"(")
    return True


def parse_flag_modifier(cursor: Cursor, name: bytes) -> bool:
    """`(NAME)` at the end of a command; whether it is there. Raises RemoteProtocolError for another one."""
    if not accept_parenthesis(cursor):
        return False
    _expect_name(cursor, name)
    cursor.expect(b")")
    return True


def parse_number_modifier(cursor: Cursor, name: bytes) -> int | None:
    """`(NAME number)`; None when it is not there. Raises RemoteProtocolError for another one."""
    if not accept_parenthesis(cursor):
        return None
    _expect_name(cursor, name)
    cursor.expect_space()
    number = cursor.parse_number64()
    cursor.expect(b")")
    return number


def _expect_name(cursor: Cursor, name: bytes) -> None:
    found = cursor.parse_word()
    if found != name:
        raise RemoteProtocolError(f"There is no {found.decode('ascii')} here")
