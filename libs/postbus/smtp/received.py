"""Trace header fields (RFC 5321 §4.4) and counting them (§6.3)."""

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_UNSAFE = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
PRIVATE_CLIENT: Final = "submission (authenticated client)"
"""Stands for the address of a client that logged in: where people write from is not everybody's business."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What a Received field tells."""

    helo: str
    client_address: str
    client_name: str = ""
    """Forward-confirmed; empty: none."""
    by: str
    queue_id: str
    accepted_ms: int
    extended: bool = True
    tls: str = ""
    """Protocol and cipher; empty: plain text."""
    authenticated: bool = False
    smtputf8: bool = False
    forward_path: str = ""
    """Only when there is one recipient: others must not learn of each other."""


def format_received(trace: Trace) -> bytes:
    """One folded Received field with its final CRLF; ASCII only."""
    lines = [
        f"Received: from {_from_clause(trace)}",
        f"by {trace.by} (Postbus) with {protocol_name(trace)} id {trace.queue_id}",
    ]
    if trace.tls:
        lines.append(f"(using {trace.tls})")
    if trace.forward_path.isascii() and trace.forward_path:
        lines.append(f"for <{trace.forward_path}>")
    return ("\r\n\t".join(lines) + f";\r\n\t{format_date(trace.accepted_ms)}\r\n").encode("ascii", "replace")


def protocol_name(trace: Trace) -> str:
    """The `with` word (RFC 3848; RFC 6531 §4.3)."""
    suffix = ("S" if trace.tls else "") + ("A" if trace.authenticated else "")
    if trace.smtputf8:
        return f"UTF8SMTP{suffix}"
    return f"ESMTP{suffix}" if trace.extended or suffix else "SMTP"


def format_date(unix_ms: int) -> str:
    """An RFC 5322 §3.3 date-time in UTC."""
    when = datetime.fromtimestamp(unix_ms // 1000, UTC)
    return (
        f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year:04d} "
        f"{when.hour:02d}:{when.minute:02d}:{when.second:02d} +0000"
    )


def count_received(header: bytes) -> int:
    """The number of Received fields in a header section."""
    return len(_RECEIVED.findall(header))


def _from_clause(trace: Trace) -> str:
    if trace.authenticated:
        return PRIVATE_CLIENT
    literal = f"IPv6:{trace.client_address}" if ":" in trace.client_address else trace.client_address
    name = f"{_UNSAFE.sub('?', trace.client_name)} " if trace.client_name else ""
    return f"{_UNSAFE.sub('?', trace.helo) or 'unknown'} ({name}[{literal}])"
