"""Names that an administrator may give, and how a received address is folded for looking it up.

Local parts are compared without regard to case, in ASCII only: no Unicode folding turns a foreign letter into one of
ours. Domains are lower-case A-labels inside (RFC 5890 §2.3.2.1). Every `check_` and `read_` function raises MailError
INVALID that begins with the field's name.
"""

import ipaddress
import re
import unicodedata

from postbus.core.address import Address, parse_address, parse_domain
from postbus.core.errors import ErrorKind, MailError
from postbus.core.lists import BOUNCES_SUFFIX

MAX_LOCAL_PART_CHARACTERS = 200
MAX_USERNAME_CHARACTERS = 254  # RFC 5321 §4.5.3.1.3: a path of 256 octets, without its brackets
MAX_DISPLAY_NAME_CHARACTERS = 200
MAX_GROUP_NAME_CHARACTERS = 100
MAX_APP_NAME_CHARACTERS = 60
MAX_STARS = 5  # in an alias: each may cost a scan of the rest
SUBADDRESS_SEPARATOR = "+"  # RFC 5233 §4
SYSTEM_LOCAL_PARTS = frozenset({"postmaster", "abuse"})  # RFC 5321 §4.5.1, RFC 2142 §2
APP_SUFFIX = ".app"
WILDCARD = "*"

_LOCAL_PART = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\Z")
_ALIAS_LOCAL_PART = re.compile(r"[a-z0-9_*-]+(\.[a-z0-9_*-]+)*\Z")
_PLAIN_NAME = re.compile(r"(?=.*[a-z0-9-])[a-z0-9._+-]+\Z")
_APP_NAME = re.compile(r"[a-z0-9-]+\Z")
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
    """The A-label form of a domain that we are to serve."""
    name = read_domain("name", text)
    labels = name.split(".")
    if len(labels) < 2 or labels[-1].isdigit():
        raise _invalid("name", "a domain has two labels or more and does not end in a number")
    return name


def check_mailbox_address(text: str, *, of_app: bool = False) -> Address:
    """The folded address of a mailbox that may be made; endings in `.app` are an app's."""
    return _check_address(text, _LOCAL_PART, "letters, digits, - and single dots between them", of_app=of_app)


def check_group_address(text: str) -> Address:
    """The folded address that a group may have."""
    return check_mailbox_address(text)


def check_list_address(text: str) -> Address:
    """The folded address of a list that may be made: its bounce address must have room."""
    address = check_mailbox_address(text)
    if len(address.local_part + BOUNCES_SUFFIX) > MAX_LOCAL_PART_CHARACTERS:
        most = MAX_LOCAL_PART_CHARACTERS - len(BOUNCES_SUFFIX)
        raise _invalid("address", f"the local part of a list may have {most} characters at most")
    return address


def check_alias_address(text: str) -> Address:
    """The folded address of an alias that may be made, with or without `*`."""
    address = _check_address(text, _ALIAS_LOCAL_PART, "letters, digits, -, _, * and single dots between them")
    name = address.local_part
    if not name.strip(WILDCARD):
        raise _invalid("address", "what nobody else takes is the domain's catch_all")
    if WILDCARD * 2 in name:
        raise _invalid("address", "two * in a row mean no more than one")
    if name.count(WILDCARD) > MAX_STARS:
        raise _invalid("address", f"at most {MAX_STARS} *")
    return address


def check_username(text: str, field: str = "username") -> str:
    """The folded name of a user: an address or a plain name."""
    if len(text) > MAX_USERNAME_CHARACTERS:
        raise _invalid(field, f"at most {MAX_USERNAME_CHARACTERS} characters")
    name, at, domain = fold(text).partition("@")
    if not _PLAIN_NAME.match(name):
        raise _invalid(field, "letters, digits, ., _, + and -, and a domain when it is an address")
    return f"{name}@{read_domain(field, domain)}" if at else name


def check_display_name(text: str) -> str:
    """What people read."""
    if len(text) > MAX_DISPLAY_NAME_CHARACTERS:
        raise _invalid("display_name", f"at most {MAX_DISPLAY_NAME_CHARACTERS} characters")
    if not is_plain_text(text):
        raise _invalid("display_name", "control characters are not allowed")
    return text


def check_group_name(text: str, field: str = "name") -> str:
    """The folded name of a group."""
    name = fold(text)
    if len(name) > MAX_GROUP_NAME_CHARACTERS or not _PLAIN_NAME.match(name):
        raise _invalid(field, f"letters, digits, ., _, + and -, at most {MAX_GROUP_NAME_CHARACTERS} characters")
    return name


def check_app_name(text: str, field: str = "name") -> str:
    """The folded name of an app."""
    name = fold(text)
    if len(name) > MAX_APP_NAME_CHARACTERS or not _APP_NAME.match(name):
        raise _invalid(field, f"letters, digits and -, at most {MAX_APP_NAME_CHARACTERS} characters")
    return name


def check_host(field: str, text: str) -> str:
    """The name or IP address of another host; addresses without brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare.removeprefix("IPv6:")))
    except ValueError:
        name = read_domain(field, text)
    if name.split(".")[-1].isdigit():
        raise _invalid(field, "malformed IP address")
    return name


def read_domain(field: str, text: str) -> str:
    """The A-labels of a domain that is named."""
    try:
        return parse_domain(text)
    except MailError as error:
        raise _invalid(field, error.detail) from error


def read_address(field: str, text: str) -> Address:
    """The folded address of an object of ours that is named."""
    address = read_any_address(field, text)
    return Address(local_part=fold(address.local_part), domain=address.domain)


def read_any_address(field: str, text: str) -> Address:
    """An address of ours or of others, its local_part as it was given."""
    try:
        return parse_address(text)
    except MailError as error:
        raise _invalid(field, error.detail) from error


def is_plain_text(text: str) -> bool:
    """Whether it has no control characters, no surrogates and no line separators."""
    return not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text)


def _check_address(text: str, grammar: re.Pattern[str], takes: str, *, of_app: bool = False) -> Address:
    address = read_address("address", text)
    name = address.local_part
    if SUBADDRESS_SEPARATOR in name:
        raise _invalid("address", "+ separates the detail of a sub-address")
    if len(name) > MAX_LOCAL_PART_CHARACTERS:
        raise _invalid("address", f"the local part may have {MAX_LOCAL_PART_CHARACTERS} characters at most")
    if len(str(address)) > MAX_USERNAME_CHARACTERS:
        raise _invalid("address", f"at most {MAX_USERNAME_CHARACTERS} characters")
    if not grammar.match(name):
        raise _invalid("address", f"the local part takes {takes}")
    if name in SYSTEM_LOCAL_PARTS:
        raise _invalid("address", f"{name}@ is a system address of every domain")
    if name.endswith(APP_SUFFIX) and not of_app:
        raise _invalid("address", f"names ending in {APP_SUFFIX} are kept for apps")
    return address


def _invalid(field: str, reason: str) -> MailError:
    return MailError(ErrorKind.INVALID, f"{field}: {reason}")
