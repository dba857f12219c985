"""The rim: MailError kinds as IMAP replies (RFC 5530, RFC 9051 §7.1), one table."""

import msgspec

from postbus.core.errors import ErrorKind, MailError


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A tagged reply: OK, NO or BAD."""

    text: str
    status: bytes = b"OK"
    code: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.status == b"OK"


def refuse(text: str, code: bytes = b"") -> Reply:
    """NO."""
    return Reply(status=b"NO", code=code, text=text)


def reject(text: str) -> Reply:
    """BAD."""
    return Reply(status=b"BAD", text=text)


CODES: dict[ErrorKind, tuple[bytes, str]] = {
    ErrorKind.INVALID: (b"CANNOT", "That is not possible"),
    ErrorKind.NOT_FOUND: (b"NONEXISTENT", "There is no such thing"),
    ErrorKind.ALREADY_EXISTS: (b"ALREADYEXISTS", "There is one of this name already"),
    ErrorKind.CONFLICT: (b"CANNOT", "That is not possible now"),
    ErrorKind.CHANGED: (b"CANNOT", "That is not possible now"),
    ErrorKind.UNAUTHENTICATED: (b"AUTHENTICATIONFAILED", "User name or password is wrong"),
    ErrorKind.FORBIDDEN: (b"NOPERM", "You may not do that"),
    ErrorKind.INACTIVE: (b"CONTACTADMIN", "This mailbox is switched off"),
    ErrorKind.OVER_QUOTA: (b"OVERQUOTA", "The mailbox is full"),
    ErrorKind.TOO_LARGE: (b"TOOBIG", "That is too large"),
    ErrorKind.LIMIT: (b"LIMIT", "A limit is reached"),
    ErrorKind.RATE_LIMITED: (b"LIMIT", "Too many attempts, try again later"),
    ErrorKind.REJECTED_POLICY: (b"NOPERM", "Refused by policy"),
    ErrorKind.UNAVAILABLE: (b"UNAVAILABLE", "Not available now, try again later"),
    ErrorKind.INTERNAL: (b"SERVERBUG", "Internal error"),
}

_DETAILS = frozenset({ErrorKind.INVALID, ErrorKind.CONFLICT, ErrorKind.INTERNAL, ErrorKind.LIMIT})
"""Kinds whose detail is worth telling: a field, a reason, an incident id."""


def render_error(error: MailError) -> Reply:
    """NO [CODE] text."""
    code, text = CODES[error.kind]
    if error.kind is ErrorKind.INACTIVE and error.detail:  # told to who knows the password
        return refuse(f"{error.detail[:1].upper()}{error.detail[1:]}", code)
    return refuse(f"{text}: {error.detail}" if error.kind in _DETAILS and error.detail else text, code)


def render_incident(incident: str) -> Reply:
    """NO [SERVERBUG] for an exception that nobody expected (house-style §5)."""
    return refuse(f"Internal error, incident {incident}", b"SERVERBUG")
