"""Reverse paths and forward paths (RFC 5321 §4.1.2, RFC 6531 §3.3).

Source routes are read and dropped (RFC 5321 §4.1.1.3, appendix C), `<postmaster>` needs no domain (§4.1.1.3), `<>` is
the null path.
"""

import re

from postbus.core.address import Address, parse_address, parse_domain
from postbus.core.errors import MailError
from postbus.smtp.limits import MAX_PATH_OCTETS
from postbus.smtp.replies import (
    BAD_FORWARD_PATH,
    BAD_REVERSE_PATH,
    NEED_SMTPUTF8,
    NULL_FORWARD_PATH,
    CommandError,
    Reply,
)

POSTMASTER = "postmaster"

_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.)*"|[^"<>])*)>(?: +|\Z)')


def split_path(text: str, syntax: Reply) -> tuple[str, str]:
    """The path without its brackets, and what follows it. Raises CommandError with `syntax`."""
    match = _PATH.match(text)
    if match is None:
        raise CommandError(syntax)
    return match[1], text[match.end() :]


def parse_reverse_path(text: str, smtputf8: bool) -> Address | None:
    """The address within the brackets; None is the null path. Raises CommandError."""
    return _parse(text, smtputf8, BAD_REVERSE_PATH) if text else None


def parse_forward_path(text: str, smtputf8: bool) -> Address | None:
    """The address within the brackets; None is the bare `<postmaster>`. Raises CommandError."""
    if not text:
        raise CommandError(NULL_FORWARD_PATH)
    if text.lower() == POSTMASTER:
        return None
    return _parse(text, smtputf8, BAD_FORWARD_PATH)


def _parse(text: str, smtputf8: bool, fault: Reply) -> Address:
    if len(text.encode("utf-8", "surrogatepass")) + 2 > MAX_PATH_OCTETS:
        raise CommandError(fault)
    if not smtputf8 and not text.isascii():
        raise CommandError(NEED_SMTPUTF8)
    try:
        return parse_address(_without_route(text))
    except MailError as error:
        raise CommandError(fault) from error


def _without_route(text: str) -> str:
    """Drops `@one,@two:`; raises MailError when the route is malformed."""
    if not text.startswith("@"):
        return text
    route, _, address = text.partition(":")
    for hop in route.split(","):
        parse_domain(hop.removeprefix("@") if hop.startswith("@") else "")
    return address
