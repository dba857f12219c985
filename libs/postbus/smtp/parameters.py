"""ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2; RFC 1870, 3461, 4954, 6152, 6531)."""

import enum
import re

from postbus.smtp.limits import MAX_ENVID_OCTETS, MAX_ORCPT_OCTETS, MAX_PARAMETERS
from postbus.smtp.replies import BAD_PARAMETER, UNKNOWN_PARAMETER, CommandError

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")
_VALUE = re.compile(r"[!-<>-~\x80-\U0010ffff]+\Z")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*\Z")
_ORCPT = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*);([!-<>-~\x80-\U0010ffff]+)\Z")
_SIZE = re.compile(r"[0-9]{1,20}\Z")
_HEX_PAIR = re.compile(r"\+([0-9A-F]{2})")


class Body(enum.StrEnum):
    """BODY= of MAIL (RFC 6152)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


def split_parameters(text: str, known: frozenset[str]) -> dict[str, str | None]:
    """Keywords in upper case with their values; None: no `=`. Raises CommandError, also for unknown keywords."""
    words = text.split()
    if len(words) > MAX_PARAMETERS:
        raise CommandError(BAD_PARAMETER)
    parameters: dict[str, str | None] = {}
    for word in words:
        keyword, equals, value = word.partition("=")
        name = keyword.upper()
        if not _KEYWORD.match(keyword) or (equals and not _VALUE.match(value)) or name in parameters:
            raise CommandError(BAD_PARAMETER)
        if name not in known:
            raise CommandError(UNKNOWN_PARAMETER)
        parameters[name] = value if equals else None
    return parameters


def parse_size(value: str | None) -> int | None:
    """SIZE= in octets (RFC 1870 §5)."""
    if value is None or not _SIZE.match(value):
        raise CommandError(BAD_PARAMETER)
    return int(value)


def parse_body(value: str | None) -> Body:
    """BODY= (RFC 6152 §3)."""
    try:
        return Body((value or "").upper())
    except ValueError:
        raise CommandError(BAD_PARAMETER) from None


def parse_ret(value: str | None) -> str:
    """RET=FULL or RET=HDRS (RFC 3461 §4.3)."""
    ret = (value or "").upper()
    if ret not in {"FULL", "HDRS"}:
        raise CommandError(BAD_PARAMETER)
    return ret


def parse_envid(value: str | None) -> str:
    """ENVID= as received, in xtext (RFC 3461 §4.4)."""
    if value is None or len(value) > MAX_ENVID_OCTETS or not _XTEXT.match(value):
        raise CommandError(BAD_PARAMETER)
    return value


def parse_auth(value: str | None) -> str:
    """AUTH= as received, in xtext (RFC 4954 §5); smtp-edge trusts none and treats each as <>."""
    if value is None or not (value == "<>" or _XTEXT.match(value)):
        raise CommandError(BAD_PARAMETER)
    return value


def parse_notify(value: str | None) -> tuple[str, ...]:
    """NOTIFY= as upper-case words (RFC 3461 §4.1): NEVER alone, or any of SUCCESS, FAILURE, DELAY."""
    words = tuple((value or "").upper().split(","))
    if words != ("NEVER",) and (set(words) - {"SUCCESS", "FAILURE", "DELAY"} or len(set(words)) != len(words)):
        raise CommandError(BAD_PARAMETER)
    return words


def parse_orcpt(value: str | None, smtputf8: bool) -> str:
    """ORCPT= as received: address type, `;`, xtext (RFC 3461 §4.2); UTF-8 only with SMTPUTF8 (RFC 6533 §3)."""
    match = _ORCPT.match(value or "")
    if match is None or value is None or len(value.encode("utf-8", "surrogatepass")) > MAX_ORCPT_OCTETS:
        raise CommandError(BAD_PARAMETER)
    unitext = smtputf8 and match[1].lower() == "utf-8"
    if not unitext and not _XTEXT.match(match[2]):
        raise CommandError(BAD_PARAMETER)
    return value


def decode_xtext(text: str) -> str:
    """The text that an xtext stands for (RFC 3461 §4)."""
    return _HEX_PAIR.sub(lambda match: chr(int(match[1], 16)), text)


def encode_xtext(text: str) -> str:
    """Printable ASCII as xtext (RFC 3461 §4)."""
    return "".join(char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in text)
