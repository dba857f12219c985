"""Who a message is from: the addresses of its From field, read strictly (RFC 5322 §3.6.2, RFC 6854).

For decisions that hang on the author (sender check, members-only lists), where a loose reading would let a forger
choose what others see. Programs disagree about a field that breaks the grammar (a comment or quotation mark without its
end, an address in a name without quotation marks): of such a field every address that any of them might find counts as
an author. IMAP's ENVELOPE (`postbus.mime.envelope`) reads the same field leniently.
"""

import re
from collections.abc import Sequence
from typing import Final

from postbus.core.address import Address, format_local_part, parse_domain, parse_local_part
from postbus.core.errors import ErrorKind, MailError
from postbus.mime import values
from postbus.mime.addresses import read_addresses

MAX_AUTHORS: Final = 50
"""Addresses of one From field."""
MAX_FROM_OCTETS: Final = 16 * 1024
"""One From field, unfolded."""
_SHOWN_OCTETS = 200
_WORD: Final = rb'(?:[^\x00-\x20"(),:;<>@\[\\\]\x7f]++|"(?:[^"\\\x00-\x1f\x7f]++|\\[\t -~])*+")'
_TOKEN: Final = re.compile(rb"[ \t]*+(?:(" + _WORD + rb")|([,:;<>@]))")
_COMMENT_MARK: Final = re.compile(rb"\\.|[()]", re.DOTALL)
_MAILBOX: Final = r"(?:w@w|w*+<w@w>)"
_LIST: Final = rf",*+{_MAILBOX}(?:,++{_MAILBOX})*+,*+"
_GRAMMAR: Final = re.compile(rf"(?:{_LIST}|w++:(?:{_LIST}|,*+);)\Z")
"""Of tokens: `w` a word, the others themselves. Addresses, or one group of them (RFC 6854 §2.1)."""
_ANY_ADDRESS: Final = re.compile(rb"""[^\x00-\x20"'(),:;<>@\[\\\]\x7f]++@[^\x00-\x20"'(),:;<>@\[\\\]\x7f]++""")


def parse_authors(fields: Sequence[bytes]) -> tuple[Address, ...]:
    """The addresses in the unfolded values of all From fields of a message, at least one.

    Raises MailError: INVALID, saying what is wrong: no field or several, no address, one that is none, too many.
    """
    if len(fields) != 1:
        raise _invalid("the message has no From field" if not fields else "the message has more than one From field")
    if len(fields[0]) > MAX_FROM_OCTETS:
        raise _invalid("the From field is too long")
    found, limited = read_addresses(fields[0], MAX_AUTHORS + 1)
    if limited or len(found) > MAX_AUTHORS:
        raise _invalid("the From field has too many addresses")
    authors = [_author(address) for address in found if address.host is not None]
    if not authors:
        raise _invalid("the From field has no address")
    if not _is_plain(fields[0]):
        authors += _find_any(fields[0])
        if len(authors) > MAX_AUTHORS:
            raise _invalid("the From field has too many addresses")
    return tuple(dict.fromkeys(authors))


def _is_plain(value: bytes) -> bool:
    """Whether a field keeps to the grammar (RFC 5322 §3.4, RFC 6532), so that all programs read it alike."""
    tokens: list[str] = []
    at, end = 0, len(value.rstrip(b" \t"))
    while at < end:
        match = _TOKEN.match(value, at)
        if match is not None:
            tokens.append("w" if match[1] is not None else match[2].decode("ascii"))
            at = match.end()
            continue
        at = _comment_end(value, at)
        if at < 0:
            return False
    return _GRAMMAR.match("".join(tokens)) is not None


def _comment_end(value: bytes, at: int) -> int:
    """After the comment at this place; -1: there is none, or it has no end."""
    while value[at : at + 1] in (b" ", b"\t"):
        at += 1
    if value[at : at + 1] != b"(":
        return -1
    depth = 0
    for mark in _COMMENT_MARK.finditer(value, at):
        depth += {b"(": 1, b")": -1}.get(mark[0], 0)
        if depth == 0:
            return mark.end()
    return -1


def _find_any(value: bytes) -> list[Address]:
    """Whatever looks like an address, wherever it stands."""
    found: list[Address] = []
    for match in _ANY_ADDRESS.finditer(value):
        local_part, _, host = match[0].partition(b"@")
        found.append(_author(values.Address(name=None, route=None, mailbox=local_part, host=host.strip(b"."))))
        if len(found) > MAX_AUTHORS:
            break
    return found


def _author(found: values.Address) -> Address:
    try:
        local_part = format_local_part((found.mailbox or b"").decode())
        return Address(local_part=parse_local_part(local_part), domain=parse_domain((found.host or b"").decode()))
    except (MailError, UnicodeDecodeError) as error:
        raise _invalid(f"the From field has a malformed address: {_show(found)}") from error


def _show(found: values.Address) -> str:
    return b"@".join(part for part in (found.mailbox, found.host) if part)[:_SHOWN_OCTETS].decode("ascii", "replace")


def _invalid(detail: str) -> MailError:
    return MailError(ErrorKind.INVALID, detail)
