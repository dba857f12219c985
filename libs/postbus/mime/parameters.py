"""MIME parameters and the other Content-* values (RFC 2045 §5.1, RFC 2183, RFC 2231), tolerant and linear."""

import functools
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from postbus.mime.charsets import decode_bytes, decode_raw
from postbus.mime.limits import MAX_PARAMETER_OCTETS, MAX_PARAMETERS, Defect

_PARAMETER: Final = re.compile(
    rb'[;\s]*+([^\x00-\x20=;"]++)\s*+=\s*+'
    rb'(?:"((?:[^"\\]++|\\.)*+)"?|((?:[^;"\s]++|\s++(?![^\x00-\x20=;"]++\s*+=))*+))|[;\s]*+[^;]++|[;\s]++',
    re.DOTALL,
)
"""A parameter, or something between two semicolons that is none. A missing semicolon before a `name=` is borne."""
_TYPE: Final = re.compile(
    rb"\s*+([^\x00-\x20/;()<>@,:\\\"\[\]?=\x7f-\xff]++)\s*+(?:/\s*+([^\x00-\x20/;()<>@,\\\"\[\]?=\x7f-\xff]++))?"
)
_SECTION: Final = re.compile(r"([^*]+)\*(?:(\d{1,3})(\*)?)?\Z")
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_MARK: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|\\.|[()]', re.DOTALL)
_CACHED_OCTETS: Final = 100

Parameters = tuple[tuple[str, str], ...]


class ContentType:
    """A Content-Type value; `boundary` as octets, because delimiter lines are compared as octets."""

    __slots__ = ("boundary", "defects", "media_type", "params", "subtype")

    def __init__(self, media_type: str, subtype: str, params: Parameters) -> None:
        self.media_type = media_type
        self.subtype = subtype
        self.params = params
        self.boundary = b""
        self.defects: tuple[Defect, ...] = ()


DEFAULT_TYPE: Final = ContentType("text", "plain", (("charset", "us-ascii"),))
"""RFC 2045 §5.2."""
DIGEST_TYPE: Final = ContentType("message", "rfc822", ())
"""RFC 2046 §5.1.5."""


def parse_content_type(value: bytes) -> ContentType | None:
    """A Content-Type value (unfolded); None when it names no type."""
    if len(value) <= _CACHED_OCTETS and b"oundary" not in value:
        return _parse_content_type_cached(value)
    return _parse_content_type(value)


def _parse_content_type(value: bytes) -> ContentType | None:
    if b"(" in value:
        value = strip_comments(value)
    match = _TYPE.match(value)
    if match is None:
        return None
    media_type = match[1].decode("ascii", "replace").lower()
    subtype = (match[2] or b"").decode("ascii", "replace").lower()
    if not subtype:
        if media_type not in ("text", "multipart", "message"):
            return None
        subtype = {"text": "plain", "multipart": "mixed", "message": "rfc822"}[media_type]
    params, boundary, limited = parse_parameters(value, match.end())
    result = ContentType(media_type[:MAX_PARAMETER_OCTETS], subtype[:MAX_PARAMETER_OCTETS], params)
    result.boundary = boundary
    if limited:
        result.defects = (Defect.PARAMETER_LIMIT,)
    return result


_parse_content_type_cached = functools.lru_cache(maxsize=512)(_parse_content_type)


def parse_parameters(value: bytes, at: int) -> tuple[Parameters, bytes, bool]:
    """Parameters from `at` on: (name, value) pairs, the boundary's octets, whether a bound was reached."""
    plain: dict[str, bytes] = {}
    sections: dict[str, dict[int, tuple[bytes, bool]]] = {}
    order: list[str] = []
    count = 0
    limited = False
    for match in _PARAMETER.finditer(value, at):
        raw_name, quoted, token = match.groups()
        if raw_name is None:
            continue
        count += 1
        if count > MAX_PARAMETERS:
            limited = True
            break
        data = token.strip() if quoted is None else quoted
        if quoted is not None and b"\\" in quoted:
            data = _ESCAPE.sub(rb"\1", quoted)
        if len(data) > MAX_PARAMETER_OCTETS:
            limited = True
            data = data[:MAX_PARAMETER_OCTETS]
        name = raw_name[:MAX_PARAMETER_OCTETS].decode("ascii", "replace").lower()
        split = _SECTION.match(name) if "*" in name else None
        if split is None:
            if name not in plain:
                plain[name] = data
                order.append(name)
            continue
        base = split[1]
        encoded = split[2] is None or split[3] is not None
        sections.setdefault(base, {}).setdefault(int(split[2] or 0), (data, encoded))
        order.append(base)
    params: list[tuple[str, str]] = []
    for name in dict.fromkeys(order):
        text = _join_sections(sections[name]) if name in sections else None
        if text is None and name in plain:
            text = decode_raw(plain[name])
        if text is not None:
            params.append((name, text))
    boundary = plain.get("boundary")
    if boundary is None and "boundary" in sections:
        boundary = b"".join(data for data, _ in _in_order(sections["boundary"]))
    return tuple(params), (boundary or b"").rstrip(), limited


def _in_order(sections: dict[int, tuple[bytes, bool]]) -> list[tuple[bytes, bool]]:
    """Sections 0, 1, 2 … up to the first gap (RFC 2231 §3)."""
    found = []
    for number in range(len(sections)):
        if number not in sections:
            break
        found.append(sections[number])
    return found


def _join_sections(sections: dict[int, tuple[bytes, bool]]) -> str | None:
    """RFC 2231 §3 and §4: continuations joined, then decoded by the charset of the first one."""
    parts = _in_order(sections)
    if not parts:
        return None
    charset = ""
    first, encoded = parts[0]
    if encoded and first.count(b"'") >= 2:
        charset_octets, _, first = first.split(b"'", 2)
        charset = charset_octets.decode("ascii", "replace")
        parts[0] = first, encoded
    joined = b"".join(unquote_to_bytes(data) if is_encoded else data for data, is_encoded in parts)
    return decode_bytes(joined[:MAX_PARAMETER_OCTETS], charset)


@functools.lru_cache(maxsize=256)
def _parse_short_disposition(value: bytes) -> tuple[str, Parameters, bool]:
    return _parse_disposition(value)


def parse_disposition(value: bytes) -> tuple[str, Parameters, bool]:
    """Content-Disposition (RFC 2183): the lower-case kind, parameters, whether a bound was reached."""
    return _parse_short_disposition(value) if len(value) <= 16 else _parse_disposition(value)


def _parse_disposition(value: bytes) -> tuple[str, Parameters, bool]:
    kind, mark, _ = value.partition(b";")
    name = parse_token(kind)
    if "=" in name:
        name, mark, kind = "attachment", b";", b""
    if not mark:
        return name, (), False
    params, _, limited = parse_parameters(value, len(kind))
    return name, params, limited


@functools.lru_cache(maxsize=256)
def parse_token(value: bytes) -> str:
    """A single lower-case token, as of Content-Transfer-Encoding."""
    if b"(" in value:
        value = strip_comments(value)
    return value.strip(b" \t;\"'")[:MAX_PARAMETER_OCTETS].decode("ascii", "replace").lower()


def strip_comments(value: bytes) -> bytes:
    """Removes RFC 5322 comments outside quoted strings; an unterminated one stays."""
    kept: list[bytes] = []
    depth = 0
    at = 0
    for match in _MARK.finditer(value):
        mark = match[0]
        if mark == b"(":
            if depth == 0:
                kept.append(value[at : match.start()])
                at = match.start()
            depth += 1
        elif mark == b")" and depth:
            depth -= 1
            if depth == 0:
                at = match.end()
    kept.append(value[at:])
    return b"".join(kept)
