"""Addresses and domain names: parsed once at the rim, one form inside, three renderings.

Inside, a domain is lower-case A-labels and a local_part is its meaning, without quotes or backslashes; case of a
local_part is kept, because only directory may decide that it does not matter. Grammar: RFC 5321 §4.1.2 with UTF-8 by
RFC 6531 §3.3; source routes are the SMTP engine's business. Comments, folding and display names (RFC 5322) are refused.
"""

import re

import msgspec

from postbus.core.errors import ErrorKind, MailError

MAX_LOCAL_PART_OCTETS = 255
"""RFC 5321 §4.5.3.1.1 asks for 64 at least; VERP and SRS local_parts of real senders are longer."""
MAX_DOMAIN_OCTETS = 253
"""RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text."""

_ATOM = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*\Z")
_QUOTED_STRING = re.compile(r'"(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*"\Z')
_QUOTED_PAIR = re.compile(r"\\(.)")
_MUST_ESCAPE = re.compile(r'(["\\])')
_ASCII_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_LITERAL = re.compile(r"\[(?:IPv6:[0-9a-f:.]{2,45}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})\]\Z", re.IGNORECASE)
_C1_CONTROLS = re.compile(r"[\x80-\x9f\ud800-\udfff\u2028\u2029]")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """local_part and domain of a mail address; `str()` is the same as `format()`."""

    local_part: str
    """Without quoting."""
    domain: str
    """Lower-case A-labels, or an address literal with its brackets."""

    def format(self) -> str:
        """The form for the wire and for the database: quoted where needed, domain in A-labels."""
        return f"{format_local_part(self.local_part)}@{self.domain}"

    def show(self) -> str:
        """The form for people: domain in U-labels."""
        return f"{format_local_part(self.local_part)}@{show_domain(self.domain)}"

    def __str__(self) -> str:
        """The form for the wire."""
        return self.format()

    @property
    def is_literal(self) -> bool:
        """Whether the domain is an address literal (RFC 5321 §4.1.3)."""
        return self.domain.startswith("[")

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only SMTPUTF8 can carry it: the domain has an ASCII form, a local_part has none (RFC 6531 §3.3)."""
        return not self.local_part.isascii()

    def split_detail(self, separator: str = "+") -> tuple[str, str]:
        """The local_part as (user, detail) at the first separator (RFC 5233 §4); detail empty without one."""
        user, found, detail = self.local_part.partition(separator)
        return (user, detail) if found and user else (self.local_part, "")


def parse_address(text: str) -> Address:
    """`local_part@domain` without angle brackets. Raises MailError (INVALID), naming the fault."""
    at = text.rfind("@")
    if at <= 0:
        raise _invalid("an address is local_part@domain")
    if text.endswith("]"):
        at = text.rfind("@[")
        if at <= 0:
            raise _invalid("malformed address literal")
    return Address(local_part=parse_local_part(text[:at]), domain=_parse_domain_or_literal(text[at + 1 :]))


def parse_local_part(text: str) -> str:
    """A Dot-string or Quoted-string (RFC 5321 §4.1.2) as its meaning. Raises MailError (INVALID)."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_LOCAL_PART_OCTETS:
        raise _invalid("local part is too long")
    if not text.isascii() and _C1_CONTROLS.search(text):
        raise _invalid("local part has control characters")
    if _DOT_STRING.match(text):
        return text
    if _QUOTED_STRING.match(text) and len(text) > 2:
        return _QUOTED_PAIR.sub(r"\1", text[1:-1])
    raise _invalid("malformed local part")


def parse_domain(text: str) -> str:
    """A host or mail domain in A- or U-labels as lower-case A-labels. Raises MailError (INVALID)."""
    name = text.lower()
    if not name.isascii():
        name = _to_a_labels(text)
    if len(name) > MAX_DOMAIN_OCTETS or not _ASCII_DOMAIN.match(name):
        raise _invalid("malformed domain")
    return name


def format_local_part(local_part: str) -> str:
    """The shortest wire form: a Dot-string where possible, else a Quoted-string."""
    if _DOT_STRING.match(local_part):
        return local_part
    return '"' + _MUST_ESCAPE.sub(r"\\\1", local_part) + '"'


def show_domain(domain: str) -> str:
    """U-labels of a domain in A-labels; labels that are no IDNA 2008 stay as they are."""
    if "xn--" not in domain:
        return domain
    return ".".join(_show_label(label) for label in domain.split("."))


def _show_label(label: str) -> str:
    from idna import IDNAError, ulabel

    try:
        return ulabel(label)
    except (IDNAError, UnicodeError):
        return label


def _to_a_labels(text: str) -> str:
    import idna

    if len(text) > MAX_DOMAIN_OCTETS:
        raise _invalid("domain is too long")
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise _invalid("domain is no valid internationalized name") from error


def _parse_domain_or_literal(text: str) -> str:
    if text.startswith("["):
        if not _LITERAL.match(text):
            raise _invalid("malformed address literal")
        return text.lower()
    return parse_domain(text)


def _invalid(detail: str) -> MailError:
    return MailError(ErrorKind.INVALID, detail)
