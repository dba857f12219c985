"""Address lists (RFC 5322 §3.4, obsolete forms of §4.4), broken ones included, as IMAP's `address` values.

Encoded-words stay as they are. Anything gives some addresses, in time linear in the input. A missing domain is an
empty host (b""), because a host of None marks a group.
"""

import re
from typing import Final

from postbus.mime.limits import MAX_ADDRESS_TOKENS, MAX_ADDRESSES
from postbus.mime.values import Address

_ATOM: Final = rb'[^\x00-\x20"(),:;<>@\[\\\]\x7f]++'
_ITEM: Final = re.compile(
    rb'(?:(?:"([^"\\]*+)"|([^\x00-\x1f"(),:;<>@\[\\\]\x7f]*+))[ \t]*<(' + _ATOM + rb")@(" + _ATOM + rb")>"
    rb"|(" + _ATOM + rb")@(" + _ATOM + rb"))[ \t]*(?:,[ \t]*|\Z)"
)
_TOKEN: Final = re.compile(
    rb"[\x00-\x20\x7f]*+(?:(" + _ATOM + rb')|("(?:[^"\\]++|\\.)*+")|(\[[^\[\]]*+\])|(.))', re.DOTALL
)
_PARENTHESIS: Final = re.compile(rb"\\.|[()]", re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_SPACES: Final = re.compile(rb"[ \t]{2,}|\t")

_WORD, _QUOTED, _LITERAL, _COMMENT, _SPECIAL = 1, 2, 3, 5, 4
_Token = tuple[int, bytes]
GROUP_END: Final = Address(None, None, None, None)


def parse_addresses(value: bytes, limit: int = MAX_ADDRESSES) -> tuple[Address, ...]:
    """The addresses of an unfolded field value, at most `limit`."""
    return read_addresses(value, limit)[0]


def read_addresses(value: bytes, limit: int = MAX_ADDRESSES) -> tuple[tuple[Address, ...], bool]:
    """The addresses of an unfolded field value, and whether a bound was reached."""
    simple = _parse_simple(value, limit)
    if simple is not None:
        return tuple(simple), len(simple) >= limit
    tokens, limited = _tokens(value)
    found = _Parser(limit).parse(tokens)
    return tuple(found), limited or len(found) >= limit


def _parse_simple(value: bytes, limit: int) -> list[Address] | None:
    """Lists of plain `name <local@domain>` and `local@domain`; None when there is anything else in it."""
    found: list[Address] = []
    at, end = 0, len(value)
    while at < end:
        match = _ITEM.match(value, at)
        if match is None:
            return None
        quoted, phrase, local, domain, bare_local, bare_domain = match.groups()
        if len(found) < limit:
            if bare_local is not None:
                found.append(Address(None, None, bare_local, bare_domain))
            else:
                name = quoted if quoted is not None else phrase.rstrip(b" \t")
                found.append(Address(_SPACES.sub(b" ", name) or None, None, local, domain))
        at = match.end()
    return found


def _tokens(value: bytes) -> tuple[list[_Token], bool]:
    """Words, quoted strings, domain literals, comments and special characters, and whether a bound was reached.

    Unterminated quotes and comments lose their mark.
    """
    found: list[_Token] = []
    at, end = 0, len(value)
    comments = True
    steps = 0
    while at < end and (match := _TOKEN.match(value, at)) is not None:
        steps += 1
        if steps > MAX_ADDRESS_TOKENS:
            return found, True
        kind = match.lastindex or _SPECIAL
        data = match[kind]
        at = match.end()
        if kind == _QUOTED:
            found.append((_QUOTED, _unescape(data[1:-1])))
        elif kind != _SPECIAL:
            found.append((kind, data))
        elif data == b"(" and comments:
            close = _comment_end(value, at)
            comments = close >= 0
            if comments:
                found.append((_COMMENT, _unescape(value[at : close - 1]).strip(b" \t")))
                at = close
        elif data == b'"':
            # Unterminated: no later quotation mark can be terminated either, so they all are passed over.
            value = value[:at] + value[at:].replace(b'"', b" ")
        elif data in b",:;<>@":
            found.append((_SPECIAL, data))
    return found, False


def _comment_end(value: bytes, at: int) -> int:
    """Where the comment whose inside starts at `at` ends, after its parenthesis; -1 when it doesn't."""
    depth = 1
    for match in _PARENTHESIS.finditer(value, at):
        mark = match[0]
        depth += (mark == b"(") - (mark == b")")
        if depth == 0:
            return match.end()
    return -1


def _unescape(data: bytes) -> bytes:
    return _ESCAPE.sub(rb"\1", data) if b"\\" in data else data


class _Parser:
    """One pass over the tokens of an address list."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: list[Address] = []
        self._words: list[bytes] = []
        self._comment: bytes | None = None
        self._local: bytes | None = None
        """Set after an `@` outside angle brackets."""
        self._domain: list[bytes] = []
        self._in_group = False
        self._after_angle = False
        """What follows up to the comma belongs to the address just found: a comment or words may be its name."""

    def parse(self, tokens: list[_Token]) -> list[Address]:
        """All addresses."""
        at, count = 0, len(tokens)
        while at < count and len(self._found) < self._limit:
            kind, data = tokens[at]
            at += 1
            if kind == _COMMENT:
                self._comment = data
            elif kind != _SPECIAL:
                (self._words if self._local is None else self._domain).append(data)
            elif data == b"<":
                at = self._angle(tokens, at)
            else:
                self._special(data)
        self._end_address()
        self._end_group()
        return self._found

    def _special(self, mark: bytes) -> None:
        if mark == b"@":
            if self._local is None:
                self._local = _take_dotted(self._words)
        elif mark == b":" and not self._in_group and self._local is None:
            self._found.append(Address(None, None, b" ".join(self._words), None))
            self._words.clear()
            self._in_group = True
        elif mark == b",":
            self._end_address()
        elif mark == b";":
            self._end_address()
            self._end_group()

    def _angle(self, tokens: list[_Token], at: int) -> int:
        """Reads `@route:local@domain>`; returns the index after it."""
        route: list[bytes] = []
        spec: list[bytes] = []
        count = len(tokens)
        while at < count:
            kind, data = tokens[at]
            at += 1
            if kind == _SPECIAL and data == b">":
                break
            if kind == _SPECIAL and data == b":" and spec[:1] == [b"@"] and not route:
                route, spec = spec, []
            elif kind == _SPECIAL and data == b"," and b"@" not in spec[:1]:
                at -= 1
                break
            elif kind != _COMMENT:
                spec.append(data)
        local, domain = _split_spec(spec)
        if self._local is not None:
            self._words.append(b"%s@%s" % (self._local, b"".join(self._domain)))
            self._local = None
            self._domain.clear()
        name = b" ".join(self._words) or self._comment
        self._add(Address(name or None, b"".join(route) or None, local, domain))
        self._after_angle = True
        return at

    def _end_address(self) -> None:
        """Ends an address that had no angle brackets."""
        if self._local is not None:
            name = b" ".join(self._words) or self._comment
            self._add(Address(name or None, None, self._local, b"".join(self._domain)))
        elif self._after_angle:
            name = b" ".join(self._words) or self._comment
            last = self._found[-1]
            if name and last.name is None:
                self._found[-1] = Address(name, last.route, last.mailbox, last.host)
        elif self._words:
            self._add(Address(self._comment or None, None, b" ".join(self._words), b""))
        self._words.clear()
        self._comment = None
        self._after_angle = False

    def _end_group(self) -> None:
        if self._in_group:
            self._found.append(GROUP_END)
            self._in_group = False

    def _add(self, address: Address) -> None:
        self._found.append(address)
        self._words.clear()
        self._domain.clear()
        self._local = None
        self._comment = None
        self._after_angle = False


def _take_dotted(words: list[bytes]) -> bytes:
    """Removes the local_part from the end of a phrase: one word, or several joined by dots (RFC 5322 §4.4)."""
    if not words:
        return b""
    taken = [words.pop()]
    while words and (taken[-1][:1] == b"." or words[-1][-1:] == b"."):
        taken.append(words.pop())
    return b"".join(reversed(taken))


def _split_spec(spec: list[bytes]) -> tuple[bytes, bytes]:
    """local_part and domain of what stood in angle brackets; the last `@` parts them."""
    for at in range(len(spec) - 1, -1, -1):
        if spec[at] == b"@":
            return b"".join(spec[:at]), b"".join(spec[at + 1 :])
    return b"".join(spec), b""
