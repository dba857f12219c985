"""From a message's octets and scan to what the checks look at. The message is parsed once, by `postbus.mime`."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from postbus.core.errors import MailError
from postbus.mime.headers import all_fields, decode_value, unfold
from postbus.mime.transfer import decode_transfer
from postbus.mime.values import Address, Part, Scan
from postbus.runtime.dns import normalize_name
from postbus.spam.view import AuthorAddress
from postbusd.filter.dkim import SignedMessage
from postbusd.filter.dkim_signature import RawField

MAX_AUTHORS: Final = 20
MAX_TEXT_OCTETS: Final = 256 * 1024
"""Of decoded text that the tests see."""
MAX_VALUE_OCTETS: Final = 998
"""Of a header field's value that the tests see."""

_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\Z")
_RESULTS_ID = re.compile(rb'(?:\s|\([^()]*\))*"?([^\s;"()]+)')


def take_apart(content: bytes, scan: Scan) -> SignedMessage:
    """The header fields as they were written, for DKIM."""
    return SignedMessage(
        content=content,
        fields=tuple(_raw_field(content[field.start : field.end]) for field in scan.fields),
        body_start=scan.body_start,
    )


def _raw_field(raw: bytes) -> RawField:
    name, _, value = raw.partition(b":")
    return name, value if value.endswith(b"\r\n") else value.rstrip(b"\r\n") + b"\r\n"


def list_fields(content: bytes, scan: Scan) -> tuple[tuple[str, str], ...]:
    """Names and unfolded values of the header section, each value up to MAX_VALUE_OCTETS."""
    return tuple(
        (field.name, unfold(content[field.value_start : field.end])[:MAX_VALUE_OCTETS].decode("utf-8", "replace"))
        for field in scan.fields
    )


def list_authors(scan: Scan) -> tuple[AuthorAddress, ...]:
    """The addresses of From:, group marks left out."""
    return tuple(_author(address) for address in scan.envelope.from_[:MAX_AUTHORS] if address.host is not None)


def _author(address: Address) -> AuthorAddress:
    return AuthorAddress(
        name=decode_value(address.name or b"")[:256],
        local_part=(address.mailbox or b"").decode("utf-8", "replace"),
        domain=parse_domain((address.host or b"").decode("utf-8", "replace")),
    )


def parse_domain(text: str) -> str:
    """A domain in A-labels; empty for literals and for what is none."""
    try:
        domain = normalize_name(text)
    except MailError:
        return ""
    return domain if _DOMAIN.match(domain) else ""


def find_author_domain(authors: Sequence[AuthorAddress]) -> str:
    """The one domain of all authors; empty where there is none, or more than one."""
    domains = {author.domain for author in authors}
    return domains.pop() if len(domains) == 1 else ""


def gather_text(content: bytes, scan: Scan) -> bytes:
    """The text parts in order with their transfer encoding undone, up to MAX_TEXT_OCTETS."""
    pieces, left = [], MAX_TEXT_OCTETS
    for part in _text_parts(scan.root):
        end = min(part.body_end, part.body_start + 2 * left)
        piece = decode_transfer(content[part.body_start : end], part.encoding)[:left]
        pieces.append(piece)
        left -= len(piece)
        if left <= 0:
            break
    return b"\n".join(pieces)


def _text_parts(part: Part) -> Iterator[Part]:
    if part.media_type == "text":
        yield part
    for child in part.children:
        yield from _text_parts(child)


def has_forged_results(content: bytes, scan: Scan, authserv_id: str) -> bool:
    """Whether an Authentication-Results field names us as its author (RFC 8601 §5): we write ours beside the blob."""
    own = authserv_id.encode("ascii", "replace").lower()
    for value in all_fields(scan, content, "authentication-results"):
        match = _RESULTS_ID.match(value[:MAX_VALUE_OCTETS])
        if match is not None and match[1].lower().removesuffix(b".") == own:
            return True
    return False
