"""Who a message is from: the addresses of its From field, read strictly (RFC 5322 §3.6.2, RFC 6854).

For decisions that hang on the author (sender check, members-only lists), where a loose reading would let a forger
choose what others see. IMAP's ENVELOPE (`postbus.mime.envelope`) reads the same field leniently.
"""

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
    authors = tuple(_author(address) for address in found if address.host is not None)
    if not authors:
        raise _invalid("the From field has no address")
    return authors


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
