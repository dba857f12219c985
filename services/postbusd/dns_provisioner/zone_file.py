"""A plan as a fragment of a zone file (RFC 1035 §5): absolute names, nothing that depends on $ORIGIN or $TTL."""

from collections.abc import Iterator, Sequence
from typing import Final

from postbus.contracts.dns_provisioner import WantedRecord

MAX_STRING_OCTETS: Final = 255
"""Of a character-string, RFC 1035 §3.3."""


def format_zone(domain: str, records: Sequence[WantedRecord]) -> str:
    """The records with their purpose as comments, LF line ends."""
    return "\n".join([f"; {_comment(domain)}: what this domain needs in DNS", *_lines(records)]) + "\n"


def _lines(records: Sequence[WantedRecord]) -> Iterator[str]:
    for record in records:
        yield ""
        yield f"; {_comment(record.purpose)}"
        if record.advice:
            yield f"; {_comment(record.advice)}"
        for value in record.values:
            data = _quote_text(value) if record.type == "TXT" else value
            yield f"{record.name}. {record.ttl_seconds} IN {record.type} {data}"


def _quote_text(text: str) -> str:
    """Character-strings of at most 255 octets, quoted; readers join them again (RFC 7208 §3.3, RFC 6376 §3.6.2.2)."""
    octets = text.encode()
    pieces = [octets[at : at + MAX_STRING_OCTETS] for at in range(0, len(octets), MAX_STRING_OCTETS)] or [b""]
    strings = [f'"{"".join(map(_escape, piece))}"' for piece in pieces]
    return strings[0] if len(strings) == 1 else "( " + "\n    ".join(strings) + " )"


def _escape(octet: int) -> str:
    if octet in b'"\\':
        return f"\\{chr(octet)}"
    return chr(octet) if 32 <= octet < 127 else f"\\{octet:03d}"


def _comment(text: str) -> str:
    return " ".join(text.split())
