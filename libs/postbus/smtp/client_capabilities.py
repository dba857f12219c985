"""What a server offers in its answer to EHLO (RFC 5321 §4.1.1.1)."""

import re
from typing import Final

import msgspec

from postbus.smtp.replies import Reply

_SIZE: Final = re.compile(r"[0-9]{1,18}\Z")


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Service extensions; after HELO none."""

    pipelining: bool = False
    """RFC 2920."""
    size: int | None = None
    """RFC 1870: octets, 0: offered without a limit; None: not offered."""
    eight_bit_mime: bool = False
    """RFC 6152."""
    smtputf8: bool = False
    """RFC 6531."""
    dsn: bool = False
    """RFC 3461."""
    starttls: bool = False
    """RFC 3207."""
    enhanced_status_codes: bool = False
    """RFC 2034."""
    auth: tuple[str, ...] = ()
    """Mechanisms in upper case (RFC 4954)."""


def parse_capabilities(reply: Reply) -> Capabilities:
    """From the reply to EHLO: a line an extension, the first line is a greeting. What we do not know is passed over."""
    offered: dict[str, list[str]] = {}
    for line in reply.lines[1:]:
        # AUTH=PLAIN LOGIN is how servers wrote it before the standard; some still do, for clients as old.
        keyword, *parameters = line.upper().replace("AUTH=", "AUTH ", 1).split() or [""]
        offered.setdefault(keyword, []).extend(parameters)
    return Capabilities(
        pipelining="PIPELINING" in offered,
        size=_parse_size(offered.get("SIZE")),
        eight_bit_mime="8BITMIME" in offered,
        smtputf8="SMTPUTF8" in offered,
        dsn="DSN" in offered,
        starttls="STARTTLS" in offered,
        enhanced_status_codes="ENHANCEDSTATUSCODES" in offered,
        auth=tuple(dict.fromkeys(offered.get("AUTH", []))),
    )


def _parse_size(parameters: list[str] | None) -> int | None:
    if parameters is None:
        return None
    return int(parameters[0]) if parameters and _SIZE.match(parameters[0]) else 0
