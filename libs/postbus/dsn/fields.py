"""Header fields of a notification: what comes from strangers is cleaned, bounded and folded here.

RFC 3464 §2.1 (fields of message/delivery-status), RFC 3461 §4 (xtext), RFC 6533 §3 (the address type utf-8).
"""

import re
from datetime import UTC, datetime
from typing import Final

MAX_LINE_OCTETS: Final = 76
"""Where folding is possible. RFC 5322 §2.1.1 recommends 78."""
MAX_WORD_CHARACTERS: Final = 230
"""Of what can't be folded; a longer word is broken by force. Four octets a character keep a line below 998 octets
(RFC 5322 §2.1.1)."""
MAX_TEXT_CHARACTERS: Final = 1_000
"""Of a remote's reply, a reason or a name."""
MAX_ADDRESS_CHARACTERS: Final = 520
"""ORCPT carries at most 500 octets (RFC 3461 §4.2), a path 513 without its brackets."""

_UNSAFE: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\u1680\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\udfff\ufeff]+"
)
"""Controls, any white space, marks that turn the direction of writing, lone surrogates."""
_HEX_PAIR: Final = re.compile(r"\+([0-9A-F]{2})")
_EMBEDDED: Final = re.compile(r"\\x\{(10[0-9A-Fa-f]{4}|[0-9A-Fa-f]{2,5})\}")
_TYPED_ADDRESS: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]{0,62});(.+)\Z", re.DOTALL)
_SURROGATES: Final = range(0xD800, 0xE000)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def clean_text(text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """A stranger's text as one bounded line: no controls, single spaces."""
    line = _UNSAFE.sub(" ", text[: 4 * limit]).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


def to_ascii(text: str) -> str:
    """The text with question marks for what ASCII lacks."""
    return text.encode("ascii", "replace").decode("ascii")


def clean_address(text: str, utf8: bool) -> str:
    """An address for a field: without controls or spaces outside quotes; in ASCII unless `utf8`."""
    address = clean_text(text, MAX_ADDRESS_CHARACTERS)
    return address if utf8 else to_ascii(address)


def format_recipient(address: str, utf8: bool) -> str:
    """`rfc822; address`, or `utf-8; …` for one beyond ASCII, in its 7-bit form unless `utf8` (RFC 6533 §3)."""
    clean = clean_address(address, True)
    if clean.isascii():
        return f"rfc822; {clean}"
    return f"utf-8; {clean if utf8 else embed_unicode(clean)}"


def format_original_recipient(orcpt: str, utf8: bool) -> str:
    """ORCPT with its xtext decoded (RFC 3461 §6.3; RFC 6533 §3); empty when it is malformed."""
    match = _TYPED_ADDRESS.match(orcpt)
    if match is None:
        return ""
    kind, address = match[1].lower(), decode_xtext(match[2])
    if kind == "utf-8":
        return format_recipient(_EMBEDDED.sub(_embedded_char, address), utf8)
    cleaned = clean_address(address, False)
    return f"{kind}; {cleaned}" if cleaned else ""


def decode_xtext(text: str) -> str:
    """The text that an xtext stands for (RFC 3461 §4)."""
    return _HEX_PAIR.sub(lambda match: chr(int(match[1], 16)), text)


def embed_unicode(address: str) -> str:
    r"""An address in the 7-bit form of RFC 6533 §3: `\x{e4}` for what is not ASCII, and for `\`, `+` and `=`."""
    return "".join(char if "!" <= char <= "~" and char not in "\\+=" else f"\\x{{{ord(char):02X}}}" for char in address)


def format_date(unix_ms: int) -> str:
    """An RFC 5322 §3.3 date-time in UTC."""
    when = datetime.fromtimestamp(unix_ms // 1000, UTC)
    return (
        f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year:04d} "
        f"{when.hour:02d}:{when.minute:02d}:{when.second:02d} +0000"
    )


def format_field(name: str, value: str) -> str:
    """One field with its CRLF, folded at spaces; a word that no line holds is broken by force."""
    lines = [f"{name}:"]
    for word in _words(value):
        room = MAX_LINE_OCTETS - len(word.encode()) - 1
        if len(lines[-1].encode()) > room and lines != [f"{name}:"]:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines) + "\r\n"


def _words(value: str) -> list[str]:
    words: list[str] = []
    for word in value.split():
        if len(word) <= MAX_WORD_CHARACTERS:
            words.append(word)
        else:
            words += [word[at : at + MAX_WORD_CHARACTERS] for at in range(0, len(word), MAX_WORD_CHARACTERS)]
    return words


def _embedded_char(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return "?" if point in _SURROGATES else chr(point)
