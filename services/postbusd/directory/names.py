"""Names that an administrator may give, and how a received address is folded for looking it up.

Local parts are compared without regard to case, in ASCII only: no Unicode folding turns a foreign letter into one of
ours. Domains are lower-case A-labels inside (RFC 5890 §2.3.2.1).
"""

import re

from postbus.core.address import Address, parse_address, parse_domain
from postbus.core.errors import ErrorKind, MailError

MAX_LOCAL_PART_CHARACTERS = 200
SUBADDRESS_SEPARATOR = "+"  # RFC 5233 §4
SYSTEM_LOCAL_PARTS = frozenset({"postmaster", "abuse"})  # RFC 5321 §4.5.1, RFC 2142 §2
APP_SUFFIX = ".app"

_LOCAL_PART = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\Z")
_UPPER_TO_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def fold(local_part: str) -> str:
    """A local part as mailboxes are named."""
    return local_part.translate(_UPPER_TO_LOWER)


def read_forward_path(text: str) -> Address | None:
    """A received forward_path; <postmaster> has an empty domain (RFC 5321 §4.5.1). None: malformed."""
    if fold(text) == "postmaster":
        return Address(local_part=text, domain="")
    try:
        return parse_address(text)
    except MailError:
        return None


def check_domain_name(text: str) -> str:
    """The A-label form of a domain that we are to serve. Raises MailError: INVALID."""
    try:
        name = parse_domain(text)
    except MailError as error:
        raise MailError(ErrorKind.INVALID, f"name: {error.detail}") from error
    labels = name.split(".")
    if len(labels) < 2 or labels[-1].isdigit():
        raise MailError(ErrorKind.INVALID, "name: a domain has two labels or more and does not end in a number")
    return name


def check_mailbox_address(text: str) -> Address:
    """The folded address of a mailbox that may be made. Raises MailError: INVALID."""
    try:
        address = parse_address(text)
    except MailError as error:
        raise MailError(ErrorKind.INVALID, f"address: {error.detail}") from error
    name = fold(address.local_part)
    fault = _find_fault(name)
    if fault:
        raise MailError(ErrorKind.INVALID, f"address: {fault}")
    return Address(local_part=name, domain=address.domain)


def _find_fault(name: str) -> str:
    if SUBADDRESS_SEPARATOR in name:
        return "+ separates the detail of a sub-address"
    if len(name) > MAX_LOCAL_PART_CHARACTERS:
        return f"the local part may have {MAX_LOCAL_PART_CHARACTERS} characters at most"
    if not _LOCAL_PART.match(name):
        return "the local part takes letters, digits, - and single dots between them"
    if name in SYSTEM_LOCAL_PARTS:
        return f"{name}@ is a system address of every domain"
    if name.endswith(APP_SUFFIX):
        return f"names ending in {APP_SUFFIX} are kept for apps"
    return ""
