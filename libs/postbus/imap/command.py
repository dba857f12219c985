"""What every command has. The commands themselves are in `postbus.imap.commands`, one family a file."""

from collections.abc import Callable

import msgspec

from postbus.core.errors import RemoteProtocolError
from postbus.imap.cursor import Cursor


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command that parsed; its tag goes back with the reply."""

    tag: bytes


Parser = Callable[[bytes, Cursor], Command]
"""Takes the tag and what stands after the command's name; returns the value and leaves the rest in the cursor."""


def require_utf8(octets: bytes, what: str) -> str:
    """Decodes what must be UTF-8. Raises RemoteProtocolError."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"The {what} is not UTF-8") from error
